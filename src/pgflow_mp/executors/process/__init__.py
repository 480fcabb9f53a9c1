"""The process executor: a pool of children that can hang, crash and leak without harming each other.

`pool` decides, `port` is one child as the parent sees it, `child` is what runs there, `launch` starts it;
`wire` are the bytes between them, `handlers` how a handler gets there, `logs` and `output` what comes back
besides results, `deaths` the words for a bad end, `guard` the fork server's first import.
"""

from __future__ import annotations

from pgflow_mp.executors.process.pool import PoolBroken, ProcessPool

__all__ = ["PoolBroken", "ProcessPool"]
