"""``pgflow-mp completion``: scripts that shells take."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from pgflow_mp.cli import parser


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


def complete(folder, line):
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
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=30, check=True)
    return set(done.stdout.split())
