from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest

from pgflow_mp.cli import main


@pytest.fixture
def python_as_before(monkeypatch):
    """Loading flows is meant to change sys.path and sys.modules; tests must not see that of each other."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if not name.startswith(("pgflow_mp.", "multiprocess", "psycopg", "rich")):
            del sys.modules[name]


@pytest.fixture
def call(monkeypatch, capfd, python_as_before):
    """Call the command in this process: for what starts no children, a tenth of the time of a new process."""
    for name in list(os.environ):
        if name.startswith(("PGFLOW_", "PG")):
            monkeypatch.delenv(name)
    monkeypatch.setattr(logging.root, "handlers", list(logging.root.handlers))
    monkeypatch.setattr(logging.root, "level", logging.root.level)

    def call(*arguments: str, cwd=None) -> subprocess.CompletedProcess[str]:
        if cwd is not None:
            monkeypatch.chdir(cwd)
        capfd.readouterr()
        code = main(arguments)
        stdout, stderr = capfd.readouterr()
        return subprocess.CompletedProcess(arguments, code, stdout, stderr)

    return call
