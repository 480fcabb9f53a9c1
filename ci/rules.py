"""List the rules of the contract that no test names.

`tests/core/rules.txt` holds the rules; a test names one in its docstring: ``core CT-4, 3.9.4; generations ST5-2``.
An id stands alone; a number belongs to the document named last before it. Ranges (``R-1 to R-4``) count. Exits with
1 when a rule has no test, or when a test names an id that is not in the list.
"""

from __future__ import annotations

import ast
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
LIST = ROOT / "tests" / "core" / "rules.txt"

_ID = r"[A-Z]{1,3}5?-\d+'?"
_TOKEN = re.compile(r"(?P<document>\bcore\b|\bgenerations\b)|(?P<id>\b[A-Z]{1,3}5?-\d+'?)|(?P<number>\b\d+(?:\.\d+)+)")
_RANGE = re.compile(r"\b([A-Z]{1,3}5?-|(?:\d+\.)+)(\d+)(?: to |-)\1(\d+)\b")
_SECTION = re.compile(r"\bsection (\d+)(?: rule (\d+))?")
# Decisions have ids of the same form, and so does a standard; they are no rules.
_NO_RULES = {"D"}


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the list."""

    name: str
    words: str
    successor: str | None = None
    timed: bool = False


def read_rules(text: str) -> dict[str, Rule]:
    """Read the list: rules by name."""
    rules = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        found = re.fullmatch(rf"({_ID}|(?:core|generations) [\d.]+)(?: > ([^:]+)| (~) benchmark)?: (.+)", line)
        if not found:
            raise SystemExit(f"{LIST.name}:{number}: not a rule: {line}")
        name, successor, timed, words = found.groups()
        if name in rules:
            raise SystemExit(f"{LIST.name}:{number}: {name} is in the list already")
        rules[name] = Rule(name, words, successor, bool(timed))
    return rules


def named_rules(docstring: str) -> list[str]:
    """Return what a docstring names: ids, and numbers with their document."""
    text = _RANGE.sub(_all_of_range, docstring)
    text = _SECTION.sub(lambda found: f"{found[1]}.{found[2] or 0}", text)
    names = []
    document = "core"
    for token in _TOKEN.finditer(text):
        if token["document"]:
            document = token["document"]
        else:
            names.append(token["id"] or f"{document} {token['number']}")
    return names


def _all_of_range(found: re.Match[str]) -> str:
    family, first, last = found.groups()
    return ", ".join(f"{family}{number}" for number in range(int(first), int(last) + 1))


def tests() -> Iterator[tuple[str, str]]:
    """Yield every test of the repository with its docstring."""
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                yield f"{file.relative_to(ROOT)}::{node.name}", ast.get_docstring(node) or ""


def main() -> int:
    """Print what is missing, or how many rules have a test."""
    rules = read_rules(LIST.read_text("utf-8"))
    tested: dict[str, list[str]] = {}
    for test, docstring in tests():
        for name in named_rules(docstring):
            tested.setdefault(name, []).append(test)

    untested = [rule for rule in rules.values() if not (rule.timed or rule.successor or rule.name in tested)]
    lost = [rule for rule in rules.values() if rule.successor and rule.successor not in rules]
    unknown = {
        name: found
        for name, found in tested.items()
        if re.fullmatch(_ID, name) and name not in rules and name.partition("-")[0] not in _NO_RULES
    }
    for rule in untested:
        print(f"no test names {rule.name}: {rule.words}")
    for rule in lost:
        print(f"{rule.name} is superseded by {rule.successor}, which is not in the list")
    for name, found in unknown.items():
        print(f"{found[0]} names {name}, which is not in the list")
    if "--verbose" in sys.argv:
        for rule in rules.values():
            where = rule.successor or ("benchmark" if rule.timed else ", ".join(tested.get(rule.name, ["-"])))
            print(f"{rule.name:<20} {where}")
    if untested or lost or unknown:
        return 1
    superseded = sum(rule.successor is not None for rule in rules.values())
    timed = sum(rule.timed for rule in rules.values())
    print(f"{len(rules)} rules: all have a test ({superseded} through their successor, {timed} by the benchmark)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
