"""A server of our own: from binaries on this machine to a running, stoppable `Server`."""

from __future__ import annotations

import shutil
import signal
from typing import TYPE_CHECKING

from pgflow_mp.postgres import folders
from pgflow_mp.postgres.account import give, owner_of, server_account
from pgflow_mp.postgres.binaries import system_binaries
from pgflow_mp.postgres.cache import embedded_binaries
from pgflow_mp.postgres.launcher import Place, launch, make_data, stop, tail
from pgflow_mp.postgres.server import Server
from pgflow_mp.postgres.settings import defaults
from pgflow_mp.postgres.unavailable import Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pgflow_mp.postgres.account import Account
    from pgflow_mp.postgres.binaries import Binaries


def find_binaries(kind: str, account: Account | None) -> Binaries:
    """Find the binaries of kind ``embedded`` or ``system``.

    Raises:
        Unavailable: There are none that work.
    """
    return embedded_binaries(account) if kind == "embedded" else system_binaries(account)


def start_local(kind: str, *, durable: bool, data_dir: Path | None, settings: Mapping[str, str]) -> Server:
    """Start a server of kind ``embedded`` or ``system``.

    Raises:
        Unavailable: No binaries, or the server does not start; says why.
    """
    folders.sweep()
    data = data_dir.absolute().resolve() if data_dir else None
    exists = data is not None and holds_data(data)
    account = owner_of(data) if data and exists else server_account()
    binaries = find_binaries(kind, account)
    folder = folders.make(account)
    place = Place(data or folder.data, folder.path, folder.path / "log", account)

    def end() -> None:
        # Data that stay must be whole without a recovery, since fsync may have been off.
        stop(place.data, signal.SIGINT if data else signal.SIGQUIT)
        folder.remove()

    try:
        if not exists:
            prepare_data(place, binaries, durable=durable)
        check_major(place.data, binaries)
        launch(place, binaries, {**defaults(durable=durable), **settings})
    except BaseException:
        end()
        raise
    return Server(
        dsn=place.dsn,
        kind=kind,
        version=binaries.version,
        stop=end,
        log_tail=lambda lines: tail(place.log, lines),
    )


def holds_data(folder: Path) -> bool:
    """Say whether `folder` has been through initdb.

    Raises:
        Unavailable: It holds something else, which we do not touch.
    """
    try:
        content = {path.name for path in folder.iterdir()} if folder.exists() else set()
    except OSError as error:
        raise Unavailable(f"the data folder {folder} cannot be used: {error}") from error
    if "PG_VERSION" in content:
        return True
    if content:
        raise Unavailable(f"the folder {folder} is neither empty nor a Postgres data folder")
    return False


def prepare_data(place: Place, binaries: Binaries, *, durable: bool) -> None:
    """Make the data folder, whole or not at all.

    Raises:
        Unavailable: It cannot be made; says why.
    """
    try:
        place.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        give(place.data, place.account)
    except OSError as error:
        raise Unavailable(f"the data folder {place.data} cannot be made: {error}") from error
    try:
        make_data(place, binaries, durable=durable)
    except BaseException:
        for left in place.data.iterdir():  # a half-made folder would be taken for data next time
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        raise


def check_major(data: Path, binaries: Binaries) -> None:
    """Refuse binaries of another major version than the data's.

    Raises:
        Unavailable: The data belong to another major version.
    """
    made_by = (data / "PG_VERSION").read_text().strip()
    if made_by != str(binaries.major):
        raise Unavailable(
            f"the data in {data} were made by PostgreSQL {made_by}; {binaries.folder} has {binaries.version}"
        )
