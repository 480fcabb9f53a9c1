"""Databases for the tests of the state machine: one without a realtime service, one that records every event."""

import uuid

import psycopg
import pytest

from .machine import Machine

# Stands in for the platform's event service (core 1.4): same signature, keeps what it gets in order.
REALTIME = """
create schema realtime;
create table realtime.sent (place bigserial primary key, payload jsonb, event text, topic text, private boolean);
create function realtime.send(payload jsonb, event text, topic text, private boolean)
returns void language sql as 'insert into realtime.sent (payload, event, topic, private) values ($1, $2, $3, $4)';
"""


@pytest.fixture
def machine(pgflow_conn):
    """The state machine on a database without realtime.send."""
    return Machine(pgflow_conn)


@pytest.fixture(scope="session")
def _realtime_template(server_dsn):
    from pgflow_mp.core.install import install

    name = f"pgflow_tpl_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server_dsn, autocommit=True) as admin:
        admin.execute(f"create database {name}")
    dsn = psycopg.conninfo.make_conninfo(server_dsn, dbname=name)
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(REALTIME)
        install(conn)
    yield name
    with psycopg.connect(server_dsn, autocommit=True) as admin:
        admin.execute(f"drop database {name} with (force)")


@pytest.fixture
def recorded(server_dsn, _realtime_template):
    """The state machine on a database whose realtime.send records what it gets."""
    name = f"pgflow_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server_dsn, autocommit=True) as admin:
        admin.execute(f"create database {name} template {_realtime_template}")
    dsn = psycopg.conninfo.make_conninfo(server_dsn, dbname=name)
    with psycopg.connect(dsn, autocommit=True) as conn:
        yield Machine(conn)
    with psycopg.connect(server_dsn, autocommit=True) as admin:
        admin.execute(f"drop database {name} with (force)")
