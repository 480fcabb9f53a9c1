"""Pausing flows: our workers leave them alone (D-20). Whether schedules of a paused flow tick: tests/engine."""

from __future__ import annotations

import pytest

from .ask import rows, value
from .machine import single


def pause(machine, slug, paused=True):
    return value(machine.conn, "select pgflow_mp.pause_flow(%s, %s)", slug, paused)


@pytest.fixture
def two_flows(machine):
    for slug in ("one", "two"):
        machine.flow(slug, a=single(), b=single("a"))
        machine.start(slug)


def claimed(machine, *slugs):
    sql = "select flow_slug, step_slug from pgflow_mp.claim_tasks(%s, %s, %s) order by 1, 2"
    return rows(machine.conn, sql, list(slugs), [machine.worker] * len(slugs), [10] * len(slugs))


def test_tasks_of_a_paused_flow_are_claimed_by_nobody_of_ours_and_those_of_others_are(machine, two_flows):
    assert pause(machine, "one")
    assert claimed(machine, "one", "two") == [("two", "a")]
    assert claimed(machine, "one") == []


def test_what_runs_ends_and_what_follows_from_it_waits(machine, two_flows):
    (task,) = machine.claim("one")
    pause(machine, "one")
    machine.settle([(task, 1)])
    assert machine.claim("one") == []
    pause(machine, "one", paused=False)
    assert [task.step for task in machine.claim("one")] == ["b"]


def test_a_paused_flow_takes_new_runs(machine, two_flows):
    pause(machine, "one")
    machine.start("one")
    pause(machine, "one", paused=False)
    assert len(machine.claim("one", 10)) == 2


def test_pausing_twice_and_resuming_what_runs_change_nothing(machine, two_flows):
    assert pause(machine, "one", paused=False)
    pause(machine, "one")
    before = rows(machine.conn, "select * from pgflow_mp.paused_flows()")
    pause(machine, "one")
    assert rows(machine.conn, "select * from pgflow_mp.paused_flows()") == before
    assert [slug for slug, _ in before] == ["one"]


@pytest.mark.own_core
def test_there_is_no_pause_of_a_flow_that_is_not_there(machine, two_flows):
    assert not pause(machine, "three")
    assert not pause(machine, "One")
    assert rows(machine.conn, "select * from pgflow_mp.paused_flows()") == []


def test_resuming_wakes_the_workers(machine, two_flows):
    pause(machine, "one")
    machine.conn.execute("listen pgflow_mp_work")
    pause(machine, "one", paused=False)
    assert [notice.payload for notice in machine.conn.notifies(timeout=5, stop_after=1)] == ["one"]
    machine.conn.execute("unlisten *")


@pytest.mark.own_core
def test_workers_of_other_languages_do_not_know_of_pauses(machine, two_flows):
    """D-20: the contract's own functions claim as ever."""
    pause(machine, "one")
    sql = "select step_slug from pgflow.start_tasks('one', array(select msg_id from pgmq.q_one), %s)"
    assert rows(machine.conn, sql, machine.worker) == [("a",)]
