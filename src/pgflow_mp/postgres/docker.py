"""A server in a container, by testcontainers.

The container's data are in memory and go with it. testcontainers' reaper is off (decision D-29: it is
a second container that hangs in its own ways); the folder of ours that names the container has the
same owner lock as that of any throw-away server, and the next start removes containers whose owner died.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import secrets
import warnings
from typing import TYPE_CHECKING, Any

from pgflow_mp.errors import DatabaseUnreachable
from pgflow_mp.postgres import folders
from pgflow_mp.postgres.dsn import from_dsn
from pgflow_mp.postgres.server import Server
from pgflow_mp.postgres.settings import as_arguments, defaults
from pgflow_mp.postgres.unavailable import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DATA = "/pgflow-mp"
"""Folder in the container, in memory. Not the image's own, which is a volume on disk."""


def start_docker(image: str, settings: Mapping[str, str]) -> Server:
    """Start a container of `image`, which behaves like the official ``postgres`` image.

    Raises:
        Unavailable: No testcontainers, no Docker engine, no such image, or no server in it.
    """
    with _quiet():
        try:
            return _start(image, settings)
        except (Unavailable, DatabaseUnreachable) as reason:
            text = f"{reason}{_notes(reason)}"
        except Exception as error:  # noqa: BLE001 - docker, requests and testcontainers each raise their own
            text = _in_words(image, error)
    raise Unavailable(text)


def _start(image: str, settings: Mapping[str, str]) -> Server:
    container_class, config = _testcontainers()
    _sweep()
    folder = folders.make(None)
    password = secrets.token_hex(16)
    reaper_was_off = config.ryuk_disabled
    config.ryuk_disabled = True
    container = None
    try:
        container = container_class(
            image, username="postgres", password=password, dbname="postgres", driver=None
        )
        (folder.path / folders.CONTAINER).write_text(folder.path.name)
        container.with_name(folder.path.name)
        container.with_env("PGDATA", f"{DATA}/data").with_kwargs(tmpfs={DATA: ""})
        container.with_command(["postgres", *as_arguments({**defaults(durable=False), **settings})])
        container.start()
        dsn = container.get_connection_url(driver=None)
        version = from_dsn(dsn).version
    except BaseException as error:
        if container is not None:
            log = _log_tail(container, 15)
            container.stop()
            if log:
                error.add_note(log)
        folder.remove()
        raise
    finally:
        config.ryuk_disabled = reaper_was_off

    def end() -> None:
        with _quiet():
            container.stop()
        folder.remove()

    return Server(
        dsn=dsn, kind="docker", version=version, stop=end, log_tail=lambda lines: _log_tail(container, lines)
    )


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
        raise Unavailable(
            f"testcontainers is not installed ({error}); pip install 'pgflow-mp[docker]'"
        ) from error
    return PostgresContainer, testcontainers_config


def _sweep() -> None:
    """Remove the containers of dead owners."""
    for folder in folders.abandoned():
        name = folder.path / folders.CONTAINER
        if name.exists():
            _remove_container(name.read_text())
        folder.remove()


def _remove_container(name: str) -> None:
    docker = importlib.import_module("docker")
    client = docker.from_env()
    try:
        with contextlib.suppress(docker.errors.NotFound):
            client.containers.get(name).remove(force=True, v=True)
    finally:
        client.close()


def _log_tail(container: Any, lines: int) -> str:
    wrapped = container.get_wrapped_container()
    if wrapped is None:
        return ""
    try:
        return str(wrapped.logs(tail=lines).decode(errors="replace")).rstrip()
    except Exception:  # noqa: BLE001 - gone, or the engine is: then there is no log
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
