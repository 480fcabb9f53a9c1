"""Observers are isolated from each other, and from whoever tells them."""

from __future__ import annotations

import asyncio
import logging
import threading
import time

import pytest

from pgflow_mp.hooks.manager import Plugins
from pgflow_mp.hooks.observers import Background, Direct


class Listener:
    def __init__(self):
        self.heard = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def pgflow_run_completed(self, run):
        self.may_go_on.wait(10)
        self.heard.append(run)

    def pgflow_events_dropped(self, count):
        self.heard.append(f"dropped {count}")


class Broken:
    def pgflow_run_completed(self, run):
        raise RuntimeError(f"cannot take {run}")


def plugins(*given):
    return Plugins.load(given, installed=False)


def closed(background, seconds=10.0):
    return asyncio.run(background.close(seconds))


def until_none_waits(background):
    until = time.monotonic() + 10
    while background.waiting:
        assert time.monotonic() < until
        time.sleep(0.001)


def test_events_are_told_in_order_in_one_thread_of_their_own():
    listener = Listener()
    background = Background(plugins(listener))
    for number in range(100):
        background.tell("pgflow_run_completed", run=number)
    assert closed(background)
    assert listener.heard == list(range(100))


@pytest.mark.parametrize("kind", [Background, Direct])
def test_one_that_raises_is_logged_with_its_plugin_and_the_others_hear_all_the_same(kind, caplog):
    listener = Listener()
    observers = kind(plugins(listener, Broken()))
    for number in range(12):
        observers.tell("pgflow_run_completed", run=number)
    if kind is Background:
        assert closed(observers)
    assert listener.heard == list(range(12))
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        f"plugin `Broken` failed in pgflow_run_completed ({times} so far); the work goes on" for times in (1, 2, 3, 10)
    ]
    assert "RuntimeError: cannot take 0" in caplog.text


def test_what_comes_while_too_much_waits_is_dropped_counted_and_told(caplog):
    listener = Listener()
    listener.may_go_on.clear()
    background = Background(plugins(listener), most=3)
    background.tell("pgflow_run_completed", run=0)
    until_none_waits(background)  # it is with the observer
    with caplog.at_level(logging.WARNING):
        for number in range(1, 10):
            background.tell("pgflow_run_completed", run=number)
    assert background.dropped == 6
    listener.may_go_on.set()
    until_none_waits(background)
    background.tell("pgflow_run_completed", run="later")
    assert closed(background)
    assert listener.heard == [0, 1, 2, 3, "dropped 6", "later"]
    assert "observers missed 6 events" in caplog.text


def test_what_was_dropped_is_told_at_the_end_where_nothing_else_comes():
    listener = Listener()
    listener.may_go_on.clear()
    background = Background(plugins(listener), most=1)
    background.tell("pgflow_run_completed", run=0)
    until_none_waits(background)
    for number in range(1, 5):
        background.tell("pgflow_run_completed", run=number)
    listener.may_go_on.set()
    assert closed(background)
    assert listener.heard == [0, 1, "dropped 3"]


def test_an_observer_that_hangs_keeps_the_end_waiting_only_so_long(caplog):
    listener = Listener()
    listener.may_go_on.clear()
    background = Background(plugins(listener))
    for number in range(3):
        background.tell("pgflow_run_completed", run=number)
    try:
        assert not closed(background, 0.05)
        assert "observers are not done after 0.05 s" in caplog.text
    finally:
        listener.may_go_on.set()
        assert closed(background)


def test_without_observers_there_is_no_thread():
    class Decider:
        def pgflow_retry_delay(self):
            return 1

    before = threading.active_count()
    background = Background(plugins(Decider()))
    background.tell("pgflow_run_completed", run=1)
    assert threading.active_count() == before
    assert closed(background)


def test_a_failure_of_a_test_in_an_observer_reaches_the_test():
    class Strict:
        def pgflow_run_completed(self, run):
            pytest.fail("this run must not complete")

    with pytest.raises(pytest.fail.Exception, match="must not complete"):
        Direct(plugins(Strict())).tell("pgflow_run_completed", run=1)
