"""mypy and pyright on the sample: the types that an application gets to see."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SAMPLE = Path(__file__).parent / "sample_flows.py"

pytestmark = pytest.mark.slow


def expected(checker):
    """The types and complaints that the sample's lines ask for, by line."""
    found = {}
    for number, line in enumerate(SAMPLE.read_text("utf-8").splitlines(), start=1):
        if reveals := re.search(r"^ +reveal_type\(.*# is (.+)$", line):
            found[number] = reveals[1]
        elif (complains := re.search(r"# error(?: \((\w+)\))?$", line)) and complains[1] in (None, checker):
            found[number] = "error"
    return found


def mypy_says():
    # Not in the sample's package, or mypy would look at all that its __init__ leads to.
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context", str(SAMPLE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=SAMPLE.parents[2])
    assert done.returncode == 1, done.stdout + done.stderr
    for line in done.stdout.splitlines():
        place, _, told = line.partition(": ")
        number = int(place.rpartition(":")[2])
        if reveals := re.fullmatch(r'note: Revealed type is "(.*)"', told):
            yield number, re.sub(r"TypedDict\(([\w.]+), \{.*?\}\)", r"\1", reveals[1])
        elif told.startswith("error"):
            yield number, "error"


def pyright_says():
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, str(SAMPLE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=SAMPLE.parent)
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        if not os.environ.get("CI"):
            pytest.skip(f"pyright cannot be had here: {(done.stderr or done.stdout).strip()[-200:]}")
        raise AssertionError(done.stdout + done.stderr) from None
    for told in answer["generalDiagnostics"]:
        number = told["range"]["start"]["line"] + 1
        if reveals := re.fullmatch(r'Type of ".*" is "(.*)"', told["message"]):
            yield number, reveals[1]
        elif told["severity"] == "error":
            yield number, "error"


@pytest.mark.parametrize(("checker", "says"), [("mypy", mypy_says), ("pyright", pyright_says)])
def test_type_checkers_know_what_flows_take_and_give(checker, says):
    told = {number: re.sub(r"\b(?:\w+\.)+(?=\w)", "", text) for number, text in says()}
    wanted = expected(checker)
    assert len(wanted) > 25
    assert told == wanted
