"""flow_runner: what it runs, what it returns, and how it fails. Everything here holds for both executors."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import threading
import time

import pytest

from pgflow_mp import Flow, FlowDefinition, job, map_step, step
from pgflow_mp.core.queries.tasks import settle_tasks
from pgflow_mp.errors import InvalidInput, RunFailed, RunTimeout, StepNotFound
from pytest_pgflow import FlowFailed, _settling, dies, disconnects, fails, forgets, hangs, lags

# One database, emptied between the tests, takes half the time of one for each.
pytestmark = pytest.mark.pgflow(isolation="delete")

both = pytest.mark.parametrize(
    "executor", ["inline", pytest.param("process", marks=pytest.mark.pgflow(executor="process", timeout=30))]
)


class Order(Flow, max_attempts=2):
    """Prices times quantities, summed up."""

    @step
    def lines(flow_input):
        return flow_input["lines"]

    @map_step(over=lines)
    def price(item):
        return item["price"] * item["quantity"]

    @step
    def total(price):
        return sum(price)


LINES = {"lines": [{"price": 2, "quantity": 3}, {"price": 5, "quantity": 1}]}


@both
def test_a_run_comes_back_with_output_and_steps(flow_runner, executor):
    run = flow_runner.run(Order, LINES)
    assert run.status == "completed"
    assert run.completed
    assert run.output == {"total": 11}
    assert run.steps["price"].output == [6, 5]
    assert run.steps["price"].status == "completed"
    assert run.steps["price"].attempts == 1
    assert run.steps["price"].error is None
    assert [task.output for task in run["price"].tasks] == [6, 5]
    assert list(run.steps) == ["lines", "price", "total"]


@both
def test_a_flow_may_be_defined_inside_the_test(flow_runner, executor):
    offset = 40

    class Local(Flow):
        @step
        def answer(flow_input):
            return [flow_input["n"] + offset, os.getpid()]

    answer, pid = flow_runner.run(Local, {"n": 2}).output["answer"]
    assert answer == 42
    assert (pid == os.getpid()) == (executor == "inline")


@both
def test_retry_and_start_delays_take_no_time_and_are_told(flow_runner, executor):
    class Patient(Flow, base_delay=1000):
        @step(start_delay=500)
        def later():
            return "done"

        @step
        def flaky(ctx):
            if ctx.attempt < 3:
                raise ValueError("not yet")
            return ctx.attempt

    began = time.monotonic()
    run = flow_runner.run(Patient)
    assert time.monotonic() - began < 30
    assert run.output == {"later": "done", "flaky": 3}
    assert run["flaky"].attempts == 3
    assert run.skipped_seconds == pytest.approx(500 + 2000 + 4000, abs=30)
    assert run.skipped_seconds_of("later") == pytest.approx(500, abs=10)
    assert run.skipped_seconds_of("flaky") == pytest.approx(6000, abs=20)


@both
def test_delays_are_waited_for_on_request(flow_runner, executor):
    class Patient(Flow):
        @step(start_delay=1)
        def later():
            return "done"

    began = time.monotonic()
    run = flow_runner.run(Patient, skip_delays=False)
    assert time.monotonic() - began >= 1
    assert run.skipped_seconds == 0


@both
def test_a_failed_run_fails_the_test_with_the_whole_story(flow_runner, executor):
    class Doomed(Flow, max_attempts=2):
        @step
        def fine():
            return 1

        @step
        def broken(fine):
            raise ValueError("no such luck")

    with pytest.raises(FlowFailed) as failure:
        flow_runner.run(Doomed)
    story = str(failure.value)
    assert story.startswith("flow `doomed` failed in step `broken` (attempt 2): ValueError: no such luck\n")
    assert [line.split()[:2] for line in story.splitlines()[-2:]] == [["fine", "completed"], ["broken", "failed"]]
    assert isinstance(failure.value, RunFailed)
    assert isinstance(failure.value, AssertionError)
    assert failure.value.run.steps["broken"].attempts == 2
    if executor == "inline":
        assert isinstance(failure.value.__cause__, ValueError)
    else:
        assert "Traceback" in story


@both
def test_a_failed_run_is_returned_when_it_is_not_to_be_checked(flow_runner, executor):
    class Doomed(Flow, max_attempts=1):
        @step
        def broken():
            raise ValueError("no such luck")

    run = flow_runner.run(Doomed, check=False)
    assert run.failed
    assert run.output is None
    assert run["broken"].error.startswith("ValueError: no such luck\n")


@both
def test_an_assertion_in_a_step_is_never_tried_again(flow_runner, executor):
    class Checked(Flow, max_attempts=5):
        @step
        def check():
            assert 1 + 1 == 3, "arithmetic"

    with pytest.raises(AssertionError, match="arithmetic") as failure:
        flow_runner.run(Checked)
    assert failure.value.run["check"].attempts == 1


@both
def test_a_run_that_does_not_end_in_time_raises_with_the_states_of_its_steps(flow_runner, executor):
    class Endless(Flow, max_attempts=1000, base_delay=0):
        @step
        def again():
            time.sleep(0.05)
            raise ValueError("again")

    with pytest.raises(RunTimeout) as late:
        flow_runner.run(Endless, timeout=1)
    story = str(late.value)
    assert story.startswith("flow `endless` did not end within 1 s\n")
    assert story.splitlines()[-1].split()[:2] == ["again", "started"]


def test_a_process_that_hangs_does_not_outlive_its_deadline(flow_runner):
    class Hanging(Flow):
        @step
        def hang():
            time.sleep(600)

    began = time.monotonic()
    with pytest.raises(RunTimeout):
        flow_runner.run(Hanging, timeout=1, executor="process")
    assert time.monotonic() - began < 15


@both
def test_a_step_past_its_timeout_fails(flow_runner, executor):
    class Slow(Flow, max_attempts=1):
        @step(timeout=1)
        def slow():
            time.sleep(1.2)

    run = flow_runner.run(Slow, check=False)
    assert run["slow"].error.startswith("Task timed out after 1s")


def test_inline_steps_run_in_the_thread_of_the_test(flow_runner, monkeypatch, caplog, capsys):
    class Inside(Flow):
        @step
        def inside(ctx):
            ctx.logger.warning("logged")
            print("printed")
            return [threading.get_ident(), os.environ["PATCHED"]]

    monkeypatch.setenv("PATCHED", "yes")
    with caplog.at_level(logging.WARNING):
        assert flow_runner.run(Inside).output == {"inside": [threading.get_ident(), "yes"]}
    assert "logged" in caplog.text
    assert "printed" in capsys.readouterr().out


def test_what_a_child_process_logs_and_prints_reaches_the_test(flow_runner, caplog, capfd):
    class Talking(Flow):
        @step
        def talk(ctx):
            ctx.logger.warning("a warning of the step")
            print("printed by the step")

    flow_runner.run(Talking, executor="process", timeout=30)
    assert "a warning of the step" in caplog.text
    assert "talking.talk[0]" in capfd.readouterr().err


def test_inline_starts_no_thread(flow_runner):
    before = threading.active_count()
    seen = []

    class Inside(Flow):
        @step
        def inside():
            seen.append(threading.active_count())

    flow_runner.run(Inside)
    assert seen == [before]


@both
def test_async_steps_run_and_async_tests_may_run_flows(flow_runner, executor):
    class Async(Flow):
        @step
        async def first(flow_input):
            await asyncio.sleep(0)
            return flow_input["n"] + 1

    async def test():
        return flow_runner.run(Async, {"n": 1})

    assert flow_runner.run(Async, {"n": 1}).output == {"first": 2}
    assert asyncio.run(test()).output == {"first": 2}


@both
def test_many_runs_start_at_once_and_come_back_in_order(flow_runner, executor):
    class Double(Flow):
        @step
        def double(flow_input):
            return flow_input * 2

    runs = flow_runner.run_many(Double, [1, 2, 3])
    assert [run.output for run in runs] == [{"double": 2}, {"double": 4}, {"double": 6}]
    assert len({run.run_id for run in runs}) == 3


def double(flow_input):
    return flow_input["n"] * 2


def half(double):
    return double // 2


@both
def test_a_flow_of_plain_data_runs_like_a_class(flow_runner, executor):
    flow = FlowDefinition.from_data(
        "plain", [{"slug": "double", "handler": double}, {"slug": "half", "deps": ["double"], "handler": half}]
    )
    run = flow_runner.run(flow, {"n": 21})
    assert run.output == {"half": 21}
    assert [span.step for span in run.timeline] == ["double", "half"]
    assert all(step.seconds is not None for step in run.steps.values())
    assert flow_runner.run(flow, {"n": 1}, replace={"double": 8}).output == {"half": 4}
    assert flow_runner.step(flow, "half", double=8) == 4


@both
def test_a_job_runs_like_a_flow_of_one_step(flow_runner, executor):
    @job
    def greet(name):
        return f"hello {name}"

    assert flow_runner.run(greet, "Ada").output == {"greet": "hello Ada"}
    assert flow_runner.run(greet, "Ada", replace={"greet": "nothing"})["greet"].output == "nothing"
    assert flow_runner.step(greet, "greet", flow_input="Ada") == "hello Ada"


@both
def test_a_map_over_nothing_completes(flow_runner, executor):
    class Empty(Flow):
        @map_step
        def each(item):
            return item

    assert flow_runner.run(Empty, []).output == {"each": []}


@both
def test_a_skipped_step_says_why(flow_runner, executor):
    class Branches(Flow, max_attempts=1):
        @step
        def root(flow_input):
            return flow_input

        @step(when={"root": {"vip": True}})
        def gift(root):
            return "gift"

        @step(when_exhausted="skip")
        def fragile(root):
            raise ValueError("broke")

        @step
        def end(root, gift=None, fragile="mended"):
            return [gift, fragile]

    run = flow_runner.run(Branches, {"vip": False})
    assert run.output == {"end": [None, "mended"]}
    assert run["gift"].skipped
    assert run["gift"].skip_reason == "condition_unmet"
    assert run["fragile"].skip_reason == "handler_failed"


@both
def test_a_double_stands_in_for_a_step(flow_runner, executor):
    run = flow_runner.run(
        Order, LINES, replace={"lines": [{"price": 1, "quantity": 1}], "total": lambda price: max(price)}
    )
    assert run.output == {"total": 1}


@both
def test_a_list_is_the_output_of_a_whole_map_step(flow_runner, executor):
    assert flow_runner.run(Order, LINES, replace={"price": [10, 20]}).output == {"total": 30}


@both
def test_a_double_may_fail_first(flow_runner, executor):
    run = flow_runner.run(Order, LINES, replace={"lines": fails(times=1), "total": fails(times=1, then=99)})
    assert run.output == {"total": 99}
    assert run["lines"].attempts == 2
    assert run["total"].attempts == 2
    assert run["price"].output == [6, 5]


@both
def test_a_double_may_raise_always(flow_runner, executor):
    run = flow_runner.run(Order, LINES, replace={"total": KeyError("gone")}, check=False)
    assert run["total"].error.startswith("KeyError: 'gone'")
    assert run["total"].attempts == 2


def test_a_process_that_is_killed_fails_its_attempt_only(flow_runner):
    trouble = {"price": dies(task=1), "total": dies()}
    run = flow_runner.run(Order, LINES, replace=trouble, executor="process", timeout=30)
    assert run.output == {"total": 11}
    assert [task.attempts for task in run["price"].tasks] == [1, 2]
    assert run["total"].attempts == 2


@pytest.mark.parametrize("trouble", [fails, hangs, forgets, lags])
def test_one_task_of_a_map_may_meet_with_trouble(flow_runner, trouble):
    run = flow_runner.run(Order, LINES, replace={"price": trouble(task=1)})
    assert run.output == {"total": 11}
    assert [task.attempts for task in run["price"].tasks] == [1, 2]


def test_the_test_itself_is_not_killed(flow_runner):
    with pytest.raises(AssertionError, match="dies\\(\\) would kill the test itself"):
        flow_runner.run(Order, LINES, replace={"total": dies()})


@both
def test_a_step_that_hangs_is_ended_at_its_timeout(flow_runner, executor):
    class Hanging(Flow, max_attempts=2, timeout=2):
        @step
        def hang():
            return "woke up"

    run = flow_runner.run(Hanging, replace={"hang": hangs()})
    assert run.output == {"hang": "woke up"}
    assert run["hang"].attempts == 2


def test_a_step_that_always_hangs_fails_with_its_timeout(flow_runner):
    class Hanging(Flow, max_attempts=2, timeout=1):
        @step
        def hang(): ...

    run = flow_runner.run(Hanging, replace={"hang": hangs(times=2)}, check=False)
    assert run["hang"].error.startswith("Task timed out after 1s")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"executor": "proces"}, "executor='proces': executor is one of inline, process (did you mean `process`?)"),
        ({"timeout": -1}, "timeout=-1: timeout is a positive number of seconds"),
    ],
)
def test_an_argument_that_means_nothing_is_named(flow_runner, given, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        flow_runner.run(Order, LINES, **given)


def test_a_step_whose_result_is_lost_does_its_work_again(flow_runner):
    done = []

    class Careless(Flow):
        @step
        def sync(ctx):
            done.append(("sync", ctx.attempt))
            return len(done)

        @step
        async def later(sync):
            done.append(("later", sync))

    run = flow_runner.run(Careless, replace={"sync": forgets(times=2), "later": forgets()})
    assert run.completed
    assert done == [("sync", 1), ("sync", 2), ("sync", 3), ("later", 3), ("later", 3)]


@both
def test_a_result_that_comes_too_late_changes_nothing_and_the_work_is_done_again(flow_runner, executor, tmp_path):
    done = tmp_path / "done"

    class Careless(Flow, max_attempts=1):
        @step
        def work(ctx):
            with done.open("a") as file:
                file.write(f"{ctx.attempt}\n")
            return ctx.attempt

    run = flow_runner.run(Careless, replace={"work": lags(times=2)})
    assert run.output == {"work": 3}
    assert done.read_text().split() == ["1", "2", "3"]


@both
def test_a_connection_lost_while_settling_costs_no_second_attempt(flow_runner, executor, tmp_path, monkeypatch, caplog):
    done = tmp_path / "done"
    lost = []
    monkeypatch.setattr(_settling, "settle_tasks", lambda tasks: lost.append(tasks) or settle_tasks(tasks))

    class Careless(Flow):
        @map_step
        def work(item):
            with done.open("a") as file:
                file.write(f"{item}\n")
            return item

        @step
        def total(work):
            return sum(work)

    run = flow_runner.run(Careless, [1, 2, 3], replace={"work": disconnects(), "total": disconnects()})
    assert run.output == {"total": 6}
    assert sorted(done.read_text().split()) == ["1", "2", "3"]
    assert [task.attempts for task in run["work"].tasks] == [1, 1, 1]
    assert len(lost) == 4
    lost.clear()
    assert flow_runner.run(Careless, [1, 2, 3], replace={"work": disconnects(task=2)}).completed
    assert len(lost) == 1
    assert ("settling 1 tasks failed, trying again" in caplog.text) == (executor == "process")


def test_trouble_must_be_some(flow_runner):
    with pytest.raises(ValueError, match=r"hangs\(times=0\): at least 1 attempt goes wrong"):
        hangs(times=0)
    with pytest.raises(ValueError, match=r"dies\(task=-1\): the index of a task is a whole number from 0 on"):
        dies(task=-1)
    with pytest.raises(ValueError, match="task=3: step `total` is no map step, it has one task"):
        flow_runner.run(Order, LINES, replace={"total": fails(task=3)})
    with pytest.raises(TypeError, match="give an exception to raise"):
        fails(error="boom")


def test_a_deadline_rests_while_a_person_debugs(flow_runner, request):
    class Slow(Flow):
        @step
        def first():
            request.config.hook.pytest_enter_pdb(config=request.config, pdb=None)
            time.sleep(0.3)

        @step
        def second(first):
            return "still here"

    assert flow_runner.run(Slow, timeout=0.2).output == {"second": "still here"}


def test_a_list_too_short_for_a_map_step_is_the_fault_of_the_test(flow_runner):
    with pytest.raises(AssertionError, match="gives 1 outputs, and the map step has a task 1"):
        flow_runner.run(Order, LINES, replace={"price": [10]})


def test_a_double_for_an_unknown_step_names_the_known_ones(flow_runner):
    with pytest.raises(StepNotFound, match=r"`totl`|'totl'") as unknown:
        flow_runner.run(Order, LINES, replace={"totl": 1})
    assert "did you mean `total`?" in str(unknown.value)
    assert "lines, price, total" in str(unknown.value)


def test_an_unknown_step_of_a_run_names_the_known_ones(flow_runner):
    run = flow_runner.run(Order, LINES)
    with pytest.raises(StepNotFound, match="its steps are lines, price, total"):
        run.steps["prices"]


def test_input_that_does_not_fit_is_refused_in_words(flow_runner):
    class Each(Flow):
        @map_step
        def each(item):
            return item

    with pytest.raises(InvalidInput, match="array"):
        flow_runner.run(Each, {"not": "an array"})
    with pytest.raises(InvalidInput):
        flow_runner.run(Order, {1, 2})


def test_a_changed_shape_is_recompiled_and_said(flow_runner, caplog):
    def version(number):
        class Changing(Flow, slug="changing"):
            @step
            def first():
                return number

            if number == 2:

                @step
                def second(first):
                    return first

        return Changing

    assert flow_runner.run(version(1)).output == {"first": 1}
    assert not caplog.text
    assert flow_runner.run(version(2)).output == {"second": 2}
    assert "flow changing is not what this database had and was recompiled" in caplog.text


@both
def test_a_started_run_can_be_looked_at_between_its_steps(flow_runner, executor):
    started = flow_runner.start(Order, LINES)
    assert [step.status for step in started.look().steps.values()] == ["started", "created", "created"]
    run = started.advance(until="lines")
    assert run["lines"].completed
    assert not run["total"].completed
    assert started.drain().output == {"total": 11}
    assert started.advance(until="total").completed


def test_advancing_stops_before_the_next_step_runs(flow_runner):
    run = flow_runner.start(Order, LINES).advance(until="price")
    assert (run["price"].status, run["total"].status, run.status) == ("completed", "started", "started")
    assert run["total"].attempts == 0


def test_advancing_to_an_unknown_step_names_the_known_ones(flow_runner):
    with pytest.raises(StepNotFound, match="its steps are lines, price, total"):
        flow_runner.start(Order, LINES).advance(until="end")


def test_a_large_map_is_worked_off_inline(flow_runner):
    class Wide(Flow):
        @map_step
        def each(item):
            return item + 1

    assert flow_runner.run(Wide, list(range(500)), timeout=30).output == {"each": list(range(1, 501))}


def test_what_the_debugger_or_pytest_raises_is_not_taken_for_a_failure_of_the_step(flow_runner):
    class Skipping(Flow):
        @step
        def skips():
            pytest.skip("not here")

    started = flow_runner.start(Skipping)
    with pytest.raises(pytest.skip.Exception):
        started.drain()
    task = started.look()["skips"].tasks[0]
    assert (task.status, task.attempts) == ("queued", 0)


def test_the_client_sees_what_the_runner_ran(flow_runner, pgflow, pgflow_conn):
    run = flow_runner.run(Order, LINES)
    assert pgflow.get_run(run.run_id).output == {"total": 11}
    assert pgflow_conn.execute("select count(*) from pgflow.runs").fetchone() == (1,)
