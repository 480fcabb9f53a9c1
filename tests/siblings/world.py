"""What is in the database when a form is sent, and comparing what came back with what the form says.

Flow Greet (a map and a join) has a run with two queued tasks; Solo (one step) a run whose task a worker has started;
Routed (one step with a queue of its own) a run with a queued task.
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

from pgflow_mp import Flow, map_step, step
from tests.core.ask import column, value

from .parameters import filled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import psycopg

    from .forms import Form

__all__ = ["Greet", "Solo", "compare", "fill"]


class Greet(Flow, slug="Greet"):
    """A map and a join; its slug has an upper-case letter, the queue has none (generations QI-1)."""

    @map_step
    def upper(item):
        return item.upper()

    @step
    def join(upper):
        return "".join(upper)


class Solo(Flow, slug="Solo"):
    """One step."""

    @step
    def only():
        return 1


class Routed(Flow, slug="Routed"):
    """One step; the flow is compiled with a queue for each."""

    @step
    def only():
        return 1


def _routes(*routes: tuple[str, str]) -> str:
    return json.dumps([{"stepSlug": step_slug, "queueName": queue} for step_slug, queue in routes])


def fill(conn: psycopg.Connection[Any]) -> dict[str, str]:
    """Make it; return the names that forms may use."""
    worker = uuid.uuid4()
    conn.execute(
        "insert into pgflow.workers (worker_id, queue_name, function_name) values (%s, 'greet', 'test')", [worker]
    )
    compile_flow = "select pgflow.ensure_flow_compiled(%s, %s::jsonb, %s::text)"
    for flow, mode in ((Greet, "flow"), (Solo, "flow"), (Routed, "step")):
        conn.execute(compile_flow, [flow.definition.slug, json.dumps(flow.definition.shape()), mode])
    start = "select run_id from pgflow.start_flow(%s, %s::jsonb)"
    run = value(conn, start, "Greet", '["a", "b"]')
    solo_run, routed_run = value(conn, start, "Solo", "{}"), value(conn, start, "Routed", "{}")
    conn.execute("select pgflow.start_tasks('Solo', array(select msg_id from pgmq.q_solo), %s)", [worker])
    return {
        "worker": str(worker),
        "run": str(run),
        "solo_run": str(solo_run),
        "routed_run": str(routed_run),
        "messages": json.dumps(column(conn, "select msg_id::text from pgmq.q_greet order by msg_id")),
        "routed_messages": json.dumps(column(conn, "select msg_id::text from pgmq.q_routed__only")),
        "fresh": str(uuid.uuid4()),
        "shape": json.dumps(Greet.definition.shape()),
        "routes": _routes(("upper", "greet"), ("join", "greet")),
        "routed_shape": json.dumps(Routed.definition.shape()),
        "routed_routes": _routes(("only", "routed__only")),
    }


def compare(
    form: Form, columns: Sequence[str], found: Sequence[Sequence[str | None]], names: Mapping[str, str]
) -> None:
    """Fail when columns or rows are not what the form says.

    Args:
        form: The form that was sent.
        columns: ``name type`` of each column, in order; a name alone is compared alone.
        found: The rows, as Postgres writes values as text.
        names: What the form may name.
    """
    wanted = [each for each in form.columns.split(", ") if each]
    if wanted[-1:] == ["..."]:
        places = [columns.index(each if each in columns else each.partition(" ")[0]) for each in wanted[:-1]]
        columns, found = [columns[place] for place in places], [[row[place] for place in places] for row in found]
        wanted = wanted[:-1]
    if not all(" " in each for each in columns):
        wanted = [each.partition(" ")[0] for each in wanted]
    assert list(columns) == wanted, f"{form.name}: {columns}"

    types = [each.partition(" ")[2] for each in form.columns.split(", ")]
    assert len(found) == len(form.rows), f"{form.name}: {found}"
    for row, pattern in zip(found, form.rows, strict=True):
        for place, part in enumerate(pattern):
            _compare_value(f"{form.name}, column {columns[place]}", types[place], row[place], part, names)


def _compare_value(where: str, kind: str, found: str | None, wanted: str | None, names: Mapping[str, str]) -> None:
    if kind == "void":  # a function of language sql says NULL, one of plpgsql the empty text
        return
    if wanted == "*":
        assert found is not None, where
    elif wanted is None or found is None:
        assert found == wanted, f"{where}: {found}"
    elif kind == "jsonb":
        assert json.loads(found) == json.loads(filled(wanted, names)), f"{where}: {found}"
    else:
        assert found == filled(wanted, names), f"{where}: {found}"
