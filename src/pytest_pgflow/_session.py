"""What the fixtures do: which server, which database, and what is remembered of a test for its report."""

from __future__ import annotations

import atexit
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgflow_mp.errors import DatabaseUnreachable, PgflowError, ServerUnavailable
from pytest_pgflow._databases import Databases, session_name
from pytest_pgflow._marker import read_markers
from pytest_pgflow._options import settle
from pytest_pgflow._spares import SPARES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from pgflow_mp.postgres import Server
    from pytest_pgflow._handing_on import HandedOn
    from pytest_pgflow._options import Settings

    Node = pytest.Item | pytest.Collector


@dataclass(slots=True)
class Story:
    """A database that a test used, for the report if the test fails.

    Attributes:
        dsn: The database.
        own: Whether it was made for this test.
        since: Its clock when the test got it, where runs of others are in it; they are not told.
        keep_failed: Whether it is to stay when the test fails.
        kept: Whether it stays.
        handed_on: The same, where it may go to another test too.
        failed: Whether the test has failed.
    """

    dsn: str
    own: bool = False
    keep_failed: bool = False
    since: datetime | None = None
    kept: bool = False
    handed_on: HandedOn | None = None
    failed: bool = False

    def show(self) -> str:
        """Return the DSN to somebody who may look into the database."""
        if self.handed_on:
            self.handed_on.show()
        return self.dsn


SESSION = pytest.StashKey[str]()
STORIES = pytest.StashKey[list[Story]]()
KEPT = pytest.StashKey[bool]()
DEBUGGED = pytest.StashKey[bool]()


def identify(config: pytest.Config) -> tuple[str, str]:
    """Return the name of the session, the same in all xdist workers, and the name of this worker.

    Read from the config and not from the environment, which a pytest started by a test inherits.
    """
    workerinput = getattr(config, "workerinput", None)
    if workerinput is not None:
        return workerinput["testrunuid"][:8], workerinput["workerid"]
    return config.stash.setdefault(SESSION, session_name()), "main"


@contextmanager
def provide_server(config: pytest.Config, settings: Settings) -> Iterator[Server]:
    """Provide the server that the settings ask for, and stop it if it was started here.

    A server with a database that was kept goes on running, until the next one is started.
    """
    try:
        server = _find_server(config, settings)
    except (DatabaseUnreachable, ServerUnavailable) as error:
        why = str(error)
    else:
        yield server
        if config.stash.get(KEPT, False):
            atexit.unregister(server.stop)
        else:
            server.stop()
        return
    # Without a traceback: the sentence says it all, and the arguments of its frames may hold a password.
    pytest.fail(f"pgflow tests have no database server: {why}", pytrace=False)


def _find_server(config: pytest.Config, settings: Settings) -> Server:
    from pgflow_mp import postgres

    if settings.dsn:
        return postgres.from_dsn(settings.dsn)
    if settings.reuse:
        return postgres.reused(settings.server)
    options: dict[str, Any] = {"image": settings.image} if settings.image else {}
    if settings.server == "docker" and hasattr(config, "workerinput"):
        options["meeting"] = _shared_folder(config)
    return postgres.start(settings.server, durable=False, **options)


def _shared_folder(config: pytest.Config) -> Path:
    """Return the temporary folder that the workers of one xdist session have in common; each has one inside."""
    factory: pytest.TempPathFactory = config._tmp_path_factory  # type: ignore[attr-defined] # noqa: SLF001
    return factory.getbasetemp().parent


@contextmanager
def provide_databases(config: pytest.Config, server: Server, settings: Settings) -> Iterator[Databases]:
    """Provide the maker of this worker's databases."""
    session, worker = identify(config)
    databases = Databases(
        server.dsn,
        session=session,
        worker=worker,
        migrations=settings.migrations,
        setup=settings.setup,
        shared=server.kind == "dsn" or settings.reuse,
        hasty=server.kind != "dsn",
        lasting=settings.reuse,
    )
    config.stash[SPARES] = databases.spares
    try:
        yield databases
    finally:
        databases.close()


@contextmanager
def provide_database(
    node: Node,
    databases: Databases,
    given: Mapping[str, Any],
    *,
    isolation: str | None = None,
    for_runner: bool = False,
) -> Iterator[Story]:
    """Give a test, or a wider scope, its database by the isolation that it wants; take it back afterwards.

    Args:
        node: The test, or the scope.
        databases: Where databases come from.
        given: What the `pgflow_settings` fixture returned.
        isolation: What is wanted, where the fixture says so itself.
        for_runner: Nobody but a runner has asked for it so far.
    """
    settings = settle(node.config, given)
    wanted = isolation or read_markers(node).isolation or settings.isolation
    story = _begin(databases, wanted, settings, for_runner=for_runner)
    stories = node.stash.setdefault(STORIES, [])
    stories.append(story)
    watched = None if isinstance(node, pytest.Item) else story.handed_on
    try:
        with watched.watched() if watched else nullcontext():
            yield story
    finally:
        stories.remove(story)
        # A server that died has failed the test already, and nothing is left to drop.
        with suppress(psycopg.OperationalError, DatabaseUnreachable):
            _end(node, databases, story)


def database_for_runner(request: pytest.FixtureRequest, name: str = "pgflow_dsn") -> tuple[str, HandedOn | None]:
    """Return the database of the fixture with this name for a runner, with its state if it is one that is handed on.

    Our own `pgflow_dsn` is not asked, which would say that somebody looks; one that overrides it is.
    """
    if name == "pgflow_dsn" and request.scope == "function" and _is_ours(request, name):
        story: Story = request.getfixturevalue("_pgflow_database")
        return story.dsn, story.handed_on
    return request.getfixturevalue(name), None


def _is_ours(request: pytest.FixtureRequest, name: str) -> bool:
    found = request._fixturemanager.getfixturedefs(name, request.node)  # noqa: SLF001 - there is no public way
    return found is not None and found[-1].func.__module__ == __package__


def _begin(databases: Databases, isolation: str, settings: Settings, *, for_runner: bool) -> Story:
    try:
        try:
            return _enter(databases, isolation, settings, for_runner=for_runner)
        except psycopg.OperationalError:
            # The connection of the tests before was lost; a new one may work.
            return _enter(databases, isolation, settings, for_runner=for_runner)
    except (psycopg.OperationalError, PgflowError) as error:
        why = str(error).strip()
    pytest.fail(f"this test gets no database: {why}", pytrace=False)


def _enter(databases: Databases, isolation: str, settings: Settings, *, for_runner: bool) -> Story:
    if isolation != "clone":
        return _join(databases.lasting(isolation), empty=isolation == "delete")
    handed_on = databases.lend() if for_runner else None
    return Story(
        handed_on.dsn if handed_on else databases.create(), own=True, keep_failed=settings.keep, handed_on=handed_on
    )


def _end(node: Node, databases: Databases, story: Story) -> None:
    if story.kept:
        databases.keep(story.show())
        node.config.stash[KEPT] = True
    elif story.own and story.handed_on and not story.failed:
        databases.take_back(story.handed_on)
    elif story.own:
        databases.drop(story.dsn)


def _join(shared: HandedOn, *, empty: bool) -> Story:
    """Enter the database that tests share; emptied before a test, so what a failed one left can be seen."""
    shared.begin(empty=empty)
    return Story(shared.dsn, since=None if empty else shared.now(), handed_on=shared)
