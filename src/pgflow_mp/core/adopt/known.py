"""What the other cores of the family are known to make in schema pgflow that ours does without.

Only what is named here is ever dropped. Anything else in the schema is somebody's own: it is left alone, or in the way.
Facts: core 2.1-2.8, 3.0, 8.1; generations 1.1, 4.1, 4.2, 5.3, 6, 7.1, 9.1.
"""

from __future__ import annotations

from typing import Final

FUNCTIONS: Final = frozenset(
    {
        "pgflow.start_tasks(text, bigint[], uuid)",
        "pgflow.track_worker_function(text)",
        "pgflow._create_flow_from_shape(text, jsonb)",
        "pgflow.add_step(text, text, text[], integer, integer, integer, integer, text)",
        "pgflow.read_with_poll(text, integer, integer, integer, integer, jsonb)",
    }
)
"""Signatures that the superset must not have beside its own (generations 9.1, 9.2)."""

SNIPPETS: Final = frozenset({"pgflow.prune_data_older_than(interval)"})
"""Overloads of our names that users were told to install; they go on as they are (generations 9.2 row 6)."""

INDEXES: Final = frozenset(
    {
        "idx_deps_by_flow_dep",
        "idx_runs_flow_slug",
        "idx_runs_started_at",
        "idx_runs_status",
        "idx_step_states_failed",
        "idx_step_states_flow_slug",
        "idx_step_states_ready",
        "idx_step_states_run_id",
        "idx_step_states_skipped",
        "idx_step_tasks_completed",
        "idx_step_tasks_failed",
        "idx_step_tasks_flow_run_step",
        "idx_step_tasks_last_worker",
        "idx_step_tasks_message_id",
        "idx_step_tasks_queued",
        "idx_step_tasks_queued_msg",
        "idx_step_tasks_started",
        "idx_workers_heartbeat",
        "idx_workers_started_at",
        "idx_workers_stopped_at",
    }
)
"""Indexes that ours finds its way without; those on a status, counter or time make every update write to them."""

CONSTRAINTS: Final = frozenset({("pgflow.step_states", "completed_at_or_failed_at")})
"""Constraints that a wider one of ours takes the place of: skipped steps came with 0.14."""

BESIDE: Final = frozenset({"pgflow_mp.flow_types", "pgflow_mp.task_requeues"})
"""Tables that only an install beside a foreign core has; `data` carries over what is in them."""
VIEW_BESIDE: Final = "pgflow_mp.core_"
"""How the names of the views begin through which it sees the foreign tables."""

LOCK_ORDER: Final = ("workers", "flows", "steps", "deps", "runs", "step_states", "step_tasks", "worker_functions")
"""Tables in the order in which a transaction that goes on meanwhile takes them (D-2): less of it waits in a circle."""

STRICTER: Final = {("flows", "slug_is_valid"), ("steps", "steps_step_slug_check")}
"""Constraints that rows of older cores may break: those stay, only others are held to them (generations SU-9)."""
