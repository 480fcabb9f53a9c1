"""Telling a caller in a sentence that connections belong to the event loop that opened them."""

from __future__ import annotations

import asyncio

from pgflow_mp.errors import PgflowError


class OneLoop:
    """Remembers the event loop of the first use until `leave`."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def check(self) -> None:
        """Take the running event loop as ours, or see that it is.

        Raises:
            PgflowError: Another event loop opened the connections.
        """
        running = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = running
        if self._loop is not running:
            raise PgflowError(
                "this AsyncPgFlow was used in another event loop, which its connections belong to; make one for each "
                "event loop (each asyncio.run(...)), or close it in the first (`await app.close()`)"
            )

    def leave(self) -> None:
        """Let another event loop be the next."""
        self._loop = None
