"""Which process on which machine is this? What makes a dead worker of this machine provably dead.

After a crash the next worker on the same machine need not wait until its predecessor has been silent for long:
a process that is gone is gone. Process ids are only comparable within one boot and one pid namespace (a
container has its own), and they are reused, so the start time belongs to the identity (proc(5)).
Where the system does not tell (macOS), nobody is declared dead and silence decides (D-3).
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from pgflow_mp.core.queries.workers import Process

_PROC = Path("/proc")


def this_process() -> Process:
    """Return what tells this process from any other, anywhere."""
    return Process(
        host=socket.gethostname(),
        boot_id=_read(_PROC / "sys/kernel/random/boot_id"),
        pid_namespace=_link(_PROC / "self/ns/pid"),
        pid=os.getpid(),
        started=_start_time(os.getpid()),
    )


def is_gone(other: Process, here: Process) -> bool:
    """Return whether the other process certainly lives no more; False where that cannot be known from here."""
    if here.boot_id is None or here.pid_namespace is None or here.started is None or other.started is None:
        return False
    if (other.boot_id, other.pid_namespace) != (here.boot_id, here.pid_namespace):
        return False
    started = _start_time(other.pid)
    if started is None:
        return not _exists(other.pid)
    return started != other.started or _is_zombie(other.pid)


def _exists(pid: int) -> bool:
    """Whether there is such a process, also where /proc hides those of other users (proc(5), hidepid)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _start_time(pid: int) -> str | None:
    """Return the clock ticks from boot to the start of the process (proc(5), field 22)."""
    stat = _read(_PROC / str(pid) / "stat")
    # The command name in brackets may itself hold spaces and brackets: count from the last one.
    return stat.rpartition(")")[2].split()[19] if stat else None


def _is_zombie(pid: int) -> bool:
    """Whether it has ended and only waits for its parent to notice, which some parents never do."""
    stat = _read(_PROC / str(pid) / "stat")
    return stat is not None and stat.rpartition(")")[2].split()[0] in {"Z", "X"}


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _link(path: Path) -> str | None:
    try:
        return str(path.readlink())
    except OSError:
        return None
