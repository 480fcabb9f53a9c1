"""Jobs: a function, or a class with one, as a flow of one step."""

from __future__ import annotations

import os
import pickle

import pytest

from pgflow_mp import Context, DefinitionError, Flow, FlowDefinition, Job, job, step
from pgflow_mp.flow import as_definition


@job
def greet(person):
    """Greets."""
    return f"hello {person['name']}"


@job(slug="shout", max_attempts=5, base_delay=2, timeout=9, start_delay=1, retry_on=OSError, concurrency=3)
async def cry(text: str, ctx: Context):
    return f"{text} {ctx.attempt}"


class Count(Job, timeout=7, processes=2):
    """Counts."""

    def perform(words):
        return len(words)


class CountSlowly(Count, timeout=70):
    pass


class WhereAmI(Job):
    def perform():
        return os.getpid()


# Defining


def test_a_jobs_step_has_the_jobs_slug():
    assert greet.slug == greet.step("greet").slug == "greet"
    assert Count.definition.slug == Count.definition.step("count").slug == "count"


def test_a_job_is_called_like_its_function():
    assert greet({"name": "Ada"}) == "hello Ada"
    assert Count.perform("abc") == 3


def test_options_of_the_contract_are_the_flows_and_the_others_the_steps():
    flow = as_definition(cry)
    assert (flow.slug, flow.max_attempts, flow.base_delay, flow.timeout) == ("shout", 5, 2, 9)
    assert (flow.step("shout").start_delay, flow.step("shout").concurrency) == (1, 3)
    assert flow.step("shout").retry_on == (OSError,)
    assert flow.step("shout").runs_in == "async"
    assert flow.shape()["options"] == {"maxAttempts": 5, "baseDelay": 2, "timeout": 9}


def test_a_subclass_of_a_job_inherits_function_and_options_and_has_a_slug_of_its_own():
    flow = CountSlowly.definition
    assert (flow.slug, flow.timeout, flow.step("count_slowly").processes) == ("count_slowly", 70, 2)


def test_a_job_tells_where_it_comes_from_and_what_it_does():
    assert (greet.source, greet.description) == (f"{__name__}:greet", "Greets.")
    assert (Count.definition.source, Count.definition.description) == (f"{__name__}:Count", "Counts.")


def test_a_flow_with_one_step_is_no_job():
    class Alone(Flow):
        @step
        def alone():
            pass

    assert not Alone.definition.is_job
    assert greet.is_job
    assert Count.definition.is_job


def test_a_job_made_of_a_function_is_a_definition_like_any_other():
    assert isinstance(greet, FlowDefinition)
    assert pickle.loads(pickle.dumps(Count)) is Count


def without_function():
    class Empty(Job):
        pass


def with_a_step():
    class Steps(Job):
        @step
        def first():
            pass


def instance():
    Count({})


def takes_an_item(item):
    pass


def takes_two(order, customer):
    pass


def run(order):
    pass


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (without_function, "class Empty: a job needs a function `perform`"),
        (with_a_step, "class Steps: a job has one function, `perform`, and no steps, but this one has `first`"),
        (instance, r"jobs have no instances; .*Count\.perform\("),
        (lambda: Job.definition, "is no flow itself"),
        (lambda: job(takes_an_item), "job `takes_an_item`: a job has no `item`"),
        (lambda: job(takes_two), "takes `order` and `customer`; put them into one JSON object"),
        (lambda: job(run), "job `run`: `run` is a reserved word"),
        (lambda: job(max_attempt=3)(greet.steps[0].handler), r"no option `max_attempt` \(did you mean `max_attempts`"),
        (lambda: job(timeout=0)(greet.steps[0].handler), "job `greet`: timeout must be at least 1"),
        (lambda: job(executor="async")(greet.steps[0].handler), "job `greet`: executor='async' runs `async def`"),
        (lambda: job(slug="a" * 48)(greet.steps[0].handler), "has 48 characters; the most is 47"),
        (lambda: job(greet), "@job makes a function a job, not FunctionJob"),
        (lambda: job(Count), "@job makes a function a job, not <flow Count"),
        (lambda: job(3), "@job decorates a function, not 3"),
    ],
)
def test_what_is_no_job_is_told_when_it_is_made(wrong, said):
    with pytest.raises(DefinitionError, match=said):
        wrong()


# Running


@pytest.mark.parametrize("executor", ["inline", "process"])
def test_jobs_run_wherever_flows_do(flow_runner, executor):
    assert flow_runner.run(greet, {"name": "Ada"}, executor=executor).output == {"greet": "hello Ada"}
    assert flow_runner.run(cry, "hey", executor=executor).output == {"shout": "hey 1"}
    assert flow_runner.run(CountSlowly, ["a", "b"], executor=executor).output == {"count_slowly": 2}


def test_a_job_without_parameters_runs_in_a_process(flow_runner):
    assert flow_runner.run(WhereAmI, executor="process").output["where_am_i"] != os.getpid()


def test_a_job_defined_in_a_test_runs_in_a_process(flow_runner):
    @job
    def double(n):
        return 2 * n

    assert flow_runner.run(double, 4, executor="process").output == {"double": 8}


def test_the_input_may_be_called_flow_input_in_a_job_too(flow_runner):
    assert flow_runner.run(job(slug="echo")(lambda flow_input: flow_input), [1]).output == {"echo": [1]}


def test_a_double_of_a_job_takes_the_input_under_any_name(flow_runner):
    run = flow_runner.run(greet, {"name": "Ada"}, replace={"greet": lambda somebody: somebody["name"]})
    assert run.output == {"greet": "Ada"}


def test_the_database_knows_jobs_from_flows(pgflow, pgflow_conn):
    class Plain(Flow):
        @step
        def plain():
            pass

    for flow in (greet, Count, Plain):
        pgflow.compile(flow)
        assert pgflow.compile(flow).status == "verified"
    types = dict(pgflow_conn.execute("select flow_slug, flow_type from pgflow.flows").fetchall())
    assert types == {"greet": "job", "count": "job", "plain": "flow"}
