"""Deciders are asked in turn, and never depended on."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from pgflow_mp.hooks import deciders
from pgflow_mp.hooks.deciders import Deciders, retry_delay
from pgflow_mp.hooks.manager import Plugins


def plugins(*answers):
    """One plugin for each answer, asked in this order."""

    def made(answer):
        class Answering:
            def pgflow_retry_delay(self, delay):
                return answer(delay) if callable(answer) else answer

        return Answering()

    return Plugins.load([made(answer) for answer in reversed(answers)], installed=False)


def boom(delay):
    raise RuntimeError("no idea")


QUESTION = {"task": None, "error": "boom", "reason": "raised", "delay": 10.0}


@pytest.mark.parametrize(
    ("answers", "decided"),
    [
        ([3], 3.0),
        ([None, lambda delay: delay / 2], 5.0),
        ([None], None),
        ([], None),
        ([boom, 4], 4.0),
        ([0], 0.0),
        (["soon", 4], 4.0),
        ([-1, 4], 4.0),
        ([float("nan"), 4], 4.0),
        ([1e9, 4], 4.0),
    ],
)
def test_the_first_usable_answer_counts(answers, decided):
    assert retry_delay(plugins(*answers), **QUESTION) == decided


@pytest.mark.parametrize("answer", [boom, "soon", -1, float("inf")])
def test_an_answer_that_cannot_be_used_is_logged_with_its_plugin(answer, caplog):
    assert retry_delay(plugins(answer), **QUESTION) is None
    assert "plugin `Answering` failed in pgflow_retry_delay; others decide" in caplog.text


def test_one_that_hangs_costs_half_a_second_once_and_is_asked_again_when_it_is_back(monkeypatch, caplog):
    monkeypatch.setattr(deciders, "PATIENCE_SECONDS", 0.05)
    back = threading.Event()

    async def ask():
        asked = Deciders(plugins(lambda delay: back.wait(10) and 7))
        began = time.monotonic()
        assert [await asked.retry_delay(**QUESTION) for _ in range(20)] == [None] * 20
        assert time.monotonic() - began < 1.0
        back.set()
        while (answer := await asked.retry_delay(**QUESTION)) is None:
            assert time.monotonic() - began < 10
            await asyncio.sleep(0.01)
        return answer

    assert asyncio.run(ask()) == 7.0
    assert "pgflow_retry_delay gave no answer within 0.05 s: `Answering`" in caplog.text


def test_no_failure_waits_long_for_its_turn(monkeypatch):
    monkeypatch.setattr(deciders, "LONGEST_WAIT_SECONDS", 0.1)

    async def ask():
        asked = Deciders(plugins(lambda delay: time.sleep(0.05) or 7))
        return await asyncio.gather(*(asked.retry_delay(**QUESTION) for _ in range(10)))

    answers = asyncio.run(ask())
    assert answers[0] == 7.0
    assert answers[-1] is None


def test_the_thread_ends_with_its_worker():
    async def ask():
        asked = Deciders(plugins(3))
        assert await asked.retry_delay(**QUESTION) == 3.0
        asked.close()
        return asked

    thread = asyncio.run(ask())._thread
    thread.join(10)
    assert not thread.is_alive()
