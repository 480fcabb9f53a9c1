"""pgflow for Python: flows in Postgres, steps in real processes.

Everything a flow is written with is here and needs no database; `PgFlow` and `AsyncPgFlow`, which talk to one,
are imported when they are first asked for, so that importing a module of flows stays cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pgflow_mp.context import Context
from pgflow_mp.definition import FlowDefinition, StepDefinition
from pgflow_mp.errors import (
    DatabaseUnreachable,
    DefinitionError,
    FlowNotFound,
    InstallError,
    InvalidConnection,
    InvalidCursor,
    InvalidDsn,
    InvalidInput,
    InvalidRunId,
    InvalidSchedule,
    InvalidTaskInput,
    NonRetryable,
    NotInstalled,
    NotPermitted,
    OutputError,
    PgflowError,
    PluginError,
    RunExists,
    RunFailed,
    RunNotFound,
    RunNotRetryable,
    RunTimeout,
    ScheduleNotFound,
    ServerUnavailable,
    ShapeMismatch,
    StepNotFound,
    WorkerNotFound,
)
from pgflow_mp.flow import Flow, map_step, step
from pgflow_mp.jobs import Job, job
from pgflow_mp.registry import handles
from pgflow_mp.results import Run, StepState, StepTask
from pgflow_mp.schedule import Schedule

if TYPE_CHECKING:
    from pgflow_mp.client import AsyncPgFlow, HealthReport, PgFlow, RunPage

__version__ = "0.1.0"

__all__ = [
    "AsyncPgFlow",
    "Context",
    "DatabaseUnreachable",
    "DefinitionError",
    "Flow",
    "FlowDefinition",
    "FlowNotFound",
    "HealthReport",
    "InstallError",
    "InvalidConnection",
    "InvalidCursor",
    "InvalidDsn",
    "InvalidInput",
    "InvalidRunId",
    "InvalidSchedule",
    "InvalidTaskInput",
    "Job",
    "NonRetryable",
    "NotInstalled",
    "NotPermitted",
    "OutputError",
    "PgFlow",
    "PgflowError",
    "PluginError",
    "Run",
    "RunExists",
    "RunFailed",
    "RunNotFound",
    "RunNotRetryable",
    "RunPage",
    "RunTimeout",
    "Schedule",
    "ScheduleNotFound",
    "ServerUnavailable",
    "ShapeMismatch",
    "StepDefinition",
    "StepNotFound",
    "StepState",
    "StepTask",
    "WorkerNotFound",
    "__version__",
    "handles",
    "job",
    "map_step",
    "step",
]


_CLIENT = ("AsyncPgFlow", "HealthReport", "PgFlow", "RunPage")


def __getattr__(name: str) -> Any:
    if name in _CLIENT:
        # By name, not by statement: the root is imported by every layer and must depend on none above it.
        return getattr(importlib.import_module("pgflow_mp.client"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
