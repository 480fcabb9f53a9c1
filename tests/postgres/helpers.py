"""Other processes that own servers, and what can be seen of servers from outside."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from pgflow_mp.postgres.launcher import running, serves

PATIENCE = 30.0

AS_ROOT = os.geteuid() == 0


def ask(dsn, query):
    with psycopg.connect(dsn, autocommit=True) as conn:
        return conn.execute(query).fetchone()[0]


def run(dsn, statement):
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(statement)


def socket_of(server):
    return Path(conninfo_to_dict(server.dsn)["host"])


def folder_of(server):
    """The folder of a server of ours, which holds its socket's folder, log and data."""
    return socket_of(server).parent


def pid_of(server, data=None):
    pid = running(data or folder_of(server) / "data")
    assert pid is not None
    return pid


def wait_until(true, what):
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, f"{what} did not happen within {PATIENCE} s"
        time.sleep(0.01)


def wait_for_end(pid, data):
    wait_until(lambda: not serves(pid, data), f"the end of the server {pid}")


@contextlib.contextmanager
def python(script, *arguments, **options):
    """A process that runs `script` under `-W error`; it is killed at the end if it still runs."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", script, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def told(process):
    """The next line that the process prints."""
    line = process.stdout.readline().strip()
    if not line:
        process.kill()
        raise AssertionError(process.stderr.read())
    return line


def open_folder(path):
    """Make `path` and let every account through it."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o755)
    return path


@contextlib.contextmanager
def open_temporary_folder():
    """A temporary folder that every account gets into, which pytest's tmp_path is not."""
    folder = Path(tempfile.mkdtemp(prefix="pgflow-test-", dir="/tmp"))
    try:
        yield open_folder(folder)
    finally:
        shutil.rmtree(folder)


def copy_quickly(source, target):
    """Copy a tree by hard links where that goes."""

    def link_or_copy(origin, copy):
        try:
            os.link(origin, copy)
        except OSError:
            shutil.copy2(origin, copy)

    shutil.copytree(source, target, copy_function=link_or_copy, symlinks=True)
