"""Fixtures of the project's own suite: the databases come from the plugin that it tests and ships.

`pytest --pgflow-dsn DSN`, or PGFLOW_TEST_DSN, runs the suite on another server than the embedded one.
"""

import pytest

pytest_plugins = ["pytester"]


@pytest.fixture(scope="session")
def server_dsn(pgflow_server):
    """A server that tests may create databases on."""
    return pgflow_server.dsn


@pytest.fixture
def empty_dsn(_pgflow_databases):
    """A fresh database without anything installed."""
    dsn = _pgflow_databases.create(empty=True)
    yield dsn
    _pgflow_databases.drop(dsn)
