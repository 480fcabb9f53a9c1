"""Server settings: what makes a throw-away server fast, and what a durable one keeps safe."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

THROWAWAY: Mapping[str, str] = {
    # Nothing survives a crash, and nothing has to: the data go with the folder.
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "checkpoint_timeout": "30min",
    # The data may be in memory, and the log of writes with them.
    "max_wal_size": "512MB",
    "shared_buffers": "64MB",
    "max_connections": "150",
    # Compiling a plan costs more than any query of ours.
    "jit": "off",
    # A queue table changes its size a thousandfold within a test; the default minute is long then.
    "autovacuum_naptime": "10s",
}

DURABLE: Mapping[str, str] = {
    "shared_buffers": "64MB",
    "max_connections": "100",
    "jit": "off",
}


def defaults(*, durable: bool) -> Mapping[str, str]:
    """Return the settings of a durable or of a throw-away server."""
    return DURABLE if durable else THROWAWAY


def as_arguments(settings: Mapping[str, str]) -> list[str]:
    """Return the settings as arguments of ``postgres``."""
    return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
