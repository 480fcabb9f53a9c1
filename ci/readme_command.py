"""Print the command that stands in the README below a heading: the first fenced block, which is one line."""

from __future__ import annotations

import re
import sys
from pathlib import Path


def command_below(heading: str, text: str) -> str:
    """Return the one line of the first fenced block below `## heading`.

    Raises:
        ValueError: There is no such heading, no block below it, or the block is not one line.
    """
    found = re.search(rf"^## {re.escape(heading)}$.*?^```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    lines = found[1].strip().splitlines() if found else []
    if len(lines) != 1:
        raise ValueError(f"README.md: one line to paste is expected below '## {heading}', found {len(lines)}")
    return lines[0].removeprefix("$ ")


if __name__ == "__main__":
    print(command_below(sys.argv[1], (Path(__file__).parent.parent / "README.md").read_text()))
