"""Words that depend on a number."""

from __future__ import annotations


def counted(number: int, one: str, many: str = "") -> str:
    """Say how many: ``1 task``, ``2 tasks``; `many` where adding an s would not do."""
    return f"{number} {one if number == 1 else many or one + 's'}"
