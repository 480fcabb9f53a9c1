"""The help: there at once, and with all that a person needs."""

from __future__ import annotations

import subprocess
import sys

from pgflow_mp.cli import parser

# Loading one of these takes longer than all the rest of `--help`.
HEAVY = {"psycopg", "rich", "asyncio", "multiprocess", "pydantic", "pluggy", "shtab"}


def test_help_loads_nothing_that_takes_time():
    code = "import sys; from pgflow_mp.cli import main; main(['--help']); print(sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    loaded = {name.strip(" '[]\n").partition(".")[0] for name in done.stderr.split(",")}
    assert "pgflow_mp" in loaded
    assert not HEAVY & loaded
    for name in parser.commands(parser.make()):
        assert f"\n    {name}" in done.stdout


def test_every_command_says_how_to_name_a_database_and_to_print_json(call):
    for name, command in parser.commands(parser.make()).items():
        done = call(name, "--help")
        assert done.returncode == 0
        options = {option for action in command._actions for option in action.option_strings}
        assert "--json" in options or name == "completion"
        assert "--dsn" in options or name in ("completion", "plugins")


def test_a_mistyped_command_is_a_usage_error(call):
    done = call("shwo")
    assert done.returncode == 2
    assert "shwo" in done.stderr
