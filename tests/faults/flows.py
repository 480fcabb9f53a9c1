"""The flow of the storm: every task writes into a ledger before it returns, and now and then dies by itself."""

from __future__ import annotations

import os
import random
import resource
import time

import psycopg

from pgflow_mp import Context, Flow, map_step, step

ELEMENTS = 12
MOST_ATTEMPTS = 40
DSN_VARIABLE = "PGFLOW_FAULTS_DSN"

# Of a thousand first attempts so many end like this; later attempts are spared, so that the policy is not used up.
EXITS, BOMBS, RAISES, SLOW = 10, 10, 20, 20


class Storm(Flow, max_attempts=MOST_ATTEMPTS, base_delay=0, timeout=6):
    """One root, a map over its output, and a sum: the sum is right only if every element counted exactly once."""

    @step
    def numbers(flow_input, ctx: Context):
        enter(ctx)
        return [flow_input["base"] + n for n in range(ELEMENTS)]

    @map_step(over=numbers)
    def work(item, ctx: Context):
        enter(ctx)
        return {"value": item, "attempt": ctx.attempt}

    @step
    def total(work, ctx: Context):
        enter(ctx)
        return sum(element["value"] for element in work)


def enter(ctx: Context) -> None:
    """Write the attempt into the ledger, work for some milliseconds, and meet the attempt's fate."""
    with psycopg.connect(os.environ[DSN_VARIABLE], autocommit=True, connect_timeout=5) as conn:
        conn.execute(
            "insert into ledger (run_id, step_slug, task_index, attempt, pid) values (%s, %s, %s, %s, %s)",
            (ctx.run_id, ctx.step_slug, ctx.task_index, ctx.attempt, os.getpid()),
        )
    chance = random.Random(f"{ctx.run_id} {ctx.step_slug} {ctx.task_index}").randrange(1000)
    time.sleep(chance / 50_000)
    if ctx.attempt == 1:
        _fate(chance)


def _fate(chance: int) -> None:
    if chance < EXITS:
        os._exit(7)
    elif chance < EXITS + BOMBS:
        _explode()
    elif chance < EXITS + BOMBS + RAISES:
        raise RuntimeError("a handler's own error")
    elif chance < EXITS + BOMBS + RAISES + SLOW:
        time.sleep(1)


def _explode() -> None:
    """Take more memory than there may be; the limit is lifted again for the tasks to come."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, hard))
    try:
        hoard = [bytearray(64 << 20) for _ in range(64)]
        raise AssertionError(f"took {len(hoard)} blocks beyond the limit")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
