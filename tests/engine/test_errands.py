"""What tasks ask of their worker (`ctx`), wherever they run."""

from __future__ import annotations

import time

import pytest

from pgflow_mp import Context, Flow, PgflowError, step
from pgflow_mp.executors.services import Allowance
from tests.engine.errand_flows import Chatty, Curious, Keyed, Untidy

BLOCKING = ("in_process", "in_thread", "in_line")


@pytest.mark.parametrize("executor", ["process", "inline"])
def test_a_handler_gets_what_it_asks_for_in_every_executor(flow_runner, executor):
    given = {"n": 3}
    run = flow_runner.run(Curious, given, executor=executor, timeout=60)
    for slug in BLOCKING:
        output = run.steps[slug].output
        assert output["input"] == given
        assert (output["one"], output["same"], output["cancelled"]) == (1, True, False)
        assert output["name"] == "pgflow-mp task"
        assert output["key"] == f"{run.run_id}/{slug}/0"
        assert (run.steps[slug].tasks[0].progress.fraction, run.steps[slug].tasks[0].progress.message) == (0.5, "half")
    in_loop = run.steps["in_loop"].output
    assert (in_loop["input"], in_loop["one"], in_loop["same"]) == (given, 1, executor == "process")
    assert (in_loop["thread"]["one"], in_loop["thread"]["input"]) == (1, given)
    assert run.steps["in_loop_of_its_own"].output == {"input": given, "one": 1}
    assert run.steps["begin"].tasks[0].progress is None


@pytest.mark.parametrize("executor", ["process", "inline"])
def test_a_connection_comes_back_as_new(flow_runner, executor):
    runner_options = {"executor": executor, "timeout": 30}
    run = flow_runner.run(Untidy, {}, **runner_options)
    same, left, unset, autocommit = run.steps["find"].output
    assert (left, unset, autocommit) == (0, True, True)
    assert same or executor == "process"  # another child has another one
    assert run.steps["survive"].output == [True, 1]


def test_a_handler_that_reports_all_the_time_floods_nobody(flow_runner):
    began = time.monotonic()
    run = flow_runner.run(Chatty, [20_000], executor="process", timeout=30)
    (task,) = run.steps["say"].tasks
    assert task.progress.message.endswith(" of 20000")
    assert time.monotonic() - began < 20


def test_reports_are_a_few_at_once_then_so_many_a_second(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("pgflow_mp.executors.services.time.monotonic", lambda: now[0])
    allowance = Allowance()
    assert sum(allowance.take() for _ in range(1000)) == 20
    now[0] += 0.5
    assert sum(allowance.take() for _ in range(1000)) == 10


def test_the_idempotency_key_is_the_same_at_every_attempt_and_progress_is_that_of_the_last(flow_runner):
    run = flow_runner.run(Keyed, ["a", "b"])
    keys = [task.output for task in run.steps["keep"].tasks]
    assert keys == [f"{run.run_id}/keep/0", f"{run.run_id}/keep/1"]
    assert [task.progress.message for task in run.steps["keep"].tasks] == ["attempt 2", "attempt 2"]


def test_progress_of_an_attempt_that_is_over_is_not_shown(flow_runner, pgflow):
    class Half(Flow, max_attempts=2, base_delay=600):
        @step
        def work(ctx):
            ctx.progress(0.9)
            if ctx.attempt == 1:
                raise RuntimeError("no")

    started = flow_runner.start(Half)
    with pytest.raises(TimeoutError):
        started.drain(timeout=0.3, skip_delays=False)
    assert started.look().steps["work"].tasks[0].progress.fraction == 0.9
    silent = flow_runner.run(Half, replace={"work": lambda: 1})
    assert silent.steps["work"].tasks[0].progress is None


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (("half",), TypeError, "a number from 0 to 1, not 'half'"),
        ((True,), TypeError, "a number from 0 to 1, not True"),
        ((float("nan"),), ValueError, "is NaN"),
        ((0.5, 3), TypeError, "is text, not 3"),
    ],
)
def test_progress_that_is_none_is_told(arguments, error, says):
    with pytest.raises(error, match=says):
        context().progress(*arguments)


def test_progress_is_bounded_and_storable(flow_runner):
    class Loud(Flow):
        @step
        def work(ctx):
            ctx.progress(7, "\x00\ud800" + "x" * 1000)

    progress = flow_runner.run(Loud).steps["work"].tasks[0].progress
    assert progress.fraction == 1.0
    assert progress.message == "?" + "x" * 498
    assert str(progress) == f"100% {progress.message}"


def test_a_handler_sees_that_its_run_was_cancelled(flow_runner, pgflow):
    seen = []

    class Patient(Flow):
        @step
        def wait(ctx):
            seen.append(ctx.cancelled)
            pgflow.cancel_run(ctx.run_id)
            seen.append(ctx.cancelled)

    run = flow_runner.run(Patient, check=False)
    assert seen == [False, True]
    assert run.cancelled


def test_a_context_without_a_worker_says_so():
    ctx = context()
    ctx.progress(0.5)
    assert not ctx.cancelled
    for ask in (lambda: ctx.flow_input, ctx.connection, ctx.async_connection):
        with pytest.raises(PgflowError, match="this context was made without a"):
            ask()


def test_a_step_alone_has_the_context_of_a_task(flow_runner):
    output = flow_runner.step(Curious, "in_process", begin=1, flow_input={"n": 5}, ctx={"attempt": 2})
    assert (output["input"], output["one"], output["same"]) == ({"n": 5}, 1, True)


def test_a_loop_does_not_wait_for_a_blocking_connection(flow_runner):
    class Blocking(Flow, max_attempts=1):
        @step
        async def work(ctx):
            with ctx.connection():
                pass

    run = flow_runner.run(Blocking, executor="process", check=False)
    assert "use `async with ctx.async_connection()`" in run.steps["work"].error


def test_the_database_of_handlers_can_be_another_than_the_workers(pgflow_dsn, pgflow, caplog):
    from pgflow_mp.engine.errands import TaskErrands
    from pgflow_mp.engine.worker import Worker

    assert isinstance(Worker(pgflow_dsn, [])._errands, TaskErrands)
    assert Worker(pgflow_dsn, [])._errands.dsn == pgflow_dsn
    assert Worker(pgflow_dsn, [], task_dsn="service=tasks")._errands.dsn == "service=tasks"


def context():
    import uuid

    return Context.begin(flow_slug="f", run_id=uuid.uuid4(), step_slug="s")
