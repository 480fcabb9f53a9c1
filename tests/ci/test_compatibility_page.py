"""ci/compatibility_page.py: docs/compatibility.md claims what tests show, and nothing else."""

from __future__ import annotations

import ast
import tomllib

import pytest

from ci import compatibility_page
from ci.compatibility_page import CLAIMS, PAGE, ROOT, Collected, collected, main, not_run, page

ONE = "tests/a.py::test_one"


def claims(*rows, points=()):
    """A table with one column, shown by one test."""
    return {
        "how": {"replay": "sent by ours"},
        "table": [
            {
                "title": "Theirs",
                "first": "worker",
                "text": "Some.",
                "rows": [{"id": row, "how": "replay"} for row in rows],
                "columns": [{"title": "runs", "tests": [ONE]}],
            }
        ],
        "points": [{"what": "it all", "how": "replay", "tests": list(points)}],
    }


def written(tests, *rows, points=()):
    blank = f"above\n{compatibility_page.FIRST}{compatibility_page.LAST}below\n"
    return page(blank, claims(*rows, points=points), Collected(frozenset(tests)))


def test_a_mark_stands_only_where_a_test_is():
    text = written([f"{ONE}[TypeScript 0.14]", f"{ONE}[worker-Elixir-slow]"], "TypeScript 0.14", "Elixir", "Rust")
    assert "| TypeScript 0.14 | replay | ✔ |" in text
    assert "| Elixir | replay | ✔ |" in text
    assert "Rust" not in text
    assert text.startswith("above\n")
    assert text.endswith("below\n")


def test_a_point_says_how_many_tests_show_it():
    two = "tests/a.py::test_two"
    assert "| it all | replay | 3 in" in written([ONE, f"{two}[a]", f"{two}[b]", f"{two}_more"], points=[ONE, two])


def test_a_file_stands_for_all_its_tests():
    methods = ["tests/b.py::TestSome::test_method[0.14.1]", "tests/b.py::test_other", "tests/bc.py::test_third"]
    assert "| it all | replay | 2 in" in written(methods, points=["tests/b.py"])


def test_a_test_that_did_not_pass_is_named():
    named = claims("TypeScript 0.14", points=[ONE])
    there = Collected(frozenset({f"{ONE}[a]", f"{ONE}[b]"}))
    assert not_run(named, there, frozenset({f"{ONE}[a]"})) == [f"{ONE}[b]"]
    assert not_run(named, there, there.ids) == []


def test_every_test_that_is_named_is_defined():
    named = tomllib.loads(CLAIMS.read_text(encoding="utf-8"))
    for test in compatibility_page._all_tests(named):
        path, _, name = test.partition("::")
        assert (ROOT / path).exists(), test
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        assert not name or name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, test


@pytest.mark.slow
def test_the_page_is_what_the_tests_say():
    main(["--check"])
    named = tomllib.loads(CLAIMS.read_text(encoding="utf-8"))
    text, tests = PAGE.read_text(encoding="utf-8"), collected(named)
    for test in compatibility_page._all_tests(named):
        without = Collected(tests.ids - tests.showing([test]))
        assert page(text, named, without) != text, f"the page is the same without {test}"
