"""How much a worker claims (D-27)."""

from __future__ import annotations

from pgflow_mp.engine.appetite import HORIZON_SECONDS, Appetite


def test_an_unknown_flow_gets_its_free_children_only():
    assert Appetite().quantity("flow", size=4, free=3) == 3


def test_nothing_is_claimed_for_an_unknown_flow_while_calls_wait():
    assert Appetite().quantity("flow", size=4, free=-2) == 0


def test_a_slow_flow_gets_its_free_children_only():
    appetite = Appetite()
    appetite.observe("flow", "step", HORIZON_SECONDS)
    assert appetite.quantity("flow", size=4, free=2) == 2


def test_short_tasks_are_claimed_ahead_as_far_as_they_start_within_the_horizon():
    appetite = Appetite()
    for _ in range(20):
        appetite.observe("flow", "step", HORIZON_SECONDS / 5)
    assert appetite.quantity("flow", size=2, free=2) == 2 + 2 * 5
    assert appetite.quantity("flow", size=2, free=-10) == 0


def test_one_long_task_ends_claiming_ahead_at_once_and_short_ones_bring_it_back():
    appetite = Appetite()
    appetite.observe("flow", "step", 0.001)
    appetite.observe("flow", "step", 2.0)
    assert appetite.quantity("flow", size=2, free=1) == 1
    for _ in range(30):
        appetite.observe("flow", "step", 0.001)
    assert appetite.quantity("flow", size=2, free=1) > 1


def test_a_step_that_never_ran_here_makes_its_flow_unknown():
    appetite = Appetite()
    appetite.observe("flow", "quick", 0.001)
    appetite.meet("flow", "quick")
    assert appetite.quantity("flow", size=1, free=1) > 1
    appetite.meet("flow", "other")
    assert appetite.quantity("flow", size=1, free=1) == 1


def test_flows_are_judged_apart():
    appetite = Appetite()
    appetite.observe("quick", "step", 0.001)
    appetite.observe("slow", "step", 5.0)
    assert appetite.quantity("quick", size=1, free=1) > 1
    assert appetite.quantity("slow", size=1, free=1) == 1
