"""What a task costs the server: processor time of its process, WAL, and how many updates were heap-only."""

from __future__ import annotations

import operator
import os
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

_FLUSH_SINCE = 150_000  # before, counters arrive up to half a second late

_ASK = """
select
  w.wal_records, w.wal_fpi, w.wal_bytes,
  (select sum(n_tup_upd) from pg_stat_user_tables where schemaname = 'pgflow'),
  (select sum(n_tup_hot_upd) from pg_stat_user_tables where schemaname = 'pgflow')
from pg_stat_wal as w
"""


@dataclass(frozen=True, slots=True)
class ServerCost:
    """Counters of the server.

    Attributes:
        cpu: Seconds of processor time of this connection's process; 0 where it cannot be seen.
        records: WAL records.
        pages: Full page images in them.
        wal_bytes: Bytes of WAL.
        updates: Row updates in schema pgflow.
        heap_only: Those that wrote no index.
    """

    cpu: float = 0.0
    records: float = 0.0
    pages: float = 0.0
    wal_bytes: float = 0.0
    updates: float = 0.0
    heap_only: float = 0.0

    @classmethod
    def of(cls, conn: psycopg.Connection[Any]) -> ServerCost:
        """Read the counters as they are now."""
        if conn.info.server_version >= _FLUSH_SINCE:
            conn.execute("select pg_stat_force_next_flush()")
        found = conn.execute(_ASK).fetchone()
        assert found is not None
        return cls(_cpu_seconds(conn.info.backend_pid), *(float(value or 0) for value in found))

    def __add__(self, other: ServerCost) -> ServerCost:
        return ServerCost(*map(operator.add, astuple(self), astuple(other)))

    def __sub__(self, earlier: ServerCost) -> ServerCost:
        return ServerCost(*map(operator.sub, astuple(self), astuple(earlier)))

    def __truediv__(self, tasks: int) -> ServerCost:
        return ServerCost(*(each / tasks for each in astuple(self)))


def _cpu_seconds(pid: int) -> float:
    """Read the processor time of a process of this machine, in user and kernel mode (proc(5), fields 14 and 15)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def print_costs(costs: dict[str, ServerCost]) -> None:
    """Print one line for each load: what one task costs. The first load is the yardstick."""
    heads = f"{'CPU':>8} {'ratio':>6} {'WAL records':>12} {'WAL bytes':>10} {'row updates':>12}  heap-only"
    print(f"\n{'of each task':<44} {heads}")
    yardstick = next(iter(costs.values())).cpu
    for name, cost in costs.items():
        hot = f"{cost.heap_only / cost.updates:>9.0%}" if cost.updates else "        -"
        ratio = yardstick / cost.cpu if cost.cpu else float("nan")
        print(
            f"{name:<44} {cost.cpu * 1e6:>5.0f} us {ratio:>6.3f} {cost.records:>12.1f} {cost.wal_bytes:>10.0f} "
            f"{cost.updates:>12.2f}  {hot}"
        )
