"""``serve --http``: what probes, scrapers and people ask a worker, answered over HTTP.

    /healthz   200 while the worker's loop turns: the process need not be killed
    /readyz    200 while it takes tasks: the database answers, and nobody has asked it to stop; else 503 and why
    /status    the worker, its children and what they run, and the queues, as JSON
    /metrics   for Prometheus, where its plugin is loaded

The standard library's server runs in threads of its own, so that a slow reader holds up no task; whatever belongs to
the worker is asked for in its loop, and a loop that does not answer within `ANSWER_SECONDS` is what /healthz is there
to tell. There is no access control: it listens on loopback unless told otherwise.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

from pgflow_mp.errors import PgflowError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from types import TracebackType

logger = logging.getLogger("pgflow_mp.http")

ANSWER_SECONDS: Final = 5.0
"""How long the worker's loop may take to answer."""

READER_SECONDS: Final = 10.0
"""How long a client may take to send its request or to read an answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a path answers.

    Attributes:
        body: Text, or JSON values.
        status: The HTTP status.
        content_type: Of the body; JSON values have their own.
    """

    body: object
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = "text/plain; charset=utf-8"

    def encoded(self) -> tuple[bytes, str]:
        """Return the body's bytes and their content type."""
        if isinstance(self.body, str):
            return self.body.encode(), self.content_type
        return json.dumps(self.body, indent=2).encode() + b"\n", "application/json"


Route: TypeAlias = "Callable[[], Awaitable[Answer]]"


class Endpoints:
    """Serves routes over HTTP while it is entered. Enter it in the loop that the routes belong to.

    Args:
        where: Host and port.
        routes: By path, a coroutine function that runs in the loop.

    Raises:
        PgflowError: At entering: the address cannot be listened on.
    """

    def __init__(self, where: tuple[str, int], routes: Mapping[str, Route]) -> None:
        self._where = where
        self._routes = routes

    @property
    def url(self) -> str:
        """Where it listens; the port is the real one."""
        host, port = self._server.server_address[:2]
        host = str(host)
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def __enter__(self) -> Self:
        loop, routes = asyncio.get_running_loop(), self._routes

        class Handler(_Handler):
            def answer(self, path: str) -> Answer:
                route = routes.get(path)
                if route is None:
                    return Answer(f"there is no {path} here, only {', '.join(routes)}\n", HTTPStatus.NOT_FOUND)
                return _asked(loop, route)

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            address_family = socket.AF_INET6 if ":" in self._where[0] else socket.AF_INET

        host, port = self._where
        try:
            self._server = Server((host, port), Handler)
        except OSError as error:
            raise PgflowError(
                f"cannot listen on {host} port {port} for HTTP: {error.strerror or error}; choose another with --http"
            ) from error
        threading.Thread(target=self._server.serve_forever, name="pgflow-mp http", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()


def _asked(loop: asyncio.AbstractEventLoop, route: Route) -> Answer:
    """Have the route answered in the loop."""

    async def answered() -> Answer:
        return await route()

    try:
        future = asyncio.run_coroutine_threadsafe(answered(), loop)
    except RuntimeError:  # the loop has ended
        return Answer("the worker has ended\n", HTTPStatus.SERVICE_UNAVAILABLE)
    try:
        return future.result(ANSWER_SECONDS)
    except TimeoutError:
        future.cancel()
        return Answer(f"no answer within {ANSWER_SECONDS:g} s\n", HTTPStatus.SERVICE_UNAVAILABLE)
    except Exception as error:
        logger.exception("a request could not be answered")
        return Answer(f"{type(error).__name__}: {error}\n", HTTPStatus.INTERNAL_SERVER_ERROR)


class _Handler(BaseHTTPRequestHandler):
    timeout = READER_SECONDS
    server_version = "pgflow-mp"
    sys_version = ""

    def answer(self, path: str) -> Answer:
        raise NotImplementedError

    def do_GET(self) -> None:
        answer = self.answer(self.path.partition("?")[0])
        body, content_type = answer.encoded()
        self.send_response(answer.status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the overridden method's
        logger.debug(format, *args)
