"""The command line as a person calls it: a process of its own, its two streams and its exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DEADLINE_SECONDS = 60

GREET = """
from pgflow_mp import Flow, map_step, step


class Greet(Flow, max_attempts=1):
    @step
    def names(flow_input):
        return flow_input.get("names", ["Ada", "Grace"])

    @map_step(over=names)
    def greeting(item):
        return f"hello {item}"
"""


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without what would steer the command."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PGFLOW_", "PG"))}
    return {**kept, **(extra or {})}


def pgflow_mp(
    *arguments: str,
    cwd: Path | None = None,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    deadline: float = DEADLINE_SECONDS,
) -> subprocess.CompletedProcess[str]:
    """Run ``pgflow-mp`` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "pgflow_mp", *arguments],
        cwd=cwd,
        input=stdin,
        env=environment(env),
        capture_output=True,
        text=True,
        timeout=deadline,
        check=False,
    )


def begin(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None, stderr: int | IO[bytes] = subprocess.PIPE
) -> subprocess.Popen[str]:
    """Start ``pgflow-mp`` and leave it running."""
    return subprocess.Popen(
        [sys.executable, "-m", "pgflow_mp", *arguments],
        cwd=cwd,
        env=environment(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )


def is_one_sentence(stderr: str) -> bool:
    """Whether an error is what a person should see: our name, the sentence, no stack of ours."""
    return stderr.startswith("pgflow-mp: ") and "Traceback" not in stderr
