"""The handle of a server: how to reach it, what it is, and how to be done with it."""

from __future__ import annotations

import atexit
import os
import threading
from typing import TYPE_CHECKING, Self

from pgflow_mp.postgres.binaries import major_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


class Server:
    """A Postgres server that can be connected to; a context manager that stops what it started.

    The server of an embedded, system or development handle listens on a Unix socket in a folder of
    mode 0700 and trusts who gets there: the user who started it and root (as root: also the account
    it runs as, ``postgres`` or ``nobody``).

    Attributes:
        dsn: Connects as superuser to the database ``postgres``; for `from_dsn` the DSN given.
        kind: ``embedded``, ``system``, ``docker`` or ``dsn``.
        version: As the server tells it, such as ``18.6``.
    """

    def __init__(
        self,
        *,
        dsn: str,
        kind: str,
        version: str,
        stop: Callable[[], None] | None = None,
        log_tail: Callable[[int], str] | None = None,
    ) -> None:
        self.dsn = dsn
        self.kind = kind
        self.version = version
        self._stop = stop
        self._log_tail = log_tail
        self._lock = threading.Lock()
        self._owner = os.getpid()
        if stop is not None:
            atexit.register(self.stop)

    @property
    def major(self) -> int:
        """The major version."""
        return major_of(self.version)

    def log_tail(self, lines: int = 40) -> str:
        """Return the last lines of the server's log; empty for `from_dsn` and after `stop`."""
        return self._log_tail(lines) if self._log_tail else ""

    def stop(self) -> None:
        """Be done with the server; may be called again, and runs at exit if nobody called it.

        A throw-away server ends and its folder goes. The development server ends when its last user
        leaves. A server given by DSN is left alone. In a forked child this does nothing: the server
        belongs to the process that started it.
        """
        with self._lock:
            stop, self._stop = self._stop, None
        if stop is None or os.getpid() != self._owner:
            return
        atexit.unregister(self.stop)
        stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        # No DSN: it may hold a password.
        return f"<Server {self.kind} PostgreSQL {self.version}>"
