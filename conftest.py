"""Fixtures of the project's own suite; a database comes from the bundled plugin."""

import os
import uuid

import psycopg
import pytest

pytest_plugins = ["pytester"]


@pytest.fixture(scope="session")
def server_dsn():
    """A server that tests may create databases on (development stand-in for pgflow_server)."""
    return os.environ.get("PGFLOW_TEST_DSN", "host=/tmp/dev/s user=postgres dbname=postgres")


@pytest.fixture(scope="session")
def _template(server_dsn):
    from pgflow_mp.core.install import install

    name = f"pgflow_tpl_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server_dsn, autocommit=True) as admin:
        admin.execute(f"create database {name}")
    dsn = psycopg.conninfo.make_conninfo(server_dsn, dbname=name)
    install(dsn)
    yield name
    with psycopg.connect(server_dsn, autocommit=True) as admin:
        admin.execute(f"drop database {name} with (force)")


@pytest.fixture
def empty_dsn(server_dsn):
    """A fresh database without anything installed."""
    name = f"pgflow_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server_dsn, autocommit=True) as admin:
        admin.execute(f"create database {name}")
    yield psycopg.conninfo.make_conninfo(server_dsn, dbname=name)
    with psycopg.connect(server_dsn, autocommit=True) as admin:
        admin.execute(f"drop database {name} with (force)")


@pytest.fixture
def pgflow_dsn(server_dsn, _template):
    """A fresh database with everything installed."""
    name = f"pgflow_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server_dsn, autocommit=True) as admin:
        admin.execute(f"create database {name} template {_template}")
    yield psycopg.conninfo.make_conninfo(server_dsn, dbname=name)
    with psycopg.connect(server_dsn, autocommit=True) as admin:
        admin.execute(f"drop database {name} with (force)")


@pytest.fixture
def pgflow_conn(pgflow_dsn):
    with psycopg.connect(pgflow_dsn, autocommit=True) as conn:
        yield conn
