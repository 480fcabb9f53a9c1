"""docs/hooks.md: its reference is the specifications, its plugin works as shown."""

from __future__ import annotations

import shlex
import sys

from ci import hooks_page
from pgflow_mp.hooks import specs
from tests.docs.documents import ROOT, blocks, write_files
from tests.docs.test_documents import run

PAGE = ROOT / "docs/hooks.md"


def test_the_page_has_every_hook_with_the_signature_that_it_has():
    text = PAGE.read_text(encoding="utf-8")
    for hook in specs.NAMES:
        assert f"#### {hook}\n" in text
        assert hooks_page.signature(hook) in text


def test_every_hook_says_its_kind_and_where_it_runs():
    for hook in specs.NAMES:
        kind, _, rest = (getattr(specs, hook).__doc__ or "").partition(", ")
        where = rest.partition(":")[0]
        if hook in specs.CHILD_HOOKS:
            assert kind.startswith("Child hook"), hook
        else:
            assert kind.partition(":")[0] == ("Observer" if hook in specs.OBSERVERS else "Decider"), hook
            assert where.startswith(("in the worker", "in the client", "in the process")), hook


def test_the_reference_is_what_the_specifications_say():
    text = PAGE.read_text(encoding="utf-8")
    assert hooks_page.page(text) == text, "run python ci/hooks_page.py"


def test_a_changed_specification_would_be_noticed(monkeypatch):
    text = PAGE.read_text(encoding="utf-8")
    monkeypatch.setattr(specs.pgflow_run_failed, "__doc__", "Observer: something else.")
    assert hooks_page.page(text) != text


def test_the_tutorial_says_what_it_shows(tmp_path, pgflow_dsn):
    files = {file.name: file for file in write_files(PAGE, tmp_path)}
    assert len(files["slow.py"].read_text().splitlines()) <= 21  # twenty, and the name
    (shown,) = [block.text for block in blocks(PAGE, "text")]
    (command,) = [part for part in PAGE.read_text(encoding="utf-8").split("`") if part.startswith("pgflow-mp run")]
    done = run([sys.executable, "-m", "pgflow_mp", *shlex.split(command)[1:]], tmp_path, PGFLOW_DSN=pgflow_dsn)
    assert done.returncode == 1
    told = [line for line in done.stderr.splitlines() if line.startswith(("slow: ", "failed: "))]
    assert told == shown.splitlines()
