"""How much a worker claims (D-27)."""

from __future__ import annotations

import itertools
import uuid
from dataclasses import replace

import pytest

from pgflow_mp import Flow, FlowDefinition, StepDefinition, step
from pgflow_mp.engine.appetite import MOST_PER_CHILD, Appetite, Wish
from pgflow_mp.engine.occupancy import HORIZON_SECONDS
from pgflow_mp.engine.sources import sources_of
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


class Special(Flow):
    @step
    def plain(): ...

    @step(concurrency=3)
    def few(): ...

    @step(processes=2)
    def heavy(): ...

    @step
    async def wait(): ...


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


def wish(appetite, flow=Mixed, size=2, alone=""):
    source = next(source for source in sources_of(flow.definition) if source.alone == alone)
    return appetite.wish(source, size)


def wanted(appetite, flow=Mixed, size=2, alone=""):
    return wish(appetite, flow, size, alone).all


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
    assert wanted(appetite, Other) == 2


def test_flows_are_judged_apart(appetite):
    took(appetite, 0.001)
    took(appetite, 5.0, flow=Other, slug="work")
    assert wanted(appetite, Mixed) > 2
    assert wanted(appetite, Other) == 2


# ---- slow tasks that come to their end ---------------------------------------------------------


class Clock:
    """Stands still until it is told to go on."""

    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def foresight(clock):
    """An appetite that knows `slow` to take two seconds."""
    appetite = Appetite(clock)
    took(appetite, 2.0, slug="slow")
    return appetite


@pytest.fixture
def running(foresight):
    """Two slow tasks that keep two children since now."""
    running = [call(slug="slow"), call(slug="slow")]
    for each in running:
        foresight.submitted(each)
    assert wanted(foresight) == 0
    return running


@pytest.mark.usefixtures("running")
def test_the_task_after_a_slow_one_is_claimed_when_that_is_about_to_end(foresight, clock):
    assert foresight.until_room() == pytest.approx(2.0 - HORIZON_SECONDS)
    clock.now += 2.0 - HORIZON_SECONDS / 2
    assert wanted(foresight) == 2


@pytest.mark.usefixtures("running")
def test_no_more_is_claimed_for_a_child_than_one_slow_task(foresight, clock):
    clock.now += 2.0 - HORIZON_SECONDS / 2
    foresight.submitted(call(slug="slow"))
    assert wanted(foresight) == 1
    foresight.submitted(call(slug="slow"))
    assert wanted(foresight) == 0


def test_a_task_that_waited_counts_from_when_it_began(foresight, running, clock):
    clock.now += 2.0 - HORIZON_SECONDS / 2
    foresight.submitted(call(slug="slow"))
    clock.now += HORIZON_SECONDS / 2
    foresight.finished(Completed(running[0], None, 2.0))
    clock.now += HORIZON_SECONDS
    foresight.taken_back(running[1])
    assert wanted(foresight) == 1
    assert foresight.until_room() == pytest.approx(2.0 - 2 * HORIZON_SECONDS)


@pytest.mark.usefixtures("running")
def test_a_task_that_is_long_overdue_keeps_its_child(foresight, clock):
    clock.now += 2.0 + 2 * HORIZON_SECONDS
    assert wanted(foresight) == 0
    assert foresight.until_room() == float("inf")


def test_nothing_is_foreseen_of_a_task_of_unknown_length(appetite):
    appetite.submitted(call())
    assert appetite.until_room() == float("inf")


# ---- steps that take another room, more of it, or have a limit ---------------------------------


def test_a_limit_is_what_a_step_may_have_at_most(appetite):
    assert wish(appetite, Special, 10, "few") == Wish(10, 3)
    for _ in range(3):
        appetite.submitted(call(Special, "few"))
    assert not wish(appetite, Special, 10, "few")
    assert wanted(appetite, Special, 10) == 7, "the other steps have the rest of the room"


def test_a_task_that_ends_or_is_taken_back_makes_place_under_its_limit(appetite):
    first, second, _ = tasks = [call(Special, "few") for _ in range(3)]
    for each in tasks:
        appetite.submitted(each)
    appetite.finished(Completed(first, None, 1.0))
    appetite.taken_back(second)
    assert wish(appetite, Special, 10, "few").most == 2


def test_a_heavy_task_takes_its_weight(appetite):
    assert wanted(appetite, Special, 5, "heavy") == 2
    appetite.submitted(call(Special, "heavy"))
    assert wanted(appetite, Special, 5, "heavy") == 1
    assert wanted(appetite, Special, 5) == 3


def test_one_heavy_task_waits_for_its_children_and_keeps_them_from_others(appetite):
    for _ in range(3):
        appetite.submitted(call(Special, "plain"))
    assert wanted(appetite, Special, 4, "heavy") == 1, "one child is free, it takes two"
    appetite.submitted(call(Special, "heavy"))
    assert wanted(appetite, Special, 4) == 0
    assert wanted(appetite, Special, 4, "heavy") == 0


def test_a_step_that_is_heavier_than_the_worker_takes_all_of_it(appetite):
    assert wanted(appetite, Special, 1, "heavy") == 1


def test_event_loops_have_a_room_of_their_own_and_nothing_is_claimed_ahead_for_them(appetite):
    def waiting():
        [source] = [source for source in sources_of(Special.definition) if source.executor == "async"]
        return appetite.wish(source, 100).all

    for _ in range(2):
        appetite.submitted(call(Special, "plain"))
    done = call(Special, "wait")
    appetite.submitted(done)
    appetite.finished(Completed(done, None, 0.001))
    assert waiting() == 100
    for _ in range(60):
        appetite.submitted(call(Special, "wait"))
    assert waiting() == 40


# ---- where tasks are claimed from --------------------------------------------------------------


def test_a_flow_whose_steps_are_all_alike_has_one_source_without_a_filter():
    [source] = sources_of(Mixed.definition)
    assert source.filter is None
    assert source.covers("quick")
    assert source.covers("a_step_that_nobody_knows")


def test_a_flow_is_divided_by_executor_weight_and_limit_and_the_first_source_takes_unknown_steps():
    filters = {source.alone or source.executor: source.filter for source in sources_of(Special.definition)}
    assert filters == {"process": "-few,heavy,wait", "async": "wait", "few": "few", "heavy": "heavy"}
    for slug in ("plain", "few", "heavy", "wait", "unknown"):
        assert sum(source.covers(slug) for source in sources_of(Special.definition)) == 1


def test_how_long_a_handler_takes_is_known_from_all_flows_that_it_serves(appetite):
    def tenant(number):
        handler = StepDefinition("send", handler=lambda: None, is_registered=True, source="app:send")
        return FlowDefinition(f"tenant_{number}", (handler,))

    def call_of(flow):
        return replace(call(), flow=flow, step=flow.steps[0])

    one, other = tenant(1), tenant(2)
    (source,) = sources_of(other)
    assert appetite.wish(source, 1).quantity == 1, "nobody knows yet"
    first = call_of(one)
    appetite.submitted(first)
    appetite.finished(Completed(first, None, HORIZON_SECONDS / 10))
    assert appetite.wish(source, 1).quantity == 10
    assert appetite.wish(sources_of(Other.definition)[0], 1).quantity == 1, "no kin"
