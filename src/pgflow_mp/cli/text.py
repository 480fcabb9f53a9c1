r"""Text that others wrote (errors of handlers, names of hosts) must not steer the reader's terminal.

Control characters are shown (``\x1b``) instead of sent; so are those that change the direction of the text around them.
"""

from __future__ import annotations

import re
from typing import Final

# C0 and C1 but for the line feed.
_CONTROLS: Final = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def safe(text: str) -> str:
    """Show control characters; line feeds stay, tabs become spaces."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text.expandtabs(4))
