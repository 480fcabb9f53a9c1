"""The process executor: a pool of children that can hang, crash and leak without harming each other.

`pool` hands calls to children, `nursery` brings them up, `deadlines` ends those that are out of time. `port` is
one child as the parent sees it, `launch` starts its process, `child` is what runs there, `guard` is the fork
server's first import. `wire` are the bytes between parent and child, `handlers` how a handler gets there, `logs`
and `output` what comes back besides results, `deaths` the words for a bad end.
"""

from __future__ import annotations

from pgflow_mp.executors.process.nursery import PoolBroken
from pgflow_mp.executors.process.pool import ProcessPool

__all__ = ["PoolBroken", "ProcessPool"]
