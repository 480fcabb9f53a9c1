"""What comes back from a handler: output, error, prints, log records; in a child and inline alike."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import subprocess
import sys
import time

import pytest

from pgflow_mp.errors import NonRetryable
from pgflow_mp.executors import Completed, Failed
from pgflow_mp.executors.inline import run_inline
from pgflow_mp.executors.process import output as output_module

from .harness import call_of, play


class NeedsTwo(Exception):
    def __init__(self, one, two):
        super().__init__(one)
        self.two = two


class Picky(NonRetryable):
    pass


def raise_value_error(flow_input):
    raise ValueError("no such order")


def raise_what_cannot_be_unpickled(flow_input):
    raise NeedsTwo("a", lambda: None)


def raise_non_retryable(flow_input):
    raise Picky("card expired")


def raise_system_exit(flow_input):
    sys.exit(3)


def raise_nul_and_surrogate(flow_input):
    raise ValueError("a\x00b\ud800c")


def return_set(flow_input):
    return {1, 2}


def return_nan(flow_input):
    return {"ratio": [1.0, math.nan]}


def exceed_the_stack(flow_input):
    return exceed_the_stack(flow_input)


async def sleep_a_little(flow_input):
    await asyncio.sleep(0.01)
    return "awaited"


FAILURES = [
    (raise_value_error, "raised", True, "ValueError: no such order"),
    (raise_what_cannot_be_unpickled, "raised", True, "NeedsTwo: a"),
    (raise_non_retryable, "raised", False, "Picky: card expired"),
    (raise_system_exit, "raised", True, "SystemExit: 3"),
    (raise_nul_and_surrogate, "raised", True, "ValueError: a\\x00b\\ud800c"),
    (exceed_the_stack, "raised", True, "RecursionError: "),
    (return_set, "output", True, "OutputError: "),
    (return_nan, "output", True, "OutputError: "),
]
names = [case[0].__name__ for case in FAILURES]


def in_a_child(*calls):
    return play(lambda crew: crew.run(*calls))


def inline(*calls):
    return [run_inline(call) for call in calls]


@pytest.mark.parametrize("execute", [in_a_child, inline])
def test_failures_tell_the_same_in_a_child_and_inline(execute):
    outcomes = execute(*[call_of(handler) for handler, *_ in FAILURES])
    for outcome, (handler, reason, retryable, first) in zip(outcomes, FAILURES, strict=True):
        assert isinstance(outcome, Failed), handler
        assert (outcome.reason, outcome.retryable) == (reason, retryable), handler
        assert outcome.error.startswith(first), outcome.error
        assert "pgflow_mp" not in outcome.error, outcome.error
        if reason == "raised":
            assert f"in {handler.__name__}" in outcome.error


@pytest.mark.parametrize("execute", [in_a_child, inline])
def test_outputs_are_json_text_and_none_is_sql_null(execute):
    values = [None, False, 0, "", [], {"a": [None, "ä€😀"]}, "x" * 100_000]
    same = lambda flow_input: flow_input  # noqa: E731
    outcomes = execute(*[call_of(same, value) for value in values])
    assert all(isinstance(outcome, Completed) for outcome in outcomes)
    assert outcomes[0].output is None
    assert [json.loads(outcome.output) for outcome in outcomes[1:]] == values[1:]


@pytest.mark.parametrize("execute", [in_a_child, inline])
def test_async_handlers_are_awaited(execute):
    (outcome,) = execute(call_of(sleep_a_little))
    assert outcome.output == '"awaited"'
    assert 0.01 <= outcome.seconds < 2


@pytest.mark.parametrize("execute", [in_a_child, inline])
def test_the_context_says_whose_attempt_it_is(execute):
    def ask(ctx):
        return [ctx.flow_slug, str(ctx.run_id), ctx.step_slug, ctx.task_index, ctx.attempt, 5 < ctx.remaining() <= 6]

    call = call_of(ask, index=4, timeout=6)
    (outcome,) = execute(call)
    assert json.loads(outcome.output) == ["single", str(call.run_id), "work", 4, 1, True]


def test_inline_keeps_the_exception_itself():
    outcome = run_inline(call_of(raise_what_cannot_be_unpickled))
    assert isinstance(outcome.exception, NeedsTwo)
    assert isinstance(run_inline(call_of(return_set)).exception, ValueError)


def test_inline_lets_the_person_at_the_keyboard_stop():
    def interrupted(flow_input):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_inline(call_of(interrupted))
    (outcome,) = in_a_child(call_of(interrupted))
    assert (outcome.reason, outcome.error.splitlines()[0]) == ("raised", "KeyboardInterrupt")


# Large payloads --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_eight_mebibytes_go_both_ways_while_other_calls_run():
    text = "x" * (8 << 20)

    async def scenario(crew):
        calls = [call_of(lambda flow_input: flow_input, text) for _ in range(3)]
        small = [call_of(lambda flow_input: flow_input, i) for i in range(50)]
        outcomes = await crew.run(*calls, *small)
        assert [len(o.output) for o in outcomes[:3]] == [len(text) + 2] * 3
        assert [o.output for o in outcomes[3:]] == [str(i) for i in range(50)]

    play(scenario)


def test_a_large_input_to_a_child_that_is_not_reading_does_not_block_the_loop():
    async def scenario(crew):
        import signal

        for pid in crew.pool.pids:
            os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        large = call_of(lambda flow_input: len(flow_input), "x" * (8 << 20))
        crew.pool.submit(large)
        assert time.monotonic() - began < 10
        await asyncio.sleep(0.05)
        assert not crew.outcomes
        for pid in crew.pool.pids:
            os.kill(pid, signal.SIGCONT)
        await crew.until(lambda: crew.outcomes)
        assert crew.outcomes[0].output == str(8 << 20)

    play(scenario)


# Prints and log records ------------------------------------------------------------------------------------


def test_prints_arrive_with_their_call_before_its_outcome():
    def talk(flow_input):
        print("to stdout", flow_input)
        print("to stderr, no newline", end="", file=sys.stderr, flush=True)
        os.write(1, b"\xff raw\n")
        subprocess.run(["echo", "from a program"], check=True)
        print("no newline at the end", end="")
        return flow_input

    async def scenario(crew):
        seen = []
        crew.pool.on_outcome = lambda outcome: (seen.append(len(crew.printed)), crew._take(outcome))
        calls = [call_of(talk, i) for i in range(4)]
        await crew.run(*calls)
        for i, call in enumerate(calls):
            text = "".join(text for whose, text in crew.printed if whose is call)
            assert text == f"to stdout {i}\nto stderr, no newline\ufffd raw\nfrom a program\nno newline at the end"
        assert seen[-1] == len(crew.printed)

    play(scenario)


def test_prints_without_end_are_cut_and_do_not_slow_the_others():
    def flood(flow_input):
        for _ in range(1000):
            print("x" * 10_000)

    async def scenario(crew):
        await crew.run(call_of(flood), call_of(flood))
        size = sum(len(text) for _, text in crew.printed)
        assert output_module.LIMIT <= size / 2 <= output_module.LIMIT + 200
        assert "".join(text for _, text in crew.printed).count("the rest is dropped]") == 2

    play(scenario)


def test_by_default_prints_go_to_stderr_with_step_and_run_in_front(capfd):
    call = call_of(lambda: print("two\nlines"), index=3)

    async def scenario(crew):
        await crew.run(call)

    play(scenario, on_output=output_module.to_stderr)
    mark = f"single.work[3] {call.run_id}"
    assert capfd.readouterr() == ("", f"{mark} two\n{mark} lines\n")


def test_log_records_are_handled_in_the_parent_with_run_step_and_task(caplog):
    def log(flow_input, ctx):
        logging.getLogger("app.orders").info("order %s", flow_input)
        logging.getLogger("app.orders").debug("nobody wants this")
        ctx.logger.warning("from the context")
        try:
            int("no number")
        except ValueError:
            logging.getLogger("app").exception("failed")

    call = call_of(log, 12, index=2)

    with caplog.at_level(logging.INFO):
        in_a_child(call)
    order, context, failed = caplog.records
    assert (order.name, order.levelname, order.getMessage()) == ("app.orders", "INFO", "order 12")
    assert (order.flow_slug, order.run_id, order.step_slug, order.task_index) == ("single", call.run_id, "work", 2)
    assert (context.name, context.getMessage()) == ("pgflow_mp.flow.single.work", "from the context")
    assert "ValueError" in failed.exc_text


def test_log_records_without_end_are_cut(caplog):
    def flood(flow_input):
        for i in range(5000):
            logging.getLogger("app").warning("%d %s", i, "y" * 20_000 if i == 0 else "")

    in_a_child(call_of(flood))
    assert len(caplog.records) == 1001
    assert len(caplog.records[0].getMessage()) == 16 * 1024
    assert caplog.records[-1].getMessage() == "more than 1000 log records of one task: the rest is dropped"
