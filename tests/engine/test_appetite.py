"""How much a worker claims (D-27)."""

from __future__ import annotations

import itertools
import uuid

import pytest

from pgflow_mp import Flow, step
from pgflow_mp.engine.appetite import HORIZON_SECONDS, MOST_PER_CHILD, Appetite
from pgflow_mp.executors.base import Completed, TaskCall

_numbers = itertools.count()


class Mixed(Flow):
    @step
    def quick(): ...

    @step
    def slow(): ...


class Other(Flow):
    @step
    def work(): ...


def call(flow=Mixed, slug="quick"):
    return TaskCall(
        flow=flow.definition,
        step=flow.definition.step(slug),
        run_id=uuid.uuid4(),
        task_index=0,
        attempt=1,
        worker_id=uuid.uuid4(),
        msg_id=next(_numbers),
        timeout=60,
        input=b"{}",
    )


@pytest.fixture
def appetite():
    return Appetite()


def took(appetite, seconds, times=1, **which):
    for _ in range(times):
        done = call(**which)
        appetite.submitted(done)
        appetite.finished(Completed(done, None, seconds))


def wanted(appetite, flow="mixed", size=2):
    return appetite.quantity(flow, appetite.room(size))


def test_an_unknown_flow_gets_as_many_tasks_as_there_are_children(appetite):
    assert wanted(appetite, size=4) == 4


def test_an_unknown_task_under_way_keeps_its_child(appetite):
    appetite.submitted(call())
    assert wanted(appetite, size=4) == 3


def test_nothing_is_claimed_while_slow_tasks_keep_all_children(appetite):
    took(appetite, 5.0, slug="slow")
    for _ in range(2):
        appetite.submitted(call(slug="slow"))
    assert wanted(appetite) == 0


def test_short_tasks_are_claimed_ahead_as_far_as_they_start_within_the_horizon(appetite):
    took(appetite, HORIZON_SECONDS / 5, times=20)
    assert wanted(appetite) == 2 * 5
    waiting = [call() for _ in range(6)]
    for each in waiting:
        appetite.submitted(each)
    assert wanted(appetite) == 4
    appetite.taken_back(waiting[0])
    assert wanted(appetite) == 5


def test_no_more_than_so_many_are_claimed_for_a_child_however_short_they_are(appetite):
    took(appetite, 0.0)
    assert wanted(appetite) == 2 * MOST_PER_CHILD


def test_one_long_task_ends_claiming_ahead_at_once_and_short_ones_bring_it_back(appetite):
    took(appetite, 0.001)
    took(appetite, 2.0)
    assert wanted(appetite) == 2
    took(appetite, 0.001, times=30)
    assert wanted(appetite) > 2


def test_a_step_that_never_ran_here_makes_its_flow_unknown(appetite):
    took(appetite, 0.001)
    assert wanted(appetite) > 2
    appetite.submitted(call(slug="slow"))
    assert wanted(appetite) == 1


def test_a_slow_flow_is_not_kept_out_by_short_tasks_that_wait(appetite):
    took(appetite, HORIZON_SECONDS / 10, times=20)
    took(appetite, 5.0, flow=Other, slug="work")
    for _ in range(10):
        appetite.submitted(call())
    assert wanted(appetite, "other") == 2


def test_flows_are_judged_apart(appetite):
    took(appetite, 0.001)
    took(appetite, 5.0, flow=Other, slug="work")
    assert wanted(appetite, "mixed") > 2
    assert wanted(appetite, "other") == 2
