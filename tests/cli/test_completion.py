"""``pgflow-mp completion``: scripts that shells take."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from pgflow_mp.cli import parser
from pgflow_mp.client import PgFlow
from tests.cli.command import environment
from tests.cli.test_start import Doubling


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_knows_every_command_and_is_one_of_its_shell(call, shell, tmp_path):
    done = call("completion", shell)
    assert done.returncode == 0, done.stderr
    for name, command in parser.commands(parser.make()).items():
        assert name in done.stdout
        for action in command._actions:
            for option in action.option_strings:
                assert option.lstrip("-") in done.stdout
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here to read it")
    (tmp_path / "script").write_text(done.stdout)
    assert subprocess.run([shell, "-n", str(tmp_path / "script")], timeout=30).returncode == 0


def test_bash_completes_a_command_and_its_options(call, tmp_path):
    (tmp_path / "script").write_text(call("completion", "bash").stdout)
    assert complete(tmp_path, "pgflow-mp comp") == {"compile", "completion"}
    assert "--recompile" in complete(tmp_path, "pgflow-mp compile --")


@pytest.mark.slow
def test_bash_completes_the_slugs_of_the_database(call, tmp_path, pgflow_dsn):
    with PgFlow(pgflow_dsn) as app:
        app.compile(Doubling)
    (tmp_path / "script").write_text(call("completion", "bash").stdout)
    (tmp_path / "pgflow-mp").write_text(f'#!/bin/sh\nexec {sys.executable} -m pgflow_mp "$@"\n')
    (tmp_path / "pgflow-mp").chmod(0o755)
    with_database = {"PGFLOW_DSN": pgflow_dsn, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    for line in ("pgflow-mp start d", "pgflow-mp schedules add d"):
        assert complete(tmp_path, line, environment(with_database)) == {"doubling"}
    assert complete(tmp_path, "pgflow-mp start d", environment({"PATH": with_database["PATH"]})) == set()


def complete(folder, line, variables=None):
    """What bash would offer at the end of the line."""
    words = line.split(" ")
    script = f"""
        source {folder / "script"}
        COMP_WORDS=({" ".join(words)})
        COMP_CWORD={len(words) - 1}
        COMP_LINE="{line}"
        COMP_POINT={len(line)}
        $(complete -p pgflow-mp | sed 's/.*-F \\([^ ]*\\).*/\\1/') pgflow-mp "{words[-1]}" "{words[-2]}"
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", script], env=variables, capture_output=True, text=True, timeout=30, check=True)
    return set(done.stdout.split())
