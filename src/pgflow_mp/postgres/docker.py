"""A server in a container, by testcontainers.

The container's data are in memory and go with it. testcontainers' reaper is off (decision D-29: it is
a second container that hangs in its own ways); the folder of ours that names the container has the
same owner lock as that of any throw-away server, and the next start removes containers whose owner died.

Processes that name the same meeting folder share a container: the first one starts it, the others take a share of
its owner lock, and whoever gets that lock alone at the end is the last one and removes it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import secrets
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgflow_mp.errors import DatabaseUnreachable
from pgflow_mp.postgres import folders
from pgflow_mp.postgres.dsn import from_dsn
from pgflow_mp.postgres.locks import FileLock
from pgflow_mp.postgres.server import Server
from pgflow_mp.postgres.settings import as_arguments, defaults
from pgflow_mp.postgres.unavailable import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

DATA = "/pgflow-mp"
"""Folder in the container, in memory. Not the image's own, which is a volume on disk."""

READY_SECONDS = 120.0


def start_docker(image: str, settings: Mapping[str, str], meeting: Path | None = None) -> Server:
    """Start a container of `image`, which behaves like the official ``postgres`` image.

    Args:
        image: The image.
        settings: Server settings that go before ours.
        meeting: A folder of this user alone; whoever names the same one shares one container.

    Raises:
        Unavailable: No testcontainers, no Docker engine, no such image, or no server in it.
    """
    with _quiet():
        try:
            return _start(image, settings) if meeting is None else _meet(image, settings, meeting)
        except (Unavailable, DatabaseUnreachable) as reason:
            text = f"{reason}{_notes(reason)}"
        except Exception as error:  # noqa: BLE001 - docker, requests and testcontainers each raise their own
            text = _in_words(image, error)
    raise Unavailable(text)


def _start(image: str, settings: Mapping[str, str]) -> Server:
    return _started(image, settings).server()


def _meet(image: str, settings: Mapping[str, str], meeting: Path) -> Server:
    """Join the container that somebody started for this meeting, or start it."""
    note = meeting / "pgflow-docker"
    with _changing(meeting):
        with contextlib.suppress(FileNotFoundError):  # nobody was here, or all were killed and what they left is swept
            return _join(json.loads(note.read_text()), meeting)
        started = _started(image, settings)
        with open(note, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:  # it holds a password
            json.dump({"folder": str(started.folder.path), "dsn": started.dsn, "version": started.version}, file)
    return started.server(lambda: _leave(started.folder, meeting))


def _join(told: Mapping[str, str], meeting: Path) -> Server:
    path = Path(told["folder"])
    owned = FileLock(path / folders.OWNER, create=False)
    owned.share()
    folder = folders.Folder(path, owned)
    return Server(dsn=told["dsn"], kind="docker", version=told["version"], stop=lambda: _leave(folder, meeting))


def _leave(folder: folders.Folder, meeting: Path) -> None:
    """Give up our share; remove the container if nobody else has one."""
    with _quiet(), _changing(meeting):
        if folder.owned.try_alone():
            (meeting / "pgflow-docker").unlink(missing_ok=True)
            _remove_container((folder.path / folders.CONTAINER).read_text())
            folder.remove()
        else:
            folder.owned.close()


def _changing(meeting: Path) -> FileLock:
    return FileLock(meeting / "pgflow-docker.lock").alone(2 * READY_SECONDS)


@dataclass(frozen=True, slots=True)
class _Started:
    """A container that we started.

    Attributes:
        folder: The folder that names it.
        container: What testcontainers has of it.
        dsn: Its server.
        version: That of its server.
        removal: Removes container and folder.
    """

    folder: folders.Folder
    container: Any
    dsn: str
    version: str
    removal: contextlib.ExitStack

    def server(self, stop: Callable[[], None] | None = None) -> Server:
        """Return the handle of its server, by default one that removes the container."""
        return Server(
            dsn=self.dsn,
            kind="docker",
            version=self.version,
            stop=stop or self._remove,
            log_tail=lambda lines: _log_tail(self.container, lines),
        )

    def _remove(self) -> None:
        with _quiet():
            self.removal.close()


def _started(image: str, settings: Mapping[str, str]) -> _Started:
    container_class, config = _testcontainers()
    _sweep()
    with contextlib.ExitStack() as started:
        folder = folders.make(None)
        started.callback(folder.remove)
        container = _container(container_class, image, folder.path.name, settings)
        started.callback(_stop, container)
        (folder.path / folders.CONTAINER).write_text(folder.path.name)
        with _without_reaper(config):
            container.start()
        server = _wait_until_ready(container)
        return _Started(folder, container, server.dsn, server.version, started.pop_all())


def _container(container_class: Any, image: str, name: str, settings: Mapping[str, str]) -> Any:
    password = secrets.token_hex(16)
    container = container_class(image, username="postgres", password=password, dbname="postgres", driver=None)
    # testcontainers' own wait asks once a second, and two minutes long also when the container has ended.
    container._connect = lambda: None  # noqa: SLF001 - without effect should they rename it
    container.with_name(name)
    container.with_env("PGDATA", f"{DATA}/data")
    if hasattr(container, "with_tmpfs_mount"):
        container.with_tmpfs_mount(DATA)
    else:  # testcontainers before 4.14
        container.with_kwargs(tmpfs={DATA: ""})
    container.with_command(["postgres", *as_arguments({**defaults(durable=False), **settings})])
    return container


def _wait_until_ready(container: Any) -> Server:
    """Connect from outside: while the official image initialises, it listens on a socket inside only."""
    try:
        dsn = container.get_connection_url(driver=None)
    except Exception as error:  # it ended already: no port of it is mapped
        error.add_note(_log_tail(container, 15))
        raise
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            return from_dsn(dsn)
        except DatabaseUnreachable as error:
            wrapped = container.get_wrapped_container()
            wrapped.reload()
            ended = wrapped.status in ("exited", "dead")
            if ended or time.monotonic() > deadline:
                what = "ended" if ended else f"was not ready after {READY_SECONDS:g} s ({error})"
                raise Unavailable(
                    f"the server in the container {what}; the end of its log:\n{_log_tail(container, 15)}"
                ) from error
        time.sleep(0.1)


def _stop(container: Any) -> None:
    """Remove the container; that somebody else did so already is no error."""
    try:
        container.stop()
    except _docker().errors.NotFound:
        container.get_docker_client().client.close()


@contextlib.contextmanager
def _without_reaper(config: Any) -> Iterator[None]:
    before = config.ryuk_disabled
    config.ryuk_disabled = True
    try:
        yield
    finally:
        config.ryuk_disabled = before


def _testcontainers() -> tuple[Any, Any]:
    """Import PostgresContainer and testcontainers' configuration, from where this version has them."""
    try:
        from testcontainers.core.config import testcontainers_config

        try:
            # The place since 4.15; the former one warns from then on.
            from testcontainers.community.postgres import PostgresContainer
        except ImportError:
            from testcontainers.postgres import PostgresContainer
    except ImportError as error:
        raise Unavailable(f"testcontainers is not installed ({error}); pip install 'pgflow-mp[docker]'") from error
    return PostgresContainer, testcontainers_config


def _sweep() -> None:
    """Remove the containers of dead owners."""
    for folder in folders.abandoned():
        name = folder.path / folders.CONTAINER
        if name.exists():
            _remove_container(name.read_text())
        folder.remove()


def _remove_container(name: str) -> None:
    client = _docker().from_env()
    try:
        with contextlib.suppress(_docker().errors.NotFound):
            client.containers.get(name).remove(force=True, v=True)
    finally:
        client.close()


def _docker() -> Any:
    """Import docker-py, which comes with testcontainers."""
    return importlib.import_module("docker")


def _log_tail(container: Any, lines: int) -> str:
    try:
        return str(container.get_wrapped_container().logs(tail=lines).decode(errors="replace")).rstrip()
    except Exception:  # noqa: BLE001 - never made, gone, or the engine is: then there is no log
        return ""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep to ourselves the sockets that docker leaves to the garbage collector, which then warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
        gc.collect()


def _notes(error: Exception) -> str:
    return "".join(f"\n{note}" for note in getattr(error, "__notes__", ()))


def _in_words(image: str, error: Exception) -> str:
    kinds = {each.__name__ for each in type(error).__mro__}
    if "ImageNotFound" in kinds or "NotFound" in kinds:
        return f"no image {image} here, and it could not be pulled: {error}"
    if "DockerException" in kinds and "APIError" not in kinds:
        return f"no Docker engine answers ({error}); start Docker, or point DOCKER_HOST at it"
    return f"a container of {image} did not start: {type(error).__name__}: {error}{_notes(error)}"
