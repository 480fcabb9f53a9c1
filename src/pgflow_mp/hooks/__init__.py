"""Plugins: what happens in pgflow-mp is told to whoever wants to know, and some of it can be decided elsewhere.

`pgflow_mp.hooks.specs` has the hooks and what each promises; docs/hooks.md is the same for reading. A plugin is a
module, or an object, with functions of those names:

    from pgflow_mp.hooks import hookimpl

    @hookimpl
    def pgflow_task_failed(task, error):
        print(task.step_slug, error)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pgflow_mp.hooks.events import (
    Carriers,
    ChildInfo,
    FailureReason,
    Gauges,
    QueueInfo,
    RunInfo,
    StepInfo,
    TaskInfo,
    WorkerInfo,
)

if TYPE_CHECKING:
    from pgflow_mp.hooks.specs import hookimpl

__all__ = [
    "Carriers",
    "ChildInfo",
    "FailureReason",
    "Gauges",
    "QueueInfo",
    "RunInfo",
    "StepInfo",
    "TaskInfo",
    "WorkerInfo",
    "hookimpl",
]


def __getattr__(name: str) -> Any:
    if name == "hookimpl":
        # Not before it is asked for: every child imports this package, and only plugins need pluggy.
        return importlib.import_module("pgflow_mp.hooks.specs").hookimpl
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
