"""Make fixtures of your own: for wider scopes, for a second database, for another executor.

The result is a fixture; give it a name in a conftest.py or a test module::

    from pytest_pgflow import factories

    shop_dsn = factories.dsn(scope="module")
    shop_runner = factories.flow_runner("shop_dsn", scope="module", executor="process")

A fixture of module scope has one database for all tests of a module. The isolation ``clone`` gives each fixture a
database of its own, ``delete`` and ``none`` the one that all of this isolation share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

    from pgflow_mp.client import PgFlow
    from pytest_pgflow._databases import Databases
    from pytest_pgflow._runner import FlowRunner

Scope = Literal["session", "package", "module", "class", "function"]


def dsn(*, scope: Scope = "function", isolation: str | None = None) -> Any:
    """Make a fixture like `pgflow_dsn`.

    Args:
        scope: How long the database lives.
        isolation: ``clone``, ``delete`` or ``none``; what settings and markers say by default.
    """

    @pytest.fixture(scope=scope)
    def database(
        request: pytest.FixtureRequest, _pgflow_databases: Databases, pgflow_settings: dict[str, Any]
    ) -> Iterator[str]:
        """DSN of a database with pgmq and pgflow installed."""
        from pytest_pgflow._session import provide_database

        with provide_database(request.node, _pgflow_databases, pgflow_settings, isolation=isolation) as found:
            yield found.show()

    return database


def conn(database: str = "pgflow_dsn", *, scope: Scope = "function") -> Any:
    """Make a fixture like `pgflow_conn`.

    Args:
        database: Name of the fixture that gives the DSN.
        scope: How long the connection lives.
    """

    @pytest.fixture(scope=scope)
    def connection(request: pytest.FixtureRequest) -> Iterator[psycopg.Connection[Any]]:
        """A connection in autocommit mode."""
        import psycopg

        with psycopg.connect(request.getfixturevalue(database), autocommit=True) as opened:
            yield opened

    return connection


def client(database: str = "pgflow_dsn", *, scope: Scope = "function") -> Any:
    """Make a fixture like `pgflow`.

    Args:
        database: Name of the fixture that gives the DSN.
        scope: How long the client lives.
    """

    @pytest.fixture(scope=scope)
    def made(request: pytest.FixtureRequest) -> Iterator[PgFlow]:
        """A client of the database; without the plugins that happen to be installed."""
        from pgflow_mp.client import PgFlow
        from pgflow_mp.hooks.manager import no_plugins

        with PgFlow(request.getfixturevalue(database), plugins=no_plugins()) as opened:
            yield opened

    return made


def flow_runner(
    database: str = "pgflow_dsn",
    *,
    scope: Scope = "function",
    executor: str | None = None,
    timeout: float | None = None,
    processes: int | None = None,
) -> Any:
    """Make a fixture like `flow_runner`.

    Args:
        database: Name of the fixture that gives the DSN.
        scope: How long the runner lives; one of a wider scope than ``function`` sees the markers of that scope only.
        executor: ``inline`` or ``process``; what settings and markers say by default. So with the others.
        timeout: Seconds that one run may take.
        processes: Children of the process executor.
    """
    said = {"executor": executor, "timeout": timeout, "processes": processes}
    given = {name: value for name, value in said.items() if value is not None}

    @pytest.fixture(scope=scope)
    def runner(request: pytest.FixtureRequest, pgflow_settings: dict[str, Any]) -> Iterator[FlowRunner]:
        """Runs flows on the database."""
        from pytest_pgflow._runner import provide_runner
        from pytest_pgflow._session import database_for_runner

        found = database_for_runner(request, database)
        with provide_runner(request.node, found, pgflow_settings, **given) as opened:
            yield opened

    return runner
