"""The documents of the repository as data: their fenced blocks, and the commands in them."""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE_NAME = re.compile(r"# (\w+\.py)\n")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block.

    Attributes:
        place: ``document:line`` of its first line.
        language: What stands behind the fence.
        text: What is in it.
    """

    place: str
    language: str
    text: str

    @property
    def file_name(self) -> str | None:
        """The file that the block is, where its first line is a comment with a name."""
        named = _FILE_NAME.match(self.text)
        return named[1] if named else None

    @property
    def commands(self) -> list[tuple[list[str], str]]:
        """The commands of a console block as arguments, each with the output shown below it."""
        found = []
        for part in re.split(r"^\$ ", self.text, flags=re.MULTILINE)[1:]:
            line, _, output = part.partition("\n")
            found.append((_arguments(line), output))
        return found


def blocks(document: Path, language: str | None = None) -> list[Block]:
    """The fenced blocks of a document, of one language or all."""
    text = document.read_text(encoding="utf-8")
    found = [
        Block(f"{document.name}:{text.count(chr(10), 0, match.start()) + 2}", match[1], match[2])
        for match in _FENCE.finditer(text)
    ]
    return [block for block in found if language in (None, block.language)]


def write_files(document: Path, folder: Path) -> list[Path]:
    """Write the named blocks of a document as files."""
    written = []
    for block in blocks(document, "python"):
        if block.file_name:
            written.append(folder / block.file_name)
            written[-1].write_text(block.text, encoding="utf-8")
    return written


def _arguments(line: str) -> list[str]:
    """Words of a command line without its comment, the program replaced by the one under test."""
    words = shlex.split(line, comments=True)
    return [sys.executable, "-m", "pgflow_mp", *words[1:]] if words and words[0] == "pgflow-mp" else words
