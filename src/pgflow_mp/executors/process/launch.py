"""Starts children, and is the only place that knows how `multiprocess` does it.

Forkserver where there is one (a fresh child in milliseconds, without the locks that a fork of the parent would
copy), spawn elsewhere. It goes below `Process.start()`, because three things must differ:

- No child imports the parent's `__main__`. Handlers of a script or a notebook travel by value, so nothing
  needs it, and a script without the `if __name__ == "__main__"` guard does not start itself again.
- The fork servers are ours (one for each list of preloaded modules, kept for the life of this process), so
  the user's own use of `multiprocess` is untouched, nobody joins our children at exit, and `renew` can
  replace a server.
- Nothing waits: the server says the child's pid when it gets to it, and the parent's loop goes on meanwhile.

Importing this module imports `multiprocess` and with it `dill` (60 ms): only a starting pool does.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import struct
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import multiprocess
from multiprocess import context, forkserver, popen_forkserver, popen_spawn_posix, reduction, spawn

from pgflow_mp.executors.process import child, guard

if TYPE_CHECKING:
    from collections.abc import Iterator

_SIGNED = struct.Struct("q")  # how a fork server writes pids and statuses


class SharedFd:
    """A file descriptor among a child's arguments: pickled while a child starts, it arrives as an int."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrive, (reduction.DupFd(self.fd),)


def _arrive(duplicate: Any) -> int:
    fd: int = duplicate.detach()
    return fd


def start(method: str, preload: tuple[str, ...], module: str, fds: tuple[int, int, int]) -> ForkedChild | SpawnedChild:
    """Start a child that runs `main` of a module with copies of `fds` (task pipe, output pipe, trace file).

    Args:
        method: "forkserver" or "spawn".
        preload: Modules that the fork server imports before it forks; spawn has no use for them.
        module: `child` here, or another with a `main` of the same kind.
        fds: Descriptors of this process; close the child's ends here afterwards.

    Raises:
        OSError: There is no room for a process, or the fork server does not answer.
        ValueError: No such start method on this platform.
    """
    process = multiprocess.get_context(method).Process(
        target=importlib.import_module(module).main,
        args=tuple(SharedFd(fd) for fd in fds),
        name="pgflow-mp child",
        daemon=False,
    )
    return ForkedChild(process, preload) if method == "forkserver" else SpawnedChild(process)


def task_pipe() -> tuple[int, int]:
    """Return the two ends of a new duplex pipe (ours, the child's)."""
    ours, theirs = multiprocess.Pipe(duplex=True)
    with ours, theirs:
        return os.dup(ours.fileno()), os.dup(theirs.fileno())


def renew(preload: tuple[str, ...]) -> None:
    """Make the next child come from a new fork server, which imports the code as it is then.

    The old server ends with the last of its children.
    """
    server = _servers.pop(_server_key(preload), None)
    if server is not None and server._forkserver_alive_fd is not None:  # noqa: SLF001
        os.close(server._forkserver_alive_fd)  # noqa: SLF001
        _forget_listener(server)
        _retired.append(server._forkserver_pid)  # noqa: SLF001


class ForkedChild(popen_forkserver.Popen):  # type: ignore[misc]
    """A child of a fork server.

    The server writes the pid and, when it has reaped the child, the exit status into `sentinel`. The end of
    that pipe without a status says only that the server has gone; the child may live on.

    Attributes:
        is_orphaned: The server has gone.
        sentinel_is_child: Whether the end of `sentinel` is the end of the child.
    """

    sentinel_is_child = False

    def __init__(self, process: Any, preload: tuple[str, ...]) -> None:
        self._preload = preload
        self._said = b""
        self.is_orphaned = False
        super().__init__(process)

    def _launch(self, process: Any) -> None:
        parcel = _pickle(self, process)
        server = _server(self._preload)
        self.sentinel, self._lifeline = server.connect_to_new_process(self._fds)
        os.set_blocking(self.sentinel, False)
        # The pipe takes 64 KiB at once, many times what there is to say; nobody waits for the reader.
        # It stays open: its end is what tells the child that we are gone.
        os.write(self._lifeline, parcel)

    def known_pid(self) -> int | None:
        """Its process id; None while the server has not got to it."""
        self._listen()
        return self._number(0)

    def exit_code(self) -> int | None:
        """Its exit status (negative: a signal's number); None while it lives, or where nobody knows."""
        self._listen()
        return self._number(1)

    def close(self) -> None:
        """Close what belongs to it here; a child that still lives ends by that."""
        os.close(self.sentinel)
        os.close(self._lifeline)

    def _listen(self) -> None:
        with contextlib.suppress(BlockingIOError):
            said = os.read(self.sentinel, 2 * _SIGNED.size)
            self._said += said
            self.is_orphaned = not said

    def _number(self, index: int) -> int | None:
        if len(self._said) < (index + 1) * _SIGNED.size:
            return None
        number: int = _SIGNED.unpack_from(self._said, index * _SIGNED.size)[0]
        return number


class SpawnedChild(popen_spawn_posix.Popen):  # type: ignore[misc]
    """A child that is a fresh interpreter; the attributes are those of `ForkedChild`."""

    sentinel_is_child = True
    is_orphaned = False

    def _launch(self, process: Any) -> None:
        with _without_main():
            super()._launch(process)

    def known_pid(self) -> int | None:
        """Its process id."""
        pid: int = self.pid
        return pid

    def exit_code(self) -> int | None:
        """Its exit status (negative: a signal's number); None while it lives."""
        code: int | None = self.poll()
        return code


def _pickle(popen: ForkedChild, process: Any) -> bytes:
    buffer = io.BytesIO()
    context.set_spawning_popen(popen)
    try:
        reduction.dump(_preparation(process.name), buffer)
        reduction.dump(process, buffer)
    finally:
        context.set_spawning_popen(None)
    return buffer.getvalue()


def _preparation(name: str, prepare: Any = spawn.get_preparation_data) -> dict[str, Any]:
    """What a child does before it starts (path, folder), without the import of the main module."""
    return {key: value for key, value in prepare(name).items() if not key.startswith("init_main")}


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Have `multiprocess` use our `_preparation`: its spawn asks for the data inside of `_launch`."""
    original = spawn.get_preparation_data
    spawn.get_preparation_data = _preparation
    try:
        yield
    finally:
        spawn.get_preparation_data = original


# Fork servers ----------------------------------------------------------------------------------------------

_servers: dict[tuple[Any, ...], Any] = {}
_retired: list[int] = []
_listeners: dict[Any, int] = {}
_FDS = "/proc/self/fd/"
_CAN_UNNAME = sys.platform == "linux" and Path(_FDS).is_dir()


def _server_key(preload: tuple[str, ...]) -> tuple[Any, ...]:
    """A fork of this process must not use our servers; the path matters only to what is preloaded."""
    return (os.getpid(), preload, tuple(sys.path) if preload else ())


def _server(preload: tuple[str, ...]) -> Any:
    server = _servers.get(_server_key(preload))
    if server is None:
        server = _servers[_server_key(preload)] = forkserver.ForkServer()
        server.set_forkserver_preload([guard.__name__])
    _reap_retired()
    with _order(preload), _nameless_listener(server):
        server.ensure_running()
    return server


@contextlib.contextmanager
def _nameless_listener(server: Any) -> Iterator[None]:
    """Leave no file behind for the socket on which a fork server that starts here listens.

    `multiprocess` removes its temporary folder when this process ends, but not when it is killed. So the socket loses
    its name as soon as it listens, and is reached by a descriptor of its inode (open(2), O_PATH). A socket of the
    abstract namespace has no file in the first place, but is open to every user of the machine (CVE-2022-42919).
    """
    if not _CAN_UNNAME:
        yield
        return
    with contextlib.ExitStack() as folders:

        def address(_family: str) -> str:
            folder = folders.enter_context(tempfile.TemporaryDirectory(prefix="pgflow-mp-"))
            return os.path.join(folder, "fork")  # noqa: PTH118

        original, forkserver.connection = forkserver.connection, SimpleNamespace(arbitrary_address=address)
        try:
            yield
        finally:
            forkserver.connection = original
        if not server._forkserver_address.startswith(_FDS):  # noqa: SLF001 - it has just started
            _forget_listener(server)
            _listeners[server] = os.open(server._forkserver_address, os.O_PATH | os.O_CLOEXEC)  # noqa: SLF001
            server._forkserver_address = f"{_FDS}{_listeners[server]}"  # noqa: SLF001


def _forget_listener(server: Any) -> None:
    if server in _listeners:
        os.close(_listeners.pop(server))


@contextlib.contextmanager
def _order(preload: tuple[str, ...]) -> Iterator[None]:
    """Set what the guard reads: the path (also needed to find the guard itself) and what to import."""
    path = [entry or os.getcwd() for entry in sys.path]  # noqa: PTH109
    changes = {
        guard.ORDER_VARIABLE: json.dumps({"path": path, "modules": [child.__name__, *preload]}),
        "PYTHONPATH": os.pathsep.join(path),
    }
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _reap_retired() -> None:
    for pid in _retired.copy():
        with contextlib.suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG) == (0, 0):
                continue
        _retired.remove(pid)
