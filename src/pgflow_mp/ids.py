"""Time-ordered ids: UUID version 7 (RFC 9562, section 5.7).

Random ids scatter over the whole index of a large table; ordered ones land side by side (D-9).
"""

from __future__ import annotations

import os
import time
import uuid


def new_id() -> uuid.UUID:
    """Return a fresh UUID v7: 48 bits of Unix milliseconds, then 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10))
    bits = (milliseconds & (1 << 48) - 1) << 80 | random
    bits = bits & ~(0xF << 76) | 0x7 << 76  # version
    bits = bits & ~(0x3 << 62) | 0x2 << 62  # variant
    return uuid.UUID(int=bits)
