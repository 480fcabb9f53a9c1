"""conn=: a run exists if and only if the caller's transaction commits, whichever library holds that transaction."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import subprocess
import sys

import psycopg
import pytest
import sqlalchemy
from django import setup as setup_django
from django.conf import settings
from django.db import connection as django_connection
from django.db import connections, transaction
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from pgflow_mp import AsyncPgFlow, Flow, FlowNotFound, InvalidConnection, PgFlow, map_step, step
from pytest_pgflow import factories


class Joined(Flow):
    """A flow."""

    @step
    def only(flow_input):
        return flow_input


class Other(Flow):
    """One that is compiled in a transaction."""

    @map_step
    def each(item):
        return item


dsn = factories.dsn(scope="module")


@pytest.fixture(scope="module")
def app(dsn):
    with PgFlow(dsn) as app:
        app.compile(Joined)
        yield app


@pytest.fixture(scope="module")
def engine(dsn):
    engine = sqlalchemy.create_engine("postgresql+psycopg://", connect_args=conninfo_to_dict(dsn))
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def django(dsn):
    """The default connection of a Django project whose database this is."""
    parts = conninfo_to_dict(dsn)
    database = {name.upper(): parts.get(name, "") for name in ("user", "host", "port", "password")}
    database |= {"ENGINE": "django.db.backends.postgresql", "NAME": parts["dbname"]}
    settings.configure(DATABASES={"default": database}, USE_TZ=True, LOGGING_CONFIG=None)
    setup_django()
    yield django_connection
    connections.close_all()


def exists(app, run_id):
    return run_id in {run.run_id for run in app.list_runs()}


# ---- SQLAlchemy ------------------------------------------------------------------------------


def test_a_sqlalchemy_connection_commits_and_rolls_back_what_was_the_first_statement_in_it(app, engine):
    with engine.connect() as conn:
        lost = app.start_flow(Joined, conn=conn)
        assert exists(app, lost) is False
        conn.rollback()
        kept = app.start_flow(Joined, conn=conn)
        conn.commit()
        forgotten = app.start_flow(Joined, conn=conn)
    assert (exists(app, lost), exists(app, kept), exists(app, forgotten)) == (False, True, False)


def test_a_sqlalchemy_block_shares_its_transaction_with_our_calls(app, engine):
    with engine.begin() as conn:
        conn.execute(sqlalchemy.text("create temporary table orders (run_id uuid) on commit drop"))
        kept = app.start_flow(Joined, conn=conn)
        conn.execute(
            sqlalchemy.text("insert into orders select run_id from pgflow.runs where run_id = :id"), {"id": kept}
        )
        assert conn.execute(sqlalchemy.text("select count(*) from orders")).scalar() == 1
    assert exists(app, kept)
    lost = []
    with contextlib.suppress(ZeroDivisionError), engine.begin() as conn:
        lost.append(app.start_flow(Joined, conn=conn))
        raise ZeroDivisionError
    assert not exists(app, lost[0])


def test_sqlalchemy_sessions_are_joined_too(app, engine):
    with Session(engine) as session:
        lost = app.start_flow(Joined, conn=session)
        session.rollback()
        kept = app.start_flow(Joined, conn=session)
        session.commit()
    scoped = scoped_session(sessionmaker(engine))
    registered = app.start_flow(Joined, conn=scoped)
    scoped.commit()
    scoped.remove()
    assert (exists(app, lost), exists(app, kept), exists(app, registered)) == (False, True, True)


def test_savepoints_of_sqlalchemy_hold_for_our_calls(app, engine):
    with Session(engine) as session, session.begin():
        kept = app.start_flow(Joined, conn=session)
        with pytest.raises(FlowNotFound), session.begin_nested():
            app.start_flow("unknown", conn=session)
        also_kept = app.start_flow(Joined, conn=session)
    assert exists(app, kept)
    assert exists(app, also_kept)


def test_other_writes_join_as_well(app, engine):
    run_id = app.start_flow(Joined)
    with engine.connect() as conn:
        app.compile(Other, conn=conn)
        assert app.start_flows(Other, [[1]], idempotency_keys=["k"], conn=conn)
        app.retry_run(app.cancel_run(run_id, conn=conn).run_id, conn=conn)
        app.enqueue(Joined, delay_seconds=1, conn=conn)
        app.delete_flow(Other, conn=conn)
        assert app.get_run_with_states(run_id, conn=conn).cancelled
        conn.rollback()
    assert not app.flow_exists(Other)
    assert app.get_run(run_id).status == "started"


def test_every_operation_on_rows_takes_a_connection():
    without = {"close", "core_version", "get_flow", "health_check", "list_flows", "start_worker", "stop_worker"}
    without |= {"wait_for_run"}  # no worker sees a run before its transaction has ended
    for name, member in inspect.getmembers(PgFlow, inspect.isfunction):
        if not name.startswith("_") and name not in without:
            assert "conn" in inspect.signature(member).parameters, name


def test_async_connections_and_sessions_of_sqlalchemy_are_joined(app, dsn):
    async def application():
        engine = create_async_engine("postgresql+psycopg://", connect_args=conninfo_to_dict(dsn))
        async with AsyncPgFlow(dsn) as flows:
            async with engine.connect() as conn:
                lost = await flows.start_flow(Joined, conn=conn)
                await conn.rollback()
                kept = await flows.start_flow(Joined, conn=conn)
                await conn.commit()
            async with AsyncSession(engine) as session:
                lost_too = await flows.start_flow(Joined, conn=session)
                await session.rollback()
                kept_too = await flows.start_flow(Joined, conn=session)
                await session.commit()
        await engine.dispose()
        return lost, kept, lost_too, kept_too

    found = [exists(app, run_id) for run_id in asyncio.run(application())]
    assert found == [False, True, False, True]


# ---- Django ----------------------------------------------------------------------------------


def test_a_django_block_commits_and_rolls_back_our_calls(app, django):
    with transaction.atomic():
        kept = app.start_flow(Joined, conn=django)
        with django.cursor() as cursor:
            cursor.execute("select count(*) from pgflow.runs where run_id = %s", [kept])
            assert cursor.fetchone() == (1,)
        assert not exists(app, kept)
    assert exists(app, kept)
    lost = []
    with contextlib.suppress(ZeroDivisionError), transaction.atomic():
        lost.append(app.start_flow(Joined, conn=connections["default"]))
        raise ZeroDivisionError
    assert not exists(app, lost[0])


def test_outside_of_a_django_block_a_call_is_a_transaction_of_its_own(app, django):
    assert exists(app, app.start_flow(Joined, conn=django))


def test_a_django_connection_that_was_closed_is_opened(app, django):
    django.close()
    assert exists(app, app.start_flow(Joined, conn=django))


def test_a_refusal_that_somebody_catches_in_a_django_block_does_not_pass_for_a_commit(app, django):
    with transaction.atomic():
        app.start_flow(Joined, conn=django)
        with pytest.raises(FlowNotFound):
            app.start_flow("unknown", conn=django)
        with pytest.raises(transaction.TransactionManagementError, match="until the end of the 'atomic' block"):
            app.start_flow(Joined, conn=django)
        assert django.needs_rollback
    with transaction.atomic():
        kept = app.start_flow(Joined, conn=django)
        with pytest.raises(FlowNotFound), transaction.atomic():
            app.start_flow("unknown", conn=django)
    assert exists(app, kept)


# ---- everything else -------------------------------------------------------------------------


def test_what_is_no_such_connection_is_refused_in_a_sentence(app, dsn):
    lite = sqlalchemy.create_engine("sqlite://")
    with pytest.raises(InvalidConnection, match=r"takes a psycopg\.Connection, .*; not builtins\.str"):
        app.start_flow(Joined, conn=dsn)
    with lite.connect() as conn, pytest.raises(InvalidConnection, match=r"with one of sqlite3\.Connection inside"):
        app.start_flow(Joined, conn=conn)
    lite.dispose()

    async def application():
        async with AsyncPgFlow(dsn) as flows:
            with psycopg.connect(dsn) as conn, pytest.raises(InvalidConnection, match=r"not psycopg\.Connection"):
                await flows.start_flow(Joined, conn=conn)
            async with await psycopg.AsyncConnection.connect(dsn) as conn:
                with pytest.raises(InvalidConnection, match=r"psycopg\.Connection, .*; not psycopg\.AsyncConnection"):
                    app.start_flow(Joined, conn=conn)

    asyncio.run(application())


def test_neither_library_is_imported_by_ours():
    program = "import sys, pgflow_mp.client; sys.exit(bool({'sqlalchemy', 'django'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0
