"""An input or output that is too large fails where it is handled (D-6, D-22)."""

from __future__ import annotations

import asyncio

import pytest

from pgflow_mp import Context, Flow, step
from pgflow_mp.cli.parser import make
from pgflow_mp.engine.strangers import UNKNOWN_STEP_TIMEOUT
from pgflow_mp.executors import Completed
from pgflow_mp.executors.aio.pool import TASKS_PER_LOOP, LoopPool
from pgflow_mp.executors.payload import MAX_PAYLOAD_MB
from pgflow_mp.executors.perform import perform, perform_async
from tests.executors.harness import call_of, play
from tests.executors.test_thread import in_threads

MEGABYTE = 1024 * 1024


class Large(Flow):
    @step
    def shout(flow_input):
        return "x" * flow_input

    @step
    def umlauts(flow_input):
        return "\u00e4" * flow_input

    @step
    async def wait(flow_input):
        return "x" * flow_input


def run(slug, flow_input, limit=1.0):
    wanted = Large.definition.step(slug)
    ctx = Context.begin(flow_slug="large", run_id=None, step_slug=slug)
    if slug == "wait":
        return asyncio.run(perform_async(wanted, ctx, b"{}", flow_input, max_payload=limit))
    return perform(wanted, ctx, b"{}", flow_input, max_payload=limit)


def of(length):
    return str(length).encode()


@pytest.mark.parametrize("slug", ["shout", "wait"])
def test_an_output_fails_with_its_size_the_limit_and_what_to_do_instead(slug):
    verdict = run(slug, of(3 * MEGABYTE))
    assert (verdict.reason, verdict.retryable) == ("output", True)
    assert verdict.error.splitlines()[0] == (
        "OutputError: the output is too large: 3.0 MB of JSON, the limit is 1 MB (`max_payload`); "
        "store it where large things are (a file, a bucket, a table) and return where it is"
    )


@pytest.mark.parametrize("slug", ["shout", "wait"])
def test_an_input_fails_for_good_without_a_call_of_the_handler(slug):
    verdict = run(slug, b'"' + b"x" * 2 * MEGABYTE + b'"')
    assert (verdict.reason, verdict.retryable) == ("input", False)
    assert verdict.error.splitlines()[0] == (
        "InvalidInput: the input is too large: 2.0 MB of JSON, the limit is 1 MB (`max_payload`); "
        "store it where large things are (a file, a bucket, a table) and pass on where it is"
    )


def test_what_is_within_the_limit_passes():
    assert len(run("shout", of(MEGABYTE - 2)).output) == MEGABYTE
    assert run("shout", of(MEGABYTE - 1)).reason == "output"


def test_bytes_count_not_characters():
    assert run("umlauts", of(MEGABYTE // 2 - 1)).error is None
    assert run("umlauts", of(MEGABYTE // 2)).reason == "output"


async def echo(flow_input):
    return flow_input


def repeat(flow_input):
    return flow_input * 2


@pytest.mark.parametrize(
    ("play", "handler", "options"),
    [(play, repeat, {"size": 1}), (play, echo, {"pool": LoopPool}), (in_threads, repeat, {"size": 1})],
    ids=["process", "async", "thread"],
)
def test_every_executor_holds_the_limit_that_it_is_given(play, handler, options):
    async def scenario(crew):
        return await crew.run(*[call_of(handler, "x" * size) for size in (1000, 12 * MEGABYTE // 10)])

    small, large = play(scenario, max_payload=1, **options)
    assert isinstance(small, Completed), small.error
    assert (large.reason, large.retryable) == ("input", False)
    assert "the limit is 1 MB" in large.error


def test_the_defaults_are_what_the_command_line_says(capsys):
    with pytest.raises(SystemExit):
        make().parse_args(["serve", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert f"at most; default: {MAX_PAYLOAD_MB:g}" in said
    assert f"at a time; default: {TASKS_PER_LOOP}" in said
    assert f"no worker knows; default: {UNKNOWN_STEP_TIMEOUT:g}" in said
