"""Write what was tested with the siblings into docs/compatibility.md, from the tests that there are.

    python ci/compatibility_page.py                write it
    python ci/compatibility_page.py --check        only compare; exit with 1 when it is not what the tests say
    python ci/compatibility_page.py --ran FILE     compare, and exit with 1 where a test that it names did not pass;
                                                   FILE has the ids of the tests that passed (PGFLOW_TESTS_RAN)

`compatibility.toml` says what is claimed and which tests show it. A mark stands only where such a test is collected, so
the page cannot claim what no test runs; a test that is named and not there is an error. Which workers run on which core
is taken from the test that holds that table.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "compatibility.md"
CLAIMS = ROOT / "ci" / "compatibility.toml"
FIRST = "<!-- From here: written by ci/compatibility_page.py from ci/compatibility.toml and the tests. -->\n"
LAST = "<!-- To here. -->\n"
_OLD_INPUTS = "Handlers of 0.8 and 0.9 read the input of the run from a key `run`, which no core since 0.12 gives them."


@dataclass(frozen=True, slots=True)
class Collected:
    """The tests that there are, by id: ``path::name[parameters]``."""

    ids: frozenset[str]

    def showing(self, tests: Iterable[str], parameter: str | None = None) -> frozenset[str]:
        """Return the ids of some tests; with `parameter`, those of them that were given it."""
        named = tuple(tests)
        return frozenset(
            found
            for found in self.ids
            for test in named
            if _is(found, test) and parameter in (None, *_parameters(found))
        )


def collected(claims: Mapping[str, Any]) -> Collected:
    """Collect the tests of the files that the claims name, all markers included."""
    files = sorted({test.partition("::")[0] for test in _all_tests(claims)})
    there = [file for file in files if (ROOT / file).exists()]
    options = ("--collect-only", "-q", "-o", "addopts=", "-p", "no:cacheprovider")
    command = [sys.executable, "-m", "pytest", *options, *there]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the tests cannot be collected:\n{done.stdout}\n{done.stderr}")
    tests = Collected(frozenset(_ids(done.stdout, there)))
    unknown = [test for test in _all_tests(claims) if not tests.showing([test])]
    if unknown:
        raise SystemExit(f"{CLAIMS.name} names tests that are not there:\n" + "\n".join(unknown))
    return tests


def _is(found: str, test: str) -> bool:
    """Whether a test that was found is the one that is named, or one of the file that is."""
    return found == test or found.startswith(f"{test}[" if "::" in test else f"{test}::")


def _ids(text: str, files: list[str]) -> Iterator[str]:
    return (line for line in text.splitlines() if line.partition("::")[0] in files and "::" in line)


def _all_tests(claims: Mapping[str, Any]) -> Iterator[str]:
    for table in claims["table"]:
        for column in table["columns"]:
            yield from column["tests"]
    for point in claims["points"]:
        yield from point["tests"]


def _parameters(test: str) -> list[str]:
    return re.split(r"-(?=\S)", test.partition("[")[2].removesuffix("]"))


def page(text: str, claims: Mapping[str, Any], tests: Collected) -> str:
    """Return the page as it should be."""
    before, first, rest = text.partition(FIRST)
    _, last, after = rest.partition(LAST)
    if not first or not last:
        raise SystemExit(f"{PAGE.name} lacks one of the lines `{FIRST.strip()}` and `{LAST.strip()}`")
    return before + FIRST + "".join(_parts(claims, tests)) + LAST + after


def _parts(claims: Mapping[str, Any], tests: Collected) -> Iterator[str]:
    yield "\nHow each line was tested:\n\n"
    yield from (f"- **{how}**: {meaning}\n" for how, meaning in claims["how"].items())
    for table in claims["table"]:
        yield f"\n### {table['title']}\n\n{table['text']}\n\n"
        yield from _table(table, tests)
    yield "\n### Besides\n\n| what | how | tests |\n|---|---|---|\n"
    for point in claims["points"]:
        found = len(tests.showing(point["tests"]))
        yield f"| {point['what']} | {point['how']} | {found} in {_links(point['tests'])} |\n"
    yield from _matrix()


def _table(table: Mapping[str, Any], tests: Collected) -> Iterator[str]:
    columns = table["columns"]
    yield f"| {table['first']} | how | {' | '.join(column['title'] for column in columns)} |\n"
    yield f"|---|---|{'---|' * len(columns)}\n"
    for row in table["rows"]:
        marks = ["✔" if tests.showing(column["tests"], row["id"]) else "" for column in columns]
        if any(marks):
            yield f"| {row.get('name', row['id'])} | {row['how']} | {' | '.join(marks)} |\n"
    yield f"\nTests: {_links(test for column in columns for test in column['tests'])}.\n"


def _links(tests: Iterable[str]) -> str:
    files = dict.fromkeys(test.partition("::")[0] for test in tests)
    return ", ".join(f"[{Path(file).name}](../{file})" for file in files if (ROOT / file).exists())


def _matrix() -> Iterator[str]:
    """Whose workers can run on whose core: the table that tests/core/test_sibling_matrix.py holds."""
    sys.path.insert(0, str(ROOT))
    from tests.core.test_sibling_matrix import OURS, RUN_ON

    workers = list(dict.fromkeys(worker for core in (*RUN_ON.values(), OURS) for worker in sorted(core)))
    workers.sort(key=lambda worker: (worker.startswith("Elixir"), [int(n) for n in re.findall(r"\d+", worker)], worker))
    yield "\n### Whose workers can run on whose core\n\n"
    yield (
        "By the calls that they send, and whether those resolve there: no foreign worker was run to find out. "
        "`pgflow-mp doctor` tells the same of a database at hand.\n\n"
    )
    yield f"| core | {' | '.join(workers)} |\n|---|{'---|' * len(workers)}\n"
    for core, run in (*RUN_ON.items(), ("pgflow-mp", OURS)):
        yield f"| {core} | {' | '.join('✔' if worker in run else '' for worker in workers)} |\n"
    yield f"\nTests: {_links(['tests/core/test_sibling_matrix.py'])}. {_OLD_INPUTS}\n\n"


def not_run(claims: Mapping[str, Any], tests: Collected, passed: frozenset[str]) -> list[str]:
    """Return the tests behind marks of the page that did not pass."""
    return sorted(tests.showing(_all_tests(claims)) - passed)


def main(arguments: list[str]) -> None:
    """Write or compare."""
    claims = tomllib.loads(CLAIMS.read_text(encoding="utf-8"))
    tests = collected(claims)
    text = PAGE.read_text(encoding="utf-8")
    wanted = page(text, claims, tests)
    if not arguments:
        PAGE.write_text(wanted, encoding="utf-8")
        return
    if wanted != text:
        raise SystemExit(f"docs/{PAGE.name} is not what the tests say: run python ci/compatibility_page.py")
    if arguments[0] == "--ran":
        missing = not_run(claims, tests, frozenset(Path(arguments[1]).read_text(encoding="utf-8").splitlines()))
        if missing:
            raise SystemExit(f"docs/{PAGE.name} names tests that did not pass:\n" + "\n".join(missing))


if __name__ == "__main__":
    main(sys.argv[1:])
