"""Make, start and stop one server in a data folder.

The server is a process of its own session (Ctrl-C on the terminal does not reach it) that nobody's
`Popen` owns: any process may stop it, and none has to reap it. It writes to a log file, never to a
pipe that could fill up or keep a reader waiting. It listens on a Unix socket only; authentication is
``trust``, and what protects it is the folder around the socket (mode 0700) together with the socket's
own mode. Whether a process serves a data folder is read from its command line, never from a bare pid,
because pids are used again.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from pgflow_mp.postgres.account import run_as
from pgflow_mp.postgres.settings import as_arguments
from pgflow_mp.postgres.unavailable import Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgflow_mp.postgres.account import Account
    from pgflow_mp.postgres.binaries import Binaries

PORT = 5432
"""Part of the socket's file name only; nothing listens on a port."""

INITDB_SECONDS = 300.0
START_SECONDS = 60.0
STOP_SECONDS = 30.0

LONGEST_SOCKET_PATH = 103
"""Bytes: sun_path of macOS without its final zero (Linux has four more)."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where one server lives.

    Attributes:
        data: The data folder.
        socket: The folder of its Unix socket.
        log: What initdb and the server print.
        account: Runs the server; None is the current user.
    """

    data: Path
    socket: Path
    log: Path
    account: Account | None

    @property
    def dsn(self) -> str:
        """Connects as superuser to the database ``postgres``."""
        folder = str(self.socket).replace("\\", r"\\").replace("'", r"\'")
        return f"host='{folder}' port={PORT} user=postgres dbname=postgres"


@dataclass(frozen=True, slots=True)
class Postmaster:
    """What ``postmaster.pid`` tells (PostgreSQL's src/include/utils/pidfile.h)."""

    pid: int
    socket: Path
    status: str


def socket_fits(folder: Path) -> bool:
    """Say whether the path of a socket in `folder` is short enough for the system."""
    return len(os.fsencode(folder / f".s.PGSQL.{PORT}")) <= LONGEST_SOCKET_PATH


def tail(log: Path, lines: int) -> str:
    """Return the last `lines` lines of a log file; empty when there is none (any more)."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 400 * lines))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def make_data(place: Place, binaries: Binaries, *, durable: bool) -> None:
    """Run initdb.

    Raises:
        Unavailable: It failed; with the tail of what it printed.
    """
    arguments = ["-D", str(place.data), "-U", "postgres", "--auth=trust", "--locale=C", "-E", "UTF8"]
    if not durable:
        arguments.append("--no-sync")
    try:
        with _opened(place.log) as log:
            done = subprocess.run(
                [binaries.initdb, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=_environment(),
                start_new_session=True,
                check=False,
                timeout=INITDB_SECONDS,
                **run_as(place.account),
            )
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(f"{binaries.initdb} does not run: {error}") from error
    if done.returncode != 0:
        raise _failure(place, f"{binaries.initdb} failed (exit code {done.returncode})")
    place.log.write_bytes(b"")  # a log tail shall show the server, not initdb's good wishes


def launch(place: Place, binaries: Binaries, settings: Mapping[str, str]) -> None:
    """Start the server on an existing data folder and wait until it accepts connections.

    Raises:
        Unavailable: It ended, or was not ready in `START_SECONDS`; with the tail of its log.
    """
    socket = str(place.socket).replace('"', '""')
    fixed = {
        "listen_addresses": "",
        "unix_socket_directories": f'"{socket}"',
        "unix_socket_permissions": "0700",
        "port": str(PORT),
    }
    arguments = ["-D", str(place.data), *as_arguments({**settings, **fixed})]
    pid = _spawn([str(binaries.postgres), *arguments], place)
    try:
        _wait_until_ready(place, pid)
    except BaseException:
        # This one only: the data may be served by another, which is why ours gave up.
        _kill(pid, signal.SIGQUIT)
        raise


def _spawn(command: list[str], place: Place) -> int:
    """Start a program that outlives whoever waits for it, and return its pid.

    The shell leaves at once, so that the program is a child of init, as with ``pg_ctl start``.
    """
    try:
        with _opened(place.log) as log:
            told = subprocess.run(
                ["/bin/sh", "-c", '"$@" >&2 & echo $!', "sh", *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd="/",
                env=_environment(),
                start_new_session=True,
                check=True,
                **run_as(place.account),
            )
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(f"{command[0]} does not run: {error}") from error
    return int(told.stdout)


def _opened(log: Path) -> BinaryIO:
    """Open the log for appending. It holds statements and their values: nobody else may read it."""
    return open(log, "ab", opener=lambda path, flags: os.open(path, flags, 0o600))


def _environment() -> dict[str, str]:
    """Our environment, with the same locale and time zone on every machine."""
    return {**os.environ, "LC_ALL": "C", "TZ": "UTC"}


def _wait_until_ready(place: Place, pid: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        postmaster = read_postmaster(place.data)
        if postmaster and postmaster.pid == pid and postmaster.status == "ready":
            return
        if not _is_alive(pid):
            raise _failure(place, "the server ended while starting")
        time.sleep(0.01)
    raise _failure(place, f"the server was not ready after {START_SECONDS:g} s")


def _failure(place: Place, what: str) -> Unavailable:
    return Unavailable(f"{what}; the end of its log:\n{_indented(tail(place.log, 15))}")


def _indented(text: str) -> str:
    return "\n".join(f"      {line}" for line in text.splitlines())


def read_postmaster(data: Path) -> Postmaster | None:
    """Read the server's own note of itself; None when there is none, or it is not yet complete."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        return Postmaster(int(lines[0]), Path(lines[4]), lines[7].strip())
    except (OSError, ValueError, IndexError):
        return None


def running(data: Path) -> int | None:
    """Return the pid of the server that serves `data`; None when there is none."""
    try:
        pid = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None
    return pid if serves(pid, data) else None


def serves(pid: int, data: Path) -> bool:
    """Say whether process `pid` is a server (or one about to be) on the folder `data`.

    Dead processes, zombies and strangers that got the pid of a dead server have another command line.
    """
    try:
        return os.fsencode(data) in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        if Path("/proc/self/cmdline").exists():
            return False
    return b"-D " + os.fsencode(data) + b" " in _ps(pid, "command=")


def _is_alive(pid: int) -> bool:
    """Say whether a process that we just started still runs; a zombie does not.

    Not asked of its command line, which reads as empty for a moment while it becomes the server.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        after_name = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2]
    except OSError:
        if Path("/proc/self/stat").exists():
            return False
        after_name = _ps(pid, "stat=")
    return after_name.strip()[:1] not in (b"Z", b"X", b"")


def _kill(pid: int, how: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, how)
    deadline = time.monotonic() + STOP_SECONDS
    while _is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.005)


def _ps(pid: int, column: str) -> bytes:
    """Ask ps where there is no /proc (macOS)."""
    command = ["/bin/ps", "-ww", "-o", column, "-p", str(pid)]
    return subprocess.run(command, capture_output=True, check=False).stdout


def stop(data: Path, how: signal.Signals) -> None:
    """Stop the server of `data` and wait for its end; escalate when it does not end in time.

    Args:
        data: The data folder.
        how: SIGINT is Postgres' fast shutdown (rolls back, writes a checkpoint), SIGQUIT the immediate one.
    """
    for escalation in dict.fromkeys([how, signal.SIGQUIT, signal.SIGKILL]):
        pid = running(data)
        if pid is None:
            return
        _kill(pid, escalation)
