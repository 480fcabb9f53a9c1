"""What a mixed crew works off: two flows, one with a queue for all steps, one with a queue for each.

The work itself is one function, `work`, called by our handlers and by the replayed workers of other languages alike;
crew.mjs has it in JavaScript. Every execution writes a line into the ledger first and puts the token of that line into
its output, so that an output says which execution it came from, and the run's output which of them counted.
"""

from __future__ import annotations

import os
import time
import uuid
from typing import Any

import psycopg

from pgflow_mp import Context, Flow, map_step, step

__all__ = ["DSN_VARIABLE", "ELEMENTS", "LEDGER", "MEMBER_VARIABLE", "Crew", "CrewRouted", "expected", "work"]

DSN_VARIABLE = "PGFLOW_CREW_DSN"
MEMBER_VARIABLE = "PGFLOW_CREW_MEMBER"
ELEMENTS = 6
BIG = 150
WORK_SECONDS = 0.02

LEDGER = """
create table ledger (
  id bigint generated always as identity, flow_slug text, run_id uuid, step_slug text, task_index int,
  token uuid unique, member text, raised boolean, at timestamptz default clock_timestamp()
)
"""

_connections: dict[int, psycopg.Connection[Any]] = {}


def work(flow_slug: str, run_id: str, step_slug: str, task_index: int, given: Any) -> Any:
    """Do one task, whichever step it is of.

    Raises:
        RuntimeError: The step never succeeds, or this is the first execution of an element that takes two.
    """
    token = str(uuid.uuid4())
    conn = _connection()
    earlier = conn.execute(
        "select count(*) from ledger where run_id = %s and step_slug = %s and task_index = %s",
        (run_id, step_slug, task_index),
    ).fetchone()
    raises = step_slug in ("weak", "fate") or (step_slug == "each" and given % 5 == 0 and earlier == (0,))
    conn.execute(
        "insert into ledger (flow_slug, run_id, step_slug, task_index, token, member, raised) "
        "values (%s, %s, %s, %s, %s, %s, %s)",
        (flow_slug, run_id, step_slug, task_index, token, os.environ[MEMBER_VARIABLE], raises),
    )
    time.sleep(WORK_SECONDS)
    if raises:
        raise RuntimeError(f"{step_slug} does not succeed")
    match step_slug:
        case "numbers":
            return [given["base"] + n for n in range(ELEMENTS)]
        case "each":
            return {"value": 2 * given, "token": token}
        case "total":
            total = sum(one["value"] for one in given["each"])
            tokens = [one["token"] for one in given["each"]]
            return {"sum": total, "tokens": tokens, "kind": "big" if total >= BIG else "small", "token": token}
        case "bonus":
            return {"bonus": 10 * given["total"]["sum"], "token": token}
        case _:
            return {
                "sum": given["total"]["sum"],
                "tokens": given["total"]["tokens"],
                "bonus": given["bonus"]["bonus"] if "bonus" in given else None,
                "weak": "weak" in given,
                "token": token,
            }


def expected(base: int) -> dict[str, Any]:
    """What the last step says of a run that starts from `base`, but for the tokens."""
    total = sum(2 * (base + n) for n in range(ELEMENTS))
    return {"sum": total, "bonus": 10 * total if total >= BIG else None, "weak": False}


def _connection() -> psycopg.Connection[Any]:
    conn = _connections.get(os.getpid())
    if conn is None or conn.closed:
        conn = _connections[os.getpid()] = psycopg.connect(os.environ[DSN_VARIABLE], autocommit=True)
    return conn


def _do(ctx: Context, given: Any) -> Any:
    return work(ctx.flow_slug, str(ctx.run_id), ctx.step_slug, ctx.task_index, given)


class Crew(Flow, slug="Crew", max_attempts=30, base_delay=0, timeout=10):
    """A map, a fan-in, a condition on a step's output, one on the input, a step that is given up."""

    @step
    def numbers(flow_input, ctx: Context):
        return _do(ctx, flow_input)

    @map_step(over=numbers)
    def each(item, ctx: Context):
        return _do(ctx, item)

    @step
    def total(each, ctx: Context):
        return _do(ctx, {"each": each})

    @step(when={"total": {"kind": "big"}})
    def bonus(total, ctx: Context):
        return _do(ctx, {"total": total})

    @step(max_attempts=2, when_exhausted="skip")
    def weak(flow_input, ctx: Context):
        return _do(ctx, flow_input)

    @step(max_attempts=2, when={"fate": "doomed"})
    def fate(flow_input, ctx: Context):
        return _do(ctx, flow_input)

    @step
    def finish(total, ctx: Context, bonus=None, weak=None):
        given = {"total": total, "bonus": bonus, "weak": weak}
        return _do(ctx, {name: output for name, output in given.items() if output is not None})


class CrewRouted(Flow, slug="CrewRouted", max_attempts=30, base_delay=0, timeout=10):
    """Two steps, each with a queue of its own."""

    @step
    def numbers(flow_input, ctx: Context):
        return _do(ctx, flow_input)

    @map_step(over=numbers)
    def each(item, ctx: Context):
        return _do(ctx, item)
