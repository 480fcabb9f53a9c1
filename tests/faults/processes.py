"""Which processes belong to a worker: read from /proc, told by a mark in the environment that all of them inherit."""

from __future__ import annotations

from pathlib import Path

MARK_VARIABLE = "PGFLOW_FAULTS_MARK"


def marked(mark: str) -> list[int]:
    """Return the processes that were started with this mark."""
    wanted = f"{MARK_VARIABLE}={mark}".encode()
    return [pid for pid in _pids() if wanted in _bytes(pid, "environ").split(b"\0")]


def children(pid: int) -> list[int]:
    """Return the direct children of a process."""
    return [other for other in _pids() if _parent(other) == pid]


def fork_servers(pid: int) -> list[int]:
    """Return the fork servers of a worker."""
    return [child for child in children(pid) if b"forkserver" in _bytes(child, "cmdline")]


def workers_of(pid: int) -> list[int]:
    """Return the processes in which a worker runs steps."""
    return [child for server in fork_servers(pid) for child in children(server)]


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _parent(pid: int) -> int:
    fields = _bytes(pid, "stat").rpartition(b")")[2].split()
    return int(fields[1]) if fields and fields[0] != b"Z" else 0


def _bytes(pid: int, name: str) -> bytes:
    try:
        return (Path("/proc") / str(pid) / name).read_bytes()
    except OSError:
        return b""
