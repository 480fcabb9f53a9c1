"""File locks that the kernel gives back when their holder dies, however it dies (flock(2)).

A lock belongs to the open file: two handles in one process exclude each other like two processes,
a forked child shares its parent's, and a program started by `subprocess` has none of them.
"""

from __future__ import annotations

import fcntl
import os
import time
from typing import TYPE_CHECKING, Self

from pgflow_mp.postgres.unavailable import Unavailable

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType


class FileLock:
    """An open lock file, unlocked at first; closing it gives the lock back.

    Args:
        path: The file; never followed when it is a link, since others may write in /tmp.
        create: Make it if it is not there.
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self.path = path
        how = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        self._file = os.open(path, how, 0o600)

    def share(self) -> None:
        """Take it together with others; waits for an exclusive holder."""
        fcntl.flock(self._file, fcntl.LOCK_SH)

    def try_alone(self) -> bool:
        """Take it alone if nobody else has it. A share held before is given up either way."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def alone(self, seconds: float) -> Self:
        """Take it alone, waiting at most `seconds`.

        Raises:
            Unavailable: Another process kept it all that time.
        """
        deadline = time.monotonic() + seconds
        while not self.try_alone():
            if time.monotonic() > deadline:
                self.close()
                raise Unavailable(f"another process has held {self.path} for {seconds:g} s")
            time.sleep(0.02)
        return self

    def close(self) -> None:
        """Give the lock back."""
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
