"""The server that test sessions use again: one for each user and major version, shared, fast, and safe to lose.

Between two sessions it does not run, but its data stay, and with them what the sessions made once: initdb's work and
a prepared template. The data are in memory where there is room for them, behind a link in the server's folder.

Nothing is synced to a disk, so data on a disk are as good as the page cache that wrote them: after a reboot they are
made anew. A reboot takes those in memory away by itself, and leaves a link that leads nowhere.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pgflow_mp.errors import ServerUnavailable
from pgflow_mp.postgres import folders
from pgflow_mp.postgres.account import server_account
from pgflow_mp.postgres.home import Home, data_home, prepare_home, start_or_join
from pgflow_mp.postgres.local import find_binaries
from pgflow_mp.postgres.unavailable import Unavailable

if TYPE_CHECKING:
    from pgflow_mp.postgres.server import Server

KINDS = ("auto", "embedded", "system")


def reused(kind: str = "auto") -> Server:
    """Start or join this user's server for tests; its `stop` leaves it, and the last one to leave stops it.

    It is beside the development server (see `development`), in ``tests-MAJOR``.

    Args:
        kind: ``embedded``, ``system``, or ``auto``: the first of the two that works.

    Raises:
        ServerUnavailable: None of them works; lists why.
        ValueError: Another kind.
    """
    if kind not in KINDS:
        raise ValueError(f"a server that is used again is one of {', '.join(KINDS)}, not {kind!r}")
    attempts = []
    for each in KINDS[1:] if kind == "auto" else (kind,):
        try:
            return _reused(each)
        except Unavailable as reason:
            attempts.append((each, str(reason)))
        except OSError as error:
            attempts.append((each, f"its folder cannot be used: {error}"))
    raise ServerUnavailable(attempts)


def _reused(kind: str) -> Server:
    account = server_account()
    binaries = find_binaries(kind, account)
    path = data_home(account).absolute().resolve() / f"tests-{binaries.major}"
    home = _Home(prepare_home(path, account), account, durable=False)
    try:
        return start_or_join(kind, binaries, home)
    except Unavailable:
        # The data may be to blame, as after a crash of the machine, and can be had again.
        home.boot.unlink(missing_ok=True)
        return start_or_join(kind, binaries, home)


@dataclass(frozen=True, slots=True)
class _Home(Home):
    """A home whose data are worth keeping as long as the machine runs."""

    @property
    def boot(self) -> Path:
        """Holds the boot of the machine in which the data were made; without it they are not trusted."""
        return self.path / "boot"

    def tidy(self) -> None:
        """Throw away data of an earlier boot, and find room for new ones."""
        boot = _boot()
        if not boot or not self.boot.exists() or self.boot.read_text() != boot:
            self._forget_data()
        self.boot.write_text(boot)
        if not self.data.exists():
            self.data.unlink(missing_ok=True)  # a link into memory that somebody emptied
            if folders.memory_has_room(self.account):
                room = Path(tempfile.mkdtemp(prefix=f"pgflow-mp.{os.geteuid()}.", dir=folders.MEMORY))
                folders.share_out(room, self.account, folders.DATA)
                self.data.symlink_to(room / folders.DATA)

    def _forget_data(self) -> None:
        if self.data.is_symlink():
            folders.erase(self.data.resolve().parent)
            self.data.unlink()
        folders.erase(self.data)


def _boot() -> str:
    """Return what tells this boot of the machine from others; empty where that cannot be known."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:
        command = ["/usr/sbin/sysctl", "-n", "kern.boottime"]  # macOS
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
