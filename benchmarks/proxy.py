"""A TCP proxy on loopback before a database: it can be slow, fall silent, or cut.

It forwards to the Unix socket or the port of the DSN. A silent proxy keeps its connections open and forwards nothing
any more, in either direction: what a peer looks like that lost power, with a kernel in between that answers keepalives.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from psycopg.conninfo import conninfo_to_dict, make_conninfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHUNK = 65536


class Proxy:
    """A running proxy; its methods may be called from any thread.

    Attributes:
        dsn: Leads through the proxy.
        accepted: How many connections there have been.
        round_trips: How often a client has waited for an answer.
    """

    def __init__(self, dsn: str, delay: float) -> None:
        self._target = conninfo_to_dict(dsn)
        self._delay = delay
        self._dsn = dsn
        self._loop = asyncio.new_event_loop()
        self._silent: set[asyncio.StreamWriter] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.accepted = 0
        self.round_trips = 0

    def silence(self) -> None:
        """Forward nothing any more on the connections that are open now; new ones work."""
        self._call(lambda: self._silent.update(self._writers))

    def cut(self) -> None:
        """Close all connections that are open now, at once."""
        self._call(lambda: [writer.transport.abort() for writer in self._writers])

    def retarget(self, dsn: str) -> None:
        """Forward new connections to another place."""
        target = conninfo_to_dict(dsn)
        self._call(lambda: setattr(self, "_target", target))

    def refuse(self) -> None:
        """Accept no connection any more; those that are open stay."""
        self._call(self._server.close)

    def _call(self, what: object) -> None:
        done = threading.Event()

        def run() -> None:
            what()  # type: ignore[operator]
            done.set()

        self._loop.call_soon_threadsafe(run)
        assert done.wait(10)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.dsn = make_conninfo(self._dsn, host="127.0.0.1", port=port, sslmode="disable", gssencmode="disable")

    async def stop(self) -> None:
        self._server.close()
        writers = self._writers.copy()
        for task in self._tasks.copy():
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0.05)  # the sockets are closed a turn later

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        writers = {writer}
        try:
            up_reader, up_writer = await self._connect()
            writers.add(up_writer)
            self._writers |= writers
            asking = asyncio.Event()
            ways = [
                asyncio.create_task(self._forward(reader, up_writer, asking.set)),
                asyncio.create_task(self._forward(up_reader, writer, lambda: self._answered(asking))),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.sleep(self._delay)  # the last words arrive
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except OSError:
            pass  # nobody there: the end of the connection says so
        except asyncio.CancelledError:
            pass  # the end of the proxy; Python 3.11 would log it as an error of the server
        finally:
            self._writers -= writers
            self._silent -= writers
            for each in writers:
                each.close()
            self._tasks.discard(task)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, port = str(self._target.get("host", "localhost")), self._target.get("port") or 5432
        if host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, int(port))

    def _answered(self, asking: asyncio.Event) -> None:
        self.round_trips += asking.is_set()
        asking.clear()

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Callable[[], None]
    ) -> None:
        while data := await reader.read(CHUNK):
            seen()
            if writer in self._silent:
                continue
            if self._delay:
                self._loop.call_later(self._delay, writer.write, data)
            else:
                writer.write(data)

    def run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self.start())
        ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self.stop())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)


@contextmanager
def proxy(dsn: str, *, delay: float = 0.0) -> Iterator[Proxy]:
    """Have a proxy while the block lasts.

    Args:
        dsn: The database behind it.
        delay: Seconds that every packet is late, each way.
    """
    made = Proxy(dsn, delay)
    ready = threading.Event()
    thread = threading.Thread(target=made.run, args=(ready,), name="proxy")
    thread.start()
    assert ready.wait(10)
    try:
        yield made
    finally:
        made.end()
        thread.join(10)
