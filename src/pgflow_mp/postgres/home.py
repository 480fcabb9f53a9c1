"""The folder of a server that several processes share one after the other and at once.

The first user starts it, later ones join it, and the last one to leave stops it; the data stay. Two
file locks in its folder decide that. ``users.lock`` is held shared by every user of the server, so
that whoever gets it alone is the last. ``change.lock`` is held alone while somebody joins or leaves,
so that nobody joins a server that is being stopped. The kernel takes both from a killed process:
its server goes on, and is joined by the next user and stopped by the last.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pgflow_mp.postgres import folders
from pgflow_mp.postgres.account import can_enter
from pgflow_mp.postgres.launcher import (
    START_SECONDS,
    Place,
    launch,
    read_postmaster,
    running,
    socket_fits,
    stop,
    tail,
)
from pgflow_mp.postgres.local import check_major, holds_data, prepare_data
from pgflow_mp.postgres.locks import FileLock
from pgflow_mp.postgres.server import Server
from pgflow_mp.postgres.settings import defaults
from pgflow_mp.postgres.unavailable import Unavailable

if TYPE_CHECKING:
    from pgflow_mp.postgres.account import Account
    from pgflow_mp.postgres.binaries import Binaries

ROOT_DATA = Path("/var/lib/pgflow-mp")
"""Where root's servers have their data: root's own home is closed to the account that runs them."""

CHANGE_SECONDS = 120.0
"""How long to wait for others who join or leave: a first start with initdb on a slow disk, or a shutdown."""


def start_or_join(kind: str, binaries: Binaries, home: Home) -> Server:
    """Start the server of this folder, or join it if it runs; its `stop` leaves it.

    Raises:
        Unavailable: It does not start.
    """
    with FileLock(home.path / "change.lock").alone(CHANGE_SECONDS):
        users = FileLock(home.path / "users.lock")
        users.share()
        try:
            place = home.joined() or home.started(binaries)
            # A joined server may be of an older minor version than our binaries.
            version = home.version.read_text()
        except BaseException:
            users.close()
            raise
    return Server(
        dsn=place.dsn,
        kind=kind,
        version=version,
        stop=lambda: home.leave(users),
        log_tail=lambda lines: tail(place.log, lines),
    )


@dataclass(frozen=True, slots=True)
class Home:
    """The folder of a shared server, with its locks, data and log.

    Attributes:
        path: The folder.
        account: Runs the server; None is the current user.
        durable: Whether the data are to survive a crash of the machine.
    """

    path: Path
    account: Account | None
    durable: bool

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.path / "data"

    @property
    def version(self) -> Path:
        """Holds the version of the server that was started last."""
        return self.path / "version"

    def place(self, socket: Path) -> Place:
        """Return where the server lives when it has its socket in this folder."""
        return Place(self.data, socket, self.path / "log", self.account)

    def joined(self) -> Place | None:
        """Find the running server, whoever started it; None when there is none."""
        deadline = time.monotonic() + START_SECONDS
        while running(self.data) is not None:
            postmaster = read_postmaster(self.data)
            if postmaster and postmaster.status == "ready":
                return self.place(postmaster.socket)
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"the server of {self.data} runs but does not get ready; the end of its log:\n"
                    f"{tail(self.path / 'log', 15)}"
                )
            time.sleep(0.02)
        return None

    def tidy(self) -> None:
        """Do what a kind of home needs before a start; nobody runs on the data then."""

    def started(self, binaries: Binaries) -> Place:
        """Start the server, on new data if there are none."""
        self.tidy()
        place = self.place(self._socket_folder())
        if place.log.exists():
            place.log.replace(place.log.with_name("log.old"))
        if not holds_data(self.data):
            prepare_data(place, binaries, durable=self.durable)
        check_major(self.data, binaries)
        self._forget_dead_server(place.socket)
        self.version.write_text(binaries.version)
        try:
            launch(place, binaries, defaults(durable=self.durable))
        except Unavailable:
            # Somebody killed between starting it and its first sign of life left it to us.
            joined = self.joined()
            if joined is None:
                raise
            return joined
        return place

    def _socket_folder(self) -> Path:
        usual = self.path / folders.SOCKET
        return usual if socket_fits(usual) else folders.short(self.path, self.account)

    def _forget_dead_server(self, socket: Path) -> None:
        """Remove the lock files of a server that no longer runs.

        Postgres does so itself unless another process of the account has got the dead server's pid,
        as after a reboot or in a restarted container. It checks for left-over backends by its shared
        memory, not by these files (PostgreSQL's src/backend/port/sysv_shmem.c).
        """
        for left in (self.data / "postmaster.pid", *socket.glob(".s.PGSQL.*")):
            left.unlink(missing_ok=True)

    def leave(self, users: FileLock) -> None:
        """Give up our share; stop the server if nobody else has one."""
        try:
            change = FileLock(self.path / "change.lock").alone(CHANGE_SECONDS)
        except (Unavailable, OSError):
            # Somebody starts or stops it very slowly: the next to leave will find itself the last.
            # Or somebody removed the folder: a server without its data folder ends by itself.
            users.close()
            return
        with change, contextlib.closing(users):
            if users.try_alone():
                stop(self.data, signal.SIGINT)


def prepare_home(path: Path, account: Account | None) -> Path:
    """Make the folder of the server, if need be, and the one of its socket.

    Raises:
        Unavailable: It cannot be made, or the server's account cannot get there.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if account:
            path.parent.chmod(0o711)
        folders.share_out(path, account, folders.SOCKET)
    except OSError as error:
        raise Unavailable(f"the folder {path} of a server cannot be made: {error}") from error
    if not can_enter(path, account):
        raise Unavailable(f"the account that runs the server cannot reach {path}; set XDG_DATA_HOME")
    return path


def data_home(account: Account | None) -> Path:
    """Return the folder that this user's shared servers have theirs in."""
    chosen = os.environ.get("XDG_DATA_HOME")
    if account is None:
        return Path(chosen or Path.home() / ".local" / "share") / "pgflow-mp"
    # Not in a home folder as root: it may be that of the person who called sudo.
    if chosen and can_enter(Path(chosen), account):
        return Path(chosen) / "pgflow-mp"
    return ROOT_DATA
