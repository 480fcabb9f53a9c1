"""ci/rules.py: what counts as naming a rule, and that every rule is named."""

import importlib.util
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "ci" / "rules.py"


@pytest.fixture(scope="module")
def rules():
    spec = importlib.util.spec_from_file_location("ci_rules", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look it up there
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.mark.parametrize(
    ("docstring", "names"),
    [
        ("core CT-4 [T], 3.9.4: and so on.", ["CT-4", "core 3.9.4"]),
        ("core 3.7.1; generations 5.6.2, ST5-2", ["core 3.7.1", "generations 5.6.2", "ST5-2"]),
        ("generations CT-4'; core 4.6", ["CT-4'", "core 4.6"]),
        ("R-1 to R-3, 3.11.2 to 3.11.3", ["R-1", "R-2", "R-3", "core 3.11.2", "core 3.11.3"]),
        ("core 2.1-2.2", ["core 2.1", "core 2.2"]),
        ("core section 7 rule 3; section 7", ["core 7.3", "core 7.0"]),
        ("CT-4d: a letter behind is a part of the rule", ["CT-4"]),
        ("subtle point 5, after 3 seconds", []),
    ],
)
def test_what_a_docstring_names(rules, docstring, names):
    assert rules.named_rules(docstring) == names


def test_the_list_has_plain_superseded_and_timed_rules(rules):
    found = rules.read_rules("# words\n\nA-1: one\ncore 3.1.1 > SL-1: two\ncore 3.8.9 ~ benchmark: three\n")
    assert {(rule.name, rule.successor, rule.timed) for rule in found.values()} == {
        ("A-1", None, False),
        ("core 3.1.1", "SL-1", False),
        ("core 3.8.9", None, True),
    }


@pytest.mark.parametrize("text", ["A-1 one\n", "3.1.1: of which document?\n", "A-1: one\nA-1: again\n"])
def test_a_line_that_is_no_rule_is_refused(rules, text):
    with pytest.raises(SystemExit, match=r"rules\.txt"):
        rules.read_rules(text)


def test_a_rule_without_a_test_is_told(rules, monkeypatch, capsys, tmp_path):
    listed = tmp_path / "rules.txt"
    listed.write_text("A-1: one\nA-2: two\nA-3 > A-9: gone\n")
    monkeypatch.setattr(rules, "LIST", listed)
    monkeypatch.setattr(rules, "tests", lambda: iter([("test_x", "core A-1, B-7")]))
    assert rules.main() == 1
    assert capsys.readouterr().out.splitlines() == [
        "no test names A-2: two",
        "A-3 is superseded by A-9, which is not in the list",
        "test_x names B-7, which is not in the list",
    ]


def test_every_rule_has_a_test(rules, capsys):
    assert rules.main() == 0, capsys.readouterr().out
