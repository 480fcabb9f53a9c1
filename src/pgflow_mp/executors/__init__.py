"""Where a handler runs: in a child process (`process`) or in this one (`inline`).

Every executor takes a `TaskCall` and answers with exactly one `Outcome`; neither knows Postgres. The modules
here are cheap to import: what is heavy (`multiprocess` brings `dill`) is imported when a pool starts.
"""

from __future__ import annotations

from pgflow_mp.executors.base import Completed, Executor, Failed, Outcome, TaskCall
from pgflow_mp.hooks.events import FailureReason

__all__ = ["Completed", "Executor", "Failed", "FailureReason", "Outcome", "TaskCall"]
