"""The rules of the contract that are times (core 3.8.9, 3.10.5, 3.13.8; decision D-12), measured."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from benchmarks.table import seconds
from pgflow_mp.core.queries.tasks import claim_tasks
from pgflow_mp.core.statement import execute

if TYPE_CHECKING:
    from benchmarks.core import Core

_ROUNDS = 3


def print_timed_rules(core: Core) -> None:
    """Print each time beside its limit, in milliseconds; the best of some tries."""
    print("\ntimed rules                                       took       limit")
    hundred = _best(partial(core.start, "wide", 1, list(range(100))))
    thousand = _best(partial(core.start, "wide", 1, list(range(1_000))))
    ten_thousand = _best(partial(core.start, "wide", 1, list(range(10_000))))
    _line("3.8.9  start a map of 1,000", thousand, 150)
    _line("3.8.9  start a map of 10,000", ten_thousand, 800)
    _line("3.8.9  10,000 to 100 elements, ratio", ten_thousand / hundred, 150)
    _line("3.13.8 claim one task of a map of 10,000", _best(partial(_claim, core, 1)), 50)
    _line("3.13.8 claim ten", _best(partial(_claim, core, 10)), 120)
    core.drain("wide")
    _empty_chain(core)
    _line("3.10.5 start a chain of 49 empty maps", _best(partial(core.start, "empty", 1, [])), 4_900)


def _claim(core: Core, count: int) -> None:
    execute(core.conn, claim_tasks(["wide"], [core.worker_ids["wide"]], [count]))


def _empty_chain(core: Core) -> None:
    core.conn.execute("select pgflow.create_flow('empty')")
    for index in range(49):
        parents = [f"s{index - 1}"] if index else []
        core.conn.execute("select pgflow.add_step('empty', %s, %s::text[], step_type => 'map')", (f"s{index}", parents))


def _best(work: partial[None]) -> float:
    return min(seconds(work) for _ in range(_ROUNDS)) * 1_000


def _line(what: str, took: float, limit: float) -> None:
    print(f"{what:<44} {took:>9.1f} {limit:>11,.0f}", flush=True)
