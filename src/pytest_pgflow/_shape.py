"""Shape snapshots: a change that a production database would refuse fails the build, before anybody deploys it.

The shape of a flow is kept as a file beside the test, ``flow_shapes/SLUG.json``, and committed. The test asks the
database itself whether a flow of that shape would accept the one in the code (D-17), so the answer is that of the
deployment. Changed options (attempts, delays, timeouts) are updated in place there, and are no difference here.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pgflow_mp.core.queries.definitions import compile_flow
from pgflow_mp.core.statement import execute

if TYPE_CHECKING:
    from pathlib import Path

    import psycopg

    from pgflow_mp.definition import FlowDefinition

FOLDER = "flow_shapes"


def check_shape(conn: psycopg.Connection[Any], flow: FlowDefinition, beside: Path, *, update: bool) -> None:
    """Compare a flow with its snapshot, or write the snapshot.

    Args:
        conn: A database to ask; the flow is made anew in it.
        flow: The flow.
        beside: The test file.
        update: Write the snapshot instead.
    """
    __tracebackhide__ = True
    file = beside.parent / FOLDER / f"{flow.slug}.json"
    if update:
        _write(file, flow)
        return
    if not file.exists():
        pytest.fail(
            f"there is no snapshot of flow `{flow.slug}` yet: make it with `pytest --pgflow-update-shapes`"
            f" and commit {FOLDER}/{file.name}",
            pytrace=False,
        )
    execute(conn, compile_flow(flow.slug, json.loads(file.read_text("utf-8")), recompile=True))
    compiled = execute(conn, compile_flow(flow.slug, flow.shape()))
    if compiled.status == "mismatch":
        listed = "".join(f"\n  - {difference}" for difference in compiled.differences)
        pytest.fail(
            f"flow `{flow.slug}` is not what {FOLDER}/{file.name} has, and a database like that refuses it:{listed}\n"
            "Give the changed flow a new slug; or, where no run of the old one is left, recompile it there"
            " and renew the snapshot with --pgflow-update-shapes.",
            pytrace=False,
        )


def _write(file: Path, flow: FlowDefinition) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(flow.shape(), indent=2) + "\n", encoding="utf-8")
