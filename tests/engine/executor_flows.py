"""Flows whose steps ask for another place to run, or for more or less of the worker."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path

from pgflow_mp import Flow, map_step, step


def note(path, text):
    with Path(path).open("a") as file:
        file.write(f"{text}\n")


class Everywhere(Flow, max_attempts=1):
    """One step of each kind; tells where it ran."""

    @step
    def process():
        return [os.getpid(), threading.current_thread() is threading.main_thread()]

    @step
    async def loop():
        return [os.getpid(), asyncio.get_running_loop().is_running()]

    @step(executor="thread")
    def thread():
        return [os.getpid(), threading.get_ident()]

    @step(executor="inline")
    def inline():
        return [os.getpid(), threading.get_ident()]


class Waiting(Flow, max_attempts=1, timeout=30):
    """Many async tasks that wait."""

    @map_step
    async def wait(item):
        await asyncio.sleep(item)
        return os.getpid()


class Hanging(Flow, max_attempts=1, timeout=1):
    """Steps past their time, in a loop and in a thread."""

    @step
    async def waits():
        await asyncio.sleep(3600)

    @step(executor="thread", when_exhausted="skip")
    def hangs():
        time.sleep(3600)


class Limited(Flow, max_attempts=1):
    """A saturated step, and another one of the same flow behind it in the queue."""

    @map_step(concurrency=1)
    def a_slow(item):
        note(item["log"], "begin")
        time.sleep(item["seconds"])
        note(item["log"], "end")

    @step
    def quick(flow_input):
        return "done"


class Heavy(Flow, max_attempts=1):
    """Steps that take a whole worker of two children, among others that take one."""

    @map_step
    def light(item):
        note(item, "light begins")
        time.sleep(0.2)
        note(item, "light ends")

    @map_step(processes=2)
    def heavy(item):
        note(item, "heavy begins")
        time.sleep(0.2)
        note(item, "heavy ends")


class Crowd(Flow, max_attempts=1):
    """Many short tasks."""

    @map_step
    def work(item):
        time.sleep(0.002)


class Few(Flow, max_attempts=1):
    """Some short tasks."""

    @map_step
    def work(item):
        time.sleep(0.002)


class Picky(Flow, max_attempts=5, base_delay=0, retry_on=ConnectionError):
    """Raises what is worth another try, then what is not."""

    @step
    def call(ctx):
        if ctx.attempt < 3:
            raise ConnectionResetError("again")
        raise ValueError("no use")
