from __future__ import annotations

import io

import pytest

from pgflow_mp.cli.exits import UsageError
from pgflow_mp.cli.given import read_input


@pytest.mark.parametrize(
    ("text", "value"), [("{}", {}), ("[1, 2]", [1, 2]), ("null", None), ('"é"', "é"), ("1.5", 1.5), (" 7\n", 7)]
)
def test_any_json_value_is_an_input(text, value):
    assert read_input(text) == value


def test_input_comes_from_a_file_or_from_stdin(tmp_path, monkeypatch):
    (tmp_path / "order.json").write_text('{"a": 1}')
    assert read_input(f"@{tmp_path / 'order.json'}") == {"a": 1}
    monkeypatch.setattr("sys.stdin", io.StringIO("[1]"))
    assert read_input("-") == [1]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"a": 1,}', "line 1 column 9"),
        ('{\n  "a" 1\n}', "line 2 column 7"),
        ("{'a': 1}", "line 1 column 2"),
        ("", "it is empty"),
        ('{"a": 1} x', "line 1 column 10"),
    ],
)
def test_text_that_is_no_json_shows_the_place(text, place):
    with pytest.raises(UsageError, match=place):
        read_input(text)


def test_the_caret_stands_below_the_fault_in_a_long_line():
    text = '{"a": "' + "x" * 300 + '" oops}'
    with pytest.raises(UsageError) as caught:
        read_input(text)
    shown, caret = str(caught.value).splitlines()[-2:]
    assert shown[caret.index("^")] == "o"
    assert len(shown) < 80


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '"\\u0000"', '"\\ud800"'])
def test_what_postgres_cannot_store_is_refused_before_anything_starts(text):
    with pytest.raises(UsageError):
        read_input(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000 + "]" * 100_000, "nested more than 500 levels deep"),
        ('{"a":' * 100_000, "nested more than 500 levels deep"),
        ("[" * 600 + "]" * 600, "nested more than 500 levels deep"),
        ("1" * 5000, "4300 digits"),
    ],
)
def test_json_that_no_reader_can_follow_is_refused(text, said):
    with pytest.raises(UsageError, match=said):
        read_input(text)


def test_a_file_that_cannot_be_read_says_why(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        read_input(f"@{tmp_path / 'missing.json'}")
    (tmp_path / "latin.json").write_bytes('"é"'.encode("latin-1"))
    with pytest.raises(UsageError, match="not UTF-8"):
        read_input(f"@{tmp_path / 'latin.json'}")
