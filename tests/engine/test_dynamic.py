"""Flows made at run time from plain data, and a worker that follows them."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest

from pgflow_mp import DefinitionError, FlowDefinition, PgFlow, handles
from pgflow_mp.core.queries.dynamic import dynamic_details
from pgflow_mp.core.statement import execute
from pgflow_mp.definition import StepDefinition
from pgflow_mp.engine.dynamic import definition_of
from pgflow_mp.executors.process.handlers import Packer, Shelf
from pgflow_mp.registry import registered
from tests.engine.dynamic_handlers import HANDLERS, double, gather

STEPS = [
    {"slug": "fetch"},
    {"slug": "numbers", "deps": ["fetch"]},
    {"slug": "twice", "step_type": "map", "deps": ["numbers"]},
    {"slug": "end", "deps": ["twice", "fetch"], "handler": "gather"},
]
SHORT = [{"slug": "fetch"}, {"slug": "end", "deps": ["fetch"], "handler": "gather"}]


@pytest.fixture
def app(pgflow_dsn):
    with PgFlow(pgflow_dsn, handlers=HANDLERS) as app:
        yield app


def until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# ---- upsert ------------------------------------------------------------------------------------


def test_a_flow_of_plain_data_is_made_and_then_verified_without_touching_its_runs(app):
    """D-17."""
    assert app.upsert_flow("tenant", STEPS, max_attempts=2).status == "compiled"
    run_id = app.start_flow("tenant", {"n": 1})
    again = app.upsert_flow("tenant", [dict(reversed(step.items())) for step in STEPS], max_attempts=2)
    assert again.nothing_to_do
    assert app.get_run(run_id).status == "started"


@pytest.mark.parametrize(
    ("steps", "options", "difference"),
    [
        (SHORT, {}, "Step count differs: 2 vs 4"),
        (STEPS, {"timeout": 7}, "timeout of the flow: 60 -> 7"),
        ([{**STEPS[0], "max_attempts": 1}, *STEPS[1:]], {}, "max_attempts of step fetch: default -> 1"),
        ([*STEPS[:3], {**STEPS[3], "when": {"fetch": 1}}], {}, "requiredInputPattern"),
    ],
)
def test_any_difference_makes_it_anew_without_its_runs(app, steps, options, difference):
    """D-17."""
    app.upsert_flow("tenant", STEPS)
    run_id = app.start_flow("tenant", {"n": 1})
    changed = app.upsert_flow("tenant", steps, **options)
    assert changed.status == "recompiled"
    assert difference in " ".join(changed.differences)
    with pytest.raises(LookupError):
        app.get_run(run_id)
    assert app.upsert_flow("tenant", steps, **options).nothing_to_do


def test_force_makes_it_anew_though_nothing_differs(app):
    app.upsert_flow("tenant", STEPS)
    run_id = app.start_flow("tenant", {"n": 1})
    forced = app.upsert_flow("tenant", STEPS, force=True)
    assert (forced.status, forced.differences) == ("recompiled", ())
    with pytest.raises(LookupError):
        app.get_run(run_id)


def test_another_handler_is_told_and_costs_no_run(app):
    app.upsert_flow("tenant", SHORT)
    run_id = app.start_flow("tenant", {"n": 1})
    changed = app.upsert_flow("tenant", [SHORT[0], {**SHORT[1], "executor": "thread"}])
    assert changed.status == "verified"
    assert changed.options_changed == (
        'step end is done by: {"handler": "gather"} -> {"handler": "gather", "executor": "thread"}',
    )
    assert app.get_run(run_id).status == "started"


def test_an_upsert_is_part_of_the_callers_transaction(app, pgflow_dsn):
    with psycopg.connect(pgflow_dsn) as conn:
        app.upsert_flow("tenant", STEPS, conn=conn)
        assert app.flow_exists("tenant", conn=conn)
        conn.rollback()
    assert not app.flow_exists("tenant")


@pytest.mark.parametrize("options", [{}, {"idempotency_key": "once"}])
def test_a_run_that_is_started_while_its_flow_is_made_anew_is_one_of_the_new_flow(
    app, pgflow_dsn, pgflow_conn, options
):
    app.upsert_flow("tenant", STEPS)
    with psycopg.connect(pgflow_dsn) as conn, ThreadPoolExecutor(1) as other:
        app.upsert_flow("tenant", SHORT, conn=conn)
        starting = other.submit(app.start_flow, "tenant", {"n": 1}, **options)
        until(lambda: waits_for(pgflow_conn, conn.info.backend_pid))
        conn.commit()
        run = app.get_run_with_states(starting.result(timeout=20))
    assert list(run.steps) == [step["slug"] for step in SHORT]


def waits_for(conn, pid):
    blocked = "select exists (select from pg_stat_activity where %s = any (pg_blocking_pids(pid)))"
    return conn.execute(blocked, (pid,)).fetchone()[0]


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ([{"slug": "a", "handler": len}], "flow `tenant`, step `a`: handler is a name, not"),
        ([{"slug": "a", "retry_on": OSError}], "retry_on is no plain data"),
        ([{"slug": "a", "deps": ["b"]}], "there is no such step"),
        ([{"slug": "a", "timout": 3}], "did you mean `timeout`"),
        (
            [{"slug": "a", "handler": "numbers"}],
            "its handler has the parameter `fetch`, but it does not depend on such a",
        ),
        (["a"], r"steps\[0\] must be a mapping"),
        ("a", "the steps must be a list of mappings"),
        ([], "at least one step"),
    ],
)
def test_data_that_are_no_flow_are_refused_and_nothing_is_changed(app, steps, says):
    with pytest.raises(DefinitionError, match=says):
        app.upsert_flow("tenant", steps)
    assert not app.flow_exists("tenant")


# ---- names -------------------------------------------------------------------------------------


def test_handlers_are_named_by_decorator_by_their_own_name_or_by_a_dict():
    assert [named.name for named in HANDLERS] == ["gather", "fetch", "twice", "numbers"]
    assert double(3) == 6
    assert set(registered({"a": len, "b": double})) == {"a", "b"}
    assert registered({"b": double})["b"].name == "b"
    assert handles("x", retry_on=OSError)(lambda: 1).retry_on == (OSError,)


@pytest.mark.parametrize(
    ("handlers", "says"),
    [
        ([gather, handles("gather")(len)], "two handlers of the name `gather`"),
        ([len], "has no name to be called by"),
        ({"a b": len}, "cannot be the name of a handler"),
        ({"a": 3}, "a handler is a function, not 3"),
    ],
)
def test_handlers_that_cannot_be_called_by_name_are_refused(handlers, says):
    with pytest.raises(DefinitionError, match=says):
        registered(handlers)


def test_a_step_whose_handler_is_not_known_here_is_told_with_what_there_is(app, pgflow_conn):
    app.upsert_flow("tenant", [{"slug": "a", "handler": "gathr"}])
    (stored,) = execute(pgflow_conn, dynamic_details(["tenant"]))
    with pytest.raises(DefinitionError, match=r"step `a`: there is no handler `gathr` \(did you mean `gather`\?\)"):
        definition_of(stored, registered(HANDLERS))


def test_a_registered_handler_travels_by_reference_and_another_by_value():
    def by_value(**outputs):
        return sorted(outputs)

    parcels = {}
    for name, function, source in (("gather", gather.function, gather.source), ("local", by_value, None)):
        it = StepDefinition("it", "single", (), function, is_registered=True, source=source)
        parcels[name] = parcel = Packer().pack(FlowDefinition("tenant", (it,)), it)
        shelf = Shelf()
        if parcel.blob is not None:
            shelf.load(parcel.key.encode() + parcel.blob)
        found = shelf.find(parcel.head)
        assert (found.flow_slug, found.step.slug) == ("tenant", "it")
        assert [parameter.is_rest for parameter in found.step.parameters][-1]
    assert parcels["gather"].blob is None
    assert parcels["local"].blob is not None


# ---- a worker that follows ---------------------------------------------------------------------


@contextmanager
def worker(app, **options):
    with app.start_worker(processes=1, poll_interval=0.5, **options) as handle:
        yield handle


def test_a_worker_takes_up_what_appears_follows_what_changes_and_lets_go_of_what_vanishes(app, pgflow_conn):
    app.upsert_flow("before", SHORT)
    app.upsert_flow("foreign", [{"slug": "a", "handler": "known_elsewhere"}])
    with worker(app):
        assert app.start_flow_sync("before", {"n": 1}, timeout=20).output["end"]["fetch"] == 1

        app.upsert_flow("tenant", STEPS)
        run = app.start_flow_sync("tenant", {"n": 3}, timeout=20)
        assert run.output == {"end": {"step": "end", "fetch": 3, "given": {"n": 3}, "twice": [0, 2, 4]}}

        app.upsert_flow("tenant", SHORT)
        run = app.start_flow_sync("tenant", {"n": 3}, timeout=20)
        assert run.output == {"end": {"step": "end", "fetch": 3, "given": {"n": 3}}}

        app.delete_flow("tenant")
        app.upsert_flow("tenant", [{"slug": "again", "handler": "gather", "executor": "thread"}])
        assert app.start_flow_sync("tenant", {}, timeout=20).output == {"again": {"step": "again", "given": {}}}

        left = app.start_flow("foreign")
        app.delete_flow("tenant")
        assert app.start_flow_sync("before", {"n": 2}, timeout=20).completed
        assert app.get_run(left).status == "started"
        queues = {queue for (queue,) in pgflow_conn.execute("select queue_name from pgflow.workers").fetchall()}
        assert queues == {"before", "tenant"}
    working = "select count(*) from pgflow.workers where stopped_at is null"
    until(lambda: pgflow_conn.execute(working).fetchone() == (0,))


@pytest.mark.slow
def test_a_change_that_nobody_announced_is_found(app, pgflow_conn):
    app.upsert_flow("tenant", SHORT)
    with worker(app):
        assert app.start_flow_sync("tenant", {"n": 1}, timeout=20).completed
        pgflow_conn.execute(  # as by a restored backup, or another client: no notification
            "update pgflow_mp.dynamic_flows set steps = '{}', revision = nextval('pgflow_mp.dynamic_revision')"
        )
        run_id = app.start_flow("tenant", {"n": 1})  # its step `end` has no handler of that name any more
        time.sleep(3)
        before = app.get_run_with_states(run_id)
        app.upsert_flow("tenant", SHORT)
        until(lambda: app.get_run(run_id).ended)
    assert app.get_run(run_id).completed, before
