"""Databases for the tests of the state machine: one without a realtime service, one that records every event.

Each is made once a session and emptied after every test; that takes a hundredth of the time of a database each. Its
connection goes from test to test as well: finding out about tables and functions anew takes longer than most tests.
"""

import os
import uuid
from contextlib import contextmanager

import psycopg
import pytest

from pgflow_mp.core.adopt import adopt
from pgflow_mp.core.install import install

from . import foreign
from .machine import Machine

# Stands in for the platform's event service (core 1.4): same signature, keeps what it gets in order.
REALTIME = """
drop schema if exists realtime cascade;
create schema realtime;
create table realtime.sent (place bigserial primary key, payload jsonb, event text, topic text, private boolean);
create function realtime.send(payload jsonb, event text, topic text, private boolean)
returns void language sql as 'insert into realtime.sent (payload, event, topic, private) values ($1, $2, $3, $4)';
"""

EMPTY = """
set lock_timeout = '10s';
select pgflow_mp.delete_flow(flow_slug) from pgflow.flows;
delete from pgflow.workers;
reset all;
"""


# What a session remembers, besides the plans of functions.
FORGET = """
close all;
set session authorization default;
reset all;
unlisten *;
select pg_advisory_unlock_all();
discard temp;
discard sequences;
"""

_kept = {}


@contextmanager
def _lent(dsn):
    """Lend a connection to a database as if it were new; it is kept if the test leaves it idle, and as it was."""
    conn = _kept.pop(dsn, None)
    if conn is None or conn.closed:
        # Nothing is prepared: psycopg would not hear of it if a test forgot what is.
        conn = psycopg.connect(dsn, autocommit=True, prepare_threshold=None)
    as_it_was = _state(conn)
    try:
        yield conn
        conn.execute(FORGET)
    except BaseException:
        conn.close()
        raise
    if _state(conn) == as_it_was:
        _kept[dsn] = conn
    else:
        conn.close()


def _state(conn):
    """What a test may have set on the object itself."""
    handlers = (*conn._notice_handlers, *conn._notify_handlers)
    return conn.info.transaction_status, conn.autocommit, conn.row_factory, conn.cursor_factory, handlers


@contextmanager
def _database(server_dsn, preparation):
    name = f"pgflow_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server_dsn, autocommit=True) as admin:
        admin.execute(f"create database {name}")
    dsn = psycopg.conninfo.make_conninfo(server_dsn, dbname=name)
    try:
        with psycopg.connect(dsn, autocommit=True) as conn:
            if generation := os.environ.get("PGFLOW_TEST_CORE"):
                foreign.build(conn, generation)
            if generation := os.environ.get("PGFLOW_TEST_ADOPTED"):
                foreign.build(conn, generation)
                assert adopt(conn, carry_out=True).done
                conn.execute(foreign.NO_PLATFORM)  # these tests bring what they need of it
            conn.execute(preparation)
            install(conn)
        yield dsn
    finally:
        if dsn in _kept:
            _kept.pop(dsn).close()
        with psycopg.connect(server_dsn, autocommit=True) as admin:
            admin.execute(f"drop database {name} with (force)")


@pytest.fixture(scope="session")
def _silent_dsn(server_dsn):
    with _database(server_dsn, "select 1") as dsn:
        yield dsn


@pytest.fixture(scope="session")
def _realtime_dsn(server_dsn):
    with _database(server_dsn, REALTIME) as dsn:
        yield dsn


@pytest.fixture
def db(_silent_dsn):
    """A connection to the first, inside a transaction that is taken back; now() stands still in it."""
    with _lent(_silent_dsn) as conn, conn.transaction(force_rollback=True):
        yield conn


@pytest.fixture
def machine(_silent_dsn):
    """The state machine on a database without realtime.send."""
    with _lent(_silent_dsn) as conn:
        yield Machine(conn)
        conn.execute(EMPTY)


@pytest.fixture
def recorded(_realtime_dsn):
    """The state machine on a database whose realtime.send records what it gets."""
    with _lent(_realtime_dsn) as conn:
        yield Machine(conn)
        conn.execute(EMPTY)
        conn.execute("truncate realtime.sent restart identity")
