"""Flows that the engine's tests run in real child processes."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from pgflow_mp import Context, Flow, map_step, step


class Sums(Flow, base_delay=0):
    """A root, a map over its output, and a sum."""

    @step
    def numbers(flow_input):
        return list(range(flow_input["count"]))

    @map_step(over=numbers)
    def square(item):
        return item * item

    @step
    def total(square):
        return sum(square)


class Flaky(Flow, max_attempts=3, base_delay=0):
    """Fails until its last attempt."""

    @step
    def stubborn(ctx: Context):
        if ctx.attempt < 3:
            raise RuntimeError(f"not yet, attempt {ctx.attempt}")
        return ctx.attempt


class Hopeless(Flow, max_attempts=1):
    """Always fails."""

    @step
    def broken(flow_input):
        raise ValueError(f"cannot work with {flow_input!r}")


class Sleepy(Flow, max_attempts=1, timeout=1):
    """Sleeps longer than it may."""

    @step
    def sleep():
        time.sleep(60)


class Suicidal(Flow, max_attempts=1):
    """One step kills its own process; its neighbours do not."""

    @map_step
    def live(item):
        if item == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        return item


class Pids(Flow):
    """Tells which process ran each element."""

    @map_step
    def where(item):
        time.sleep(0.05)
        return os.getpid()


class Marked(Flow, max_attempts=1):
    """Leaves a mark when it starts, then works for a while."""

    @step
    def work(flow_input):
        with Path(flow_input["marks"]).open("a") as marks:
            marks.write(f"{os.getpid()}\n")
        time.sleep(flow_input["seconds"])
        return "done"


class AsksForInput(Flow):
    """A step that is no root asks for the run's input."""

    @step
    def first(flow_input):
        return 1

    @step
    def second(first, flow_input):
        return [first, flow_input]


class Echo(Flow, max_attempts=1):
    """Returns what it gets, one task for each element."""

    @map_step
    def echo(item):
        return item
