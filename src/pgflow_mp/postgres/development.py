"""The development server: one for each user and major version, durable, shared by who needs it.

The first user starts it, later ones join it, and the last one to leave stops it; the data stay (`home`).

Data bind: a server that has data here and does not start is an error, never a reason to begin anew with the
server of another kind, where all earlier runs would seem gone.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pgflow_mp.errors import ServerUnavailable
from pgflow_mp.postgres.account import server_account
from pgflow_mp.postgres.home import Home, data_home, prepare_home, start_or_join
from pgflow_mp.postgres.local import MAKING, find_binaries
from pgflow_mp.postgres.unavailable import Unavailable

if TYPE_CHECKING:
    from pathlib import Path

    from pgflow_mp.postgres.account import Account
    from pgflow_mp.postgres.server import Server


def development(kind: str = "auto") -> Server:
    """Start or join this user's development server; its `stop` leaves it.

    The data are in ``$XDG_DATA_HOME/pgflow-mp/development-MAJOR``. Without XDG_DATA_HOME that is in
    ``~/.local/share``; for root it is ``/var/lib/pgflow-mp``, since the unprivileged account that runs
    the server for root has to get there.

    Args:
        kind: ``embedded``, ``system``, or ``auto``: the first of the two that is there.

    Raises:
        ServerUnavailable: Neither can be had, or the first does not start on the data that it has; lists why.
        ValueError: Another kind.
    """
    if kind not in ("auto", "embedded", "system"):
        raise ValueError(f"a development server is auto, embedded or system, not {kind!r}")
    attempts = []
    for each in ("embedded", "system") if kind == "auto" else (kind,):
        try:
            return _development(each)
        except _DataStay as reason:
            attempts.append((each, str(reason)))
            break
        except Unavailable as reason:
            attempts.append((each, str(reason)))
    raise ServerUnavailable(attempts)


class _DataStay(Unavailable):
    """The server does not start, and there are data that only it has."""


def _development(kind: str) -> Server:
    account = server_account()
    binaries = find_binaries(kind, account)
    path = data_home(account).absolute().resolve() / f"development-{binaries.major}"
    try:
        return start_or_join(kind, binaries, Home(prepare_home(path, account), account, durable=True))
    except (Unavailable, OSError) as error:
        if _has_data(path):
            raise _DataStay(f"{error}\n{_what_to_do(path, account)}") from error
        if isinstance(error, Unavailable):
            raise
        raise Unavailable(f"the development server in {path} cannot be used: {error}") from error


def _has_data(path: Path) -> bool:
    """Say whether a server has left data here; a folder that does not let us look counts."""
    try:
        content = [each.name for each in (path / "data").iterdir()]
    except OSError as error:
        return not isinstance(error, (FileNotFoundError, NotADirectoryError))
    return bool(content) and not any(name.startswith(MAKING) for name in content)


def _what_to_do(path: Path, account: Account | None) -> str:
    """The advice for data whose server does not start: who must own them, and how to begin anew."""
    owner = account.name if account else os.geteuid()
    return (
        f"      Your development data in {path} stay as they are. Where a permission is denied, give them back to "
        f"the server's user: `chown -R {owner} {path / 'data'}`. To begin with an empty database, move that "
        "folder away when nothing runs on it"
    )
