"""A server of our own: from binaries on this machine to a running, stoppable `Server`."""

from __future__ import annotations

import os
import secrets
import signal
from dataclasses import replace
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

MAKING = ".pgflow-mp-making-"
"""What the name of the folder inside a data folder begins with while initdb works."""


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
    folder = folders.make(account, throwaway=data is None)
    place = Place(data or folder.data, folder.socket, folder.path / "log", account)

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
        folder.remove()
        raise
    return Server(
        dsn=place.dsn,
        kind=kind,
        version=binaries.version,
        stop=end,
        log_tail=lambda lines: tail(place.log, lines),
    )


def holds_data(folder: Path) -> bool:
    """Say whether `folder` has been through initdb; clear away a half-made one of ours.

    Raises:
        Unavailable: It holds something else, which we do not touch.
    """
    try:
        content = {path.name for path in folder.iterdir()} if folder.exists() else set()
        if any(name.startswith(MAKING) for name in content):
            _clear(folder)
            return False
    except OSError as error:
        raise Unavailable(f"the data folder {folder} cannot be used: {error}") from error
    if content and "PG_VERSION" not in content:
        raise Unavailable(f"the folder {folder} is neither empty nor a Postgres data folder")
    return bool(content)


def prepare_data(place: Place, binaries: Binaries, *, durable: bool) -> None:
    """Make the data folder, whole or not at all, even if we are killed on the way.

    initdb works in a folder inside; its result is moved up when it is whole. As long as that inner
    folder is there, `holds_data` takes the data for half-made. (Not a rename of the data folder
    itself: it may be the mount point of a volume.)

    Raises:
        Unavailable: It cannot be made; says why.
    """
    # A name of its own: the initdb of a killed process may go on for a while, in its own folder.
    making = place.data / f"{MAKING}{secrets.token_hex(4)}"
    try:
        place.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.data.chmod(0o700)
        give(place.data, place.account)
        make_data(replace(place, data=making), binaries, durable=durable)
        for made in making.iterdir():
            made.rename(place.data / made.name)
        if durable:
            _sync(place.data)
        making.rmdir()
    except OSError as error:
        raise Unavailable(f"the data folder {place.data} cannot be made: {error}") from error


def _clear(folder: Path) -> None:
    # The marker goes last, so that a killed clearing is taken up again.
    for path in sorted(folder.iterdir(), key=lambda path: path.name.startswith(MAKING)):
        folders.erase(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _sync(folder: Path) -> None:
    """Make the entries of `folder` durable (initdb did so for what is below)."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


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
