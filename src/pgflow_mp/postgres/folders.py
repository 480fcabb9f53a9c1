"""Temporary folders of throw-away servers, and the sweep of those whose owner is dead.

A folder holds ``owner.pid``: the owner's pid for people, and for us the file that the owner keeps
locked as long as it lives. The kernel gives the lock back at any kind of death, so a free lock proves
that the owner is gone; neither a pid used again nor a process of another container that shares /tmp
can fool the next start into ending a server that somebody uses.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import stat
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pgflow_mp.postgres.account import can_enter, give
from pgflow_mp.postgres.launcher import socket_fits, stop
from pgflow_mp.postgres.locks import FileLock
from pgflow_mp.postgres.unavailable import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgflow_mp.postgres.account import Account

PREFIX = "pgflow-mp-"
OWNER = "owner.pid"
DATA = "data"
SOCKET = "s"
CONTAINER = "container"
"""File with the name of the container that the folder stands for."""

ERASE_SECONDS = 5.0

MEMORY = Path("/dev/shm")  # noqa: S108 - mkdtemp makes the folders in it
"""A file system in memory, on Linux."""

MEMORY_ROOM = 2 * 1024**3
"""Bytes that have to be free there for a server to be given room in it."""

UNLOCKED_SECONDS = 60.0
"""How long the owner's note may be empty and unlocked while its owner is making it."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A temporary folder that is ours until `remove`."""

    path: Path
    owned: FileLock

    @property
    def data(self) -> Path:
        """Where a throw-away server has its data."""
        return self.path / DATA

    @property
    def socket(self) -> Path:
        """Where the server has its socket."""
        return self.path / SOCKET

    def remove(self) -> None:
        """Remove it with all that is in it, the owner's note last: without it no sweep would finish."""
        for path in self.path.iterdir():
            if path.is_dir():
                erase(path)
        erase(self.path)
        self.owned.close()


def make(account: Account | None, *, throwaway: bool = False) -> Folder:
    """Make a folder for a server, with a folder for its socket that only it and we get into.

    Args:
        account: Whom the server runs as.
        throwaway: The data will be in it and need not outlive the machine: in memory, if there is room. A database
            is hundreds of files, and making and dropping them in memory costs half and never waits for a disk.
    """
    parent = MEMORY if throwaway and memory_has_room(account) else _parent(account)
    # Resolved: the path is compared with command lines, and /tmp is a link on macOS.
    path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent)).resolve()
    owned = FileLock(path / OWNER)
    owned.share()
    (path / OWNER).write_text(f"{os.getpid()}\n")
    share_out(path, account, SOCKET)
    return Folder(path, owned)


def share_out(path: Path, account: Account | None, *names: str) -> None:
    """Make the server's own folders in `path`, which itself stays ours.

    The account that root lends to a server gets through `path` but cannot write there: what we
    write as root (log, locks) is then never a link that the account placed.
    """
    path.chmod(0o711 if account else 0o700)
    for name in names:
        (path / name).mkdir(mode=0o700, exist_ok=True)
        give(path / name, account)


def erase(folder: Path) -> None:
    """Remove a folder with all that is in it, again while a dying program (initdb) still writes there."""
    deadline = time.monotonic() + ERASE_SECONDS
    while folder.exists() and time.monotonic() < deadline:
        shutil.rmtree(folder, ignore_errors=True)


def short(long: Path, account: Account | None) -> Path:
    """Return a short folder for the socket of a server whose own folder has a path too long for it.

    It is the same for the same `long`, so that it need not be removed to be used again.
    """
    told = hashlib.sha256(os.fsencode(long)).hexdigest()[:16]
    path = Path("/tmp").resolve() / f"pgflow-mp.{os.geteuid()}.{told}"  # noqa: S108
    owner = account.uid if account else os.geteuid()
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
        give(path, account)
    status = path.lstat()
    # Anybody may make a folder in /tmp: take no other one than ours, closed to others.
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != owner or stat.S_IMODE(status.st_mode) != 0o700:
        raise Unavailable(f"{path}, which the socket needs, is not a folder of the server's user alone")
    return path


def memory_has_room(account: Account | None) -> bool:
    """Say whether throw-away data go into memory; a TMPDIR that somebody set says where temporary things go."""
    if os.environ.get("TMPDIR"):
        return False
    try:
        free = shutil.disk_usage(MEMORY).free
    except OSError:
        return False
    return free >= MEMORY_ROOM and os.access(MEMORY, os.W_OK | os.X_OK) and can_enter(MEMORY, account)


def _parent(account: Account | None) -> Path:
    """Return the system's temporary folder, or /tmp when a socket's path would get too long there."""
    usual = Path(tempfile.gettempdir()).resolve()
    if socket_fits(usual / f"{PREFIX}12345678" / SOCKET) and can_enter(usual, account):
        return usual
    return Path("/tmp").resolve()  # noqa: S108 - mkdtemp makes the folder, with mode 0700


def sweep() -> None:
    """End the servers of dead owners and remove their folders; leave every other folder alone."""
    for folder in abandoned():
        if (folder.path / CONTAINER).exists():  # left to the next start that talks to Docker
            folder.owned.close()
            continue
        stop(folder.data, signal.SIGQUIT)
        folder.remove()


def abandoned() -> Iterator[Folder]:
    """Yield the folders of dead owners, each locked by us until it is removed or its lock closed."""
    for parent in {Path(tempfile.gettempdir()).resolve(), Path("/tmp").resolve(), MEMORY}:  # noqa: S108
        for path in parent.glob(f"{PREFIX}*"):
            # A folder may vanish under us: its owner or another sweep was faster.
            with contextlib.suppress(OSError):
                if folder := _abandoned(path):
                    yield folder


def _abandoned(path: Path) -> Folder | None:
    note = path / OWNER
    status = note.lstat()
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
        return None
    with contextlib.ExitStack() as opened:
        lock = opened.enter_context(FileLock(note, create=False))
        # Between making the file and locking it, its owner lives though the lock is free: the file is empty.
        made_just_now = time.time() - status.st_mtime < UNLOCKED_SECONDS
        if lock.try_alone() and (note.read_text() or not made_just_now):
            opened.pop_all()
            return Folder(path, lock)
    return None
