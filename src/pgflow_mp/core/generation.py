"""Whose schema pgflow a database has, of which generation it is, and how our functions can serve it.

The TypeScript and the Elixir library have gone through generations that refuse each other's databases. `probe` tells
them apart by what is there, in one round trip, and needs no right on any of it. What it finds are the capabilities of
the core; the name of a generation is only what people call them by (generations 10).

How a core is served (`Core.tier`):

- ``own``: pgflow-mp made it, and all generations' workers run on it.
- ``sets``: tasks name their queue and know six statuses; our state machine, which works on sets, runs on its tables.
- ``views``: older; it runs on views of its tables, which have what these lack (`beside`).
- None: it cannot be served; `Core.reason` says why.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pgflow_mp.core.queries.probe import catalog_facts
from pgflow_mp.core.statement import Statement

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["STATUSES", "Core", "Maker", "Pgmq", "Tier", "probe"]

Maker = Literal["nobody", "pgflow-mp", "typescript", "elixir", "unknown"]
Tier = Literal["own", "sets", "views"]

STATUSES = frozenset({"queued", "started", "completed", "failed", "skipped", "cancelled"})
"""What a task can be since 0.15.1 (generations 2)."""
_OLD_STATUSES = STATUSES - {"skipped", "cancelled"}

_OUR_LABEL = "pgflow-mp "
_STAMP = re.compile(r"version=(\d+)$")

# Without these nothing can be served: core 2, 3; the columns that came last are those of 0.8 (core 8.2).
_TABLES = {
    "flows": {"flow_slug", "opt_max_attempts", "opt_base_delay", "opt_timeout"},
    "steps": {"flow_slug", "step_slug", "step_type", "step_index", "deps_count", "opt_timeout", "opt_start_delay"},
    "deps": {"flow_slug", "dep_slug", "step_slug"},
    "runs": {"run_id", "flow_slug", "status", "input", "output", "remaining_steps"},
    "step_states": {"run_id", "step_slug", "status", "remaining_tasks", "initial_tasks", "remaining_deps"},
    "step_tasks": {"run_id", "step_slug", "task_index", "message_id", "status", "attempts_count", "last_worker_id"},
    "workers": {"worker_id", "queue_name", "function_name", "last_heartbeat_at", "deprecated_at"},
}
_CALLS = (
    "start_flow(text,jsonb,uuid)",
    "complete_task(uuid,text,integer,jsonb)",
    "fail_task(uuid,text,integer,text)",
    "create_flow(text,integer,integer,integer)",
    "set_vt_batch(text,bigint[],integer[])",
)
_CLAIMS = {
    "start_tasks(text,bigint[],uuid)": 3,
    "start_tasks(text,bigint[],uuid,text)": 4,
    "start_tasks(text,bigint[],uuid,text,text)": 5,
}
_COMPILES = {
    "ensure_flow_compiled(text,jsonb)": 2,
    "ensure_flow_compiled(text,jsonb,boolean)": 3,
    "ensure_flow_compiled(text,jsonb,text,jsonb)": 4,
}
_TRACKS = {"track_worker_function(text)": 1, "track_worker_function(text,text)": 2}

# What people add to the schema for themselves tells nothing of the core.
_OF_THE_CONTRACT = frozenset(
    {
        *("create_flow", "add_step", "delete_flow_and_data", "ensure_flow_compiled", "is_valid_slug"),
        *("start_flow", "start_ready_steps", "maybe_complete_run", "cascade_complete_taskless_steps"),
        *("cascade_resolve_conditions", "_cascade_force_skip_steps"),
        *("start_tasks", "complete_task", "fail_task", "_archive_task_message", "set_vt_batch"),
        *("calculate_retry_delay", "requeue_stalled_tasks", "recover_stalled_tasks"),
        *("track_worker_function", "mark_worker_stopped", "register_worker"),
    }
)


@dataclass(frozen=True, slots=True)
class Pgmq:
    """The pgmq below a core (generations 10, probe 18).

    Attributes:
        extension: Its version; None where it was installed from SQL.
        conditional: Whether a poll takes a condition.
        notify: Whether it can notify of new messages.
        validates: Whether it validates names of queues, as cores from 0.17 on need.
        headers: Whether messages have headers: 1.5 or later.
    """

    extension: str | None
    conditional: bool
    notify: bool
    validates: bool
    headers: bool


@dataclass(frozen=True, slots=True)
class Core:
    """A database's schema pgflow by its capabilities.

    Attributes:
        database: The database that was looked at.
        installed: Whether pgflow-mp is installed there: its own core, or functions beside somebody else's.
        owner: Who owns the schema; None where there is none.
        occupied: Whether anything is in it.
        label: What its maker wrote on the version stamp of the core, such as ``pgflow-mp version=2``; None without one.
        core_version: The number that ends it (generations 7.1).
        helper_version: That of the Elixir helpers' stamp.
        columns: Of every table, view and composite type in it, in their order.
        calls: The functions in it by signature, such as ``start_tasks(text,bigint[],uuid)``, with how many of the
            parameters have defaults.
        statuses: What a task can be.
        telemetry: Whether it reports to its makers (generations 6).
        realtime: Whether the database has ``realtime.send``, without which foreign cores start no run (core 1.5).
        local: Whether it takes itself for a development database, and recompiles changed flows (core 3.3).
        cron: Whether there is a pg_cron, which may drive the recovery of stalled tasks (core 5.3).
        pgmq: The queues below it; None where there are none.
        fingerprint: A digest of what functions made for this core depend on: columns with their types, signatures of
            the contract's functions, statuses. Another one means: make them anew.
    """

    database: str
    installed: bool
    owner: str | None
    occupied: bool
    label: str | None
    core_version: int | None
    helper_version: int | None
    columns: Mapping[str, tuple[str, ...]]
    calls: Mapping[str, int]
    statuses: frozenset[str]
    telemetry: bool
    realtime: bool
    local: bool
    cron: bool
    pgmq: Pgmq | None
    fingerprint: str

    @property
    def claims(self) -> frozenset[int]:
        """With how many arguments tasks are claimed: 3, 4 or 5 (probes 1 to 3)."""
        return frozenset(arity for call, arity in _CLAIMS.items() if call in self.calls)

    @property
    def compiles(self) -> frozenset[int]:
        """With how many arguments flows are compiled: 2, 3 (a flag) or 4 (routes); none before 0.10 (probe 4)."""
        return frozenset(arity for call, arity in _COMPILES.items() if call in self.calls)

    @property
    def tracks(self) -> frozenset[int]:
        """With how many arguments worker functions are tracked; 1 alone registers them as HTTP ones (probe 5)."""
        return frozenset(arity for call, arity in _TRACKS.items() if call in self.calls)

    @property
    def hardened(self) -> bool:
        """Whether the rules of 0.15.1 hold: honest claims, visibility, ends of tasks (probe 7; generations 2)."""
        return "cancelled" in self.statuses

    @property
    def queue_identity(self) -> bool:
        """Whether steps and tasks name their queue (probe 8)."""
        return self.has("steps", "queue_name") and self.has("step_tasks", "queue_name")

    @property
    def step_queues(self) -> bool:
        """Whether steps may have queues of their own (probe 9)."""
        return self.queue_identity and self.has("flows", "queue_mode")

    @property
    def strict_slugs(self) -> bool:
        """Whether ``_a`` and ``a__b`` are refused: the rule came with queues of single steps (generations SL-1)."""
        return self.step_queues

    @property
    def conditions(self) -> bool:
        """Whether steps may have conditions and be skipped: from 0.14 on."""
        return self.has("steps", "when_unmet")

    @property
    def record(self) -> tuple[str, ...]:
        """What a claim returns (probe 12)."""
        return self.columns.get("step_task_record", ())

    @property
    def made_by(self) -> Maker:
        """Whose it is."""
        if not self.occupied:
            return "nobody"
        # Nobody else makes one with both claims; its stamp may have been lost.
        if (self.label or "").startswith(_OUR_LABEL) or (self.installed and self.claims >= {4, 5}):
            return "pgflow-mp"
        if self._what_is_missing() is not None or self.claims >= {4, 5}:
            return "unknown"
        if self.has("flows", "flow_type") or self.helper_version is not None or self.core_version is not None:
            return "elixir"
        return "typescript"

    @property
    def generation(self) -> str | None:
        """What people call its capabilities, of later ones the last that is known; None where there is no core."""
        if self.made_by == "nobody" or self._what_is_missing() is not None:
            return None
        if self.claims >= {4, 5}:
            return "superset"
        if self.made_by == "elixir":
            return "elixir 0.4" if self.queue_identity else "elixir 0.3"
        return self._generation_of_typescript()

    @property
    def name(self) -> str:
        """What it is, in words that fit behind "this database has"."""
        match self.made_by:
            case "nobody":
                return "no pgflow"
            case "pgflow-mp":
                return "pgflow-mp's core"
            case "typescript":
                return f"the TypeScript core, generation {self.generation}"
            case "elixir":
                return f"the Elixir core, generation {(self.generation or '').removeprefix('elixir ')}"
        return "a schema pgflow of unknown origin"

    @property
    def tier(self) -> Tier | None:
        """How it is served; None when it is not (see `reason`)."""
        if self.made_by == "pgflow-mp":
            return "own"
        if self.reason is not None:
            return None
        return "sets" if self.queue_identity and self.statuses == STATUSES else "views"

    @property
    def reason(self) -> str | None:
        """Why it is not served, in a sentence without its end; None when it is."""
        if self.made_by == "nobody":
            return "there is no pgflow in this database"
        if self.made_by == "pgflow-mp":
            return None
        missing = self._what_is_missing()
        if missing is not None:
            return f"its schema pgflow has no {missing}: it was not made by pgflow, or by one older than 0.8"
        if self.statuses not in (STATUSES, _OLD_STATUSES):
            strange = ", ".join(sorted(self.statuses ^ STATUSES)) or "none"
            return f"its tasks know other statuses than those of any generation that is known ({strange})"
        return None

    def has(self, table: str, column: str) -> bool:
        """Whether a table has a column."""
        return column in self.columns.get(table, ())

    def _what_is_missing(self) -> str | None:
        """Name the first thing that every core which can be served has, and this one does not."""
        for table, columns in _TABLES.items():
            if table not in self.columns:
                return f"table {table}"
            for column in sorted(columns - set(self.columns[table])):
                return f"column {table}.{column}"
        for call in _CALLS:
            if call not in self.calls:
                return f"function {call}"
        if not self.claims:
            return "function start_tasks"
        return None if "task_index" in self.record else "attribute task_index of type step_task_record"

    def _generation_of_typescript(self) -> str:
        """Core 8.2 up to 0.14, generations 10 from there on; by what came last."""
        signs = (
            ("0.17.1", self.has("workers", "pgflow_version")),
            ("0.17.0", self.step_queues),
            ("94490709", self.queue_identity),
            ("0.16.0", self.hardened and 2 in self.compiles),
            ("0.15.1", self.hardened),
            ("0.15.0", 2 in self.tracks),
            ("0.14", self.conditions),
            ("0.13", self.has("step_states", "output")),
            ("0.12", "flow_input" in self.record),
            ("0.11", 3 in self.compiles),
            ("0.10", 2 in self.compiles),
        )
        return next((generation for generation, there in signs if there), "0.8")


def probe() -> Statement[Core]:
    """Look at the schema pgflow of a database, whoever made it; one round trip, and no right is needed."""
    facts = catalog_facts()
    return Statement(facts.sql, facts.params, lambda found: _core(facts.read(found)))


def _core(facts: Mapping[str, Any]) -> Core:
    label = facts["stamps"].get("pgflow_version")
    statuses = frozenset(re.findall(r"'([\w-]+)'", facts["statuses"] or ""))
    return Core(
        database=facts["database"],
        installed=facts["installed"],
        owner=facts["schema"],
        occupied=facts["occupied"],
        label=label,
        core_version=_stamp(label),
        helper_version=_stamp(facts["stamps"].get("extensions_version")),
        columns={table: tuple(name for name, _ in columns) for table, columns in facts["columns"].items()},
        calls=facts["calls"],
        statuses=statuses,
        telemetry=facts["telemetry"],
        realtime=facts["realtime"],
        local=facts["local"],
        cron=facts["cron"],
        pgmq=Pgmq(**facts["pgmq"]) if facts["pgmq"] else None,
        fingerprint=_fingerprint(facts, statuses),
    )


def _stamp(comment: str | None) -> int | None:
    found = _STAMP.search(comment or "")
    return int(found[1]) if found else None


def _fingerprint(facts: Mapping[str, Any], statuses: frozenset[str]) -> str:
    """Digest what functions depend on; what people add for themselves changes nothing of it."""
    depends = {
        "columns": {table: facts["columns"].get(table) for table in (*_TABLES, "step_task_record")},
        "calls": {call: n for call, n in facts["calls"].items() if call.partition("(")[0] in _OF_THE_CONTRACT},
        "statuses": sorted(statuses),
    }
    return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()
