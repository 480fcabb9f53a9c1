"""docs/client.md and docs/compatibility.md are true: their programs run, what they list exists."""

from __future__ import annotations

import builtins
import re
import sys

import pytest

import pgflow_mp
from pgflow_mp import PgFlow
from tests.docs.documents import ROOT, blocks, write_files
from tests.docs.test_documents import compile_flows, run
from tests.siblings.generations import GENERATIONS

CLIENT = ROOT / "docs/client.md"
COMPATIBILITY = ROOT / "docs/compatibility.md"


@pytest.mark.slow
def test_the_programs_of_client_md_run(tmp_path, pgflow_dsn):
    files = write_files(CLIENT, tmp_path)
    compile_flows(tmp_path, pgflow_dsn, "orders.py")
    output = {}
    for file in files:
        if file.name != "orders.py":
            done = run([sys.executable, file.name], tmp_path, PGFLOW_DSN=pgflow_dsn)
            assert done.returncode == 0, f"{file.name}: {done.stderr}"
            output[file.name] = done.stdout
    assert output["start.py"].startswith("Dee owes 20 ")
    assert "healthy" in output["look.py"]
    assert output["operate.py"].startswith("failed True Run cancelled\n")
    assert len(blocks(CLIENT, "python")) == len(files), "every block is run"


def test_the_errors_that_client_md_lists_exist_and_are_what_it_says():
    rows = CLIENT.read_text(encoding="utf-8").partition("## Errors")[2].splitlines()
    listed = 0
    for row in rows:
        if row.startswith("| `"):
            names, built_in = (re.findall(r"`(\w+)`", cell) for cell in row.split("|")[1:3])
            errors = [getattr(pgflow_mp, name) for name in names]
            assert all(issubclass(error, pgflow_mp.PgflowError) for error in errors)
            assert all(any(issubclass(error, getattr(builtins, base)) for error in errors) for base in built_in), row
            listed += len(errors)
    assert listed > 12


def test_compatibility_md_names_the_contract_and_the_siblings_that_are_replayed():
    text = COMPATIBILITY.read_text(encoding="utf-8")
    assert f"**{PgFlow.core_version()}**" in text
    for sibling in GENERATIONS:
        words = sibling.name.split()
        assert words[0] in text
        assert all(word in text for word in words[1:]), sibling.name
