"""``pgflow-mp repair``: mend what nothing would ever move again, or only tell what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgflow_mp.cli.database import session
from pgflow_mp.cli.exits import FAILED, OK
from pgflow_mp.cli.naming import known_flow
from pgflow_mp.cli.objects import as_json
from pgflow_mp.cli.output import Column, print_json, print_line, print_table
from pgflow_mp.core.queries.repair import repair

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from pgflow_mp.core.queries.repair import Damage

_COLUMNS = (
    Column("DAMAGE"),
    Column("FLOW", spare=1),
    Column("RUN"),
    Column("PLACE", least=8),
    Column("MENDED", spare=2),
)


def run(arguments: argparse.Namespace) -> int:
    """Mend, or with ``--dry-run`` tell; exit code 1 when something stays broken that was to be mended."""
    with session(arguments) as db:
        flows = [known_flow(db, slug) for slug in arguments.flows] or None
        found = db.ask(repair(dry_run=arguments.dry_run, flow_slugs=flows), "repairing")
    if arguments.json:
        print_json(as_json(found))
    elif found:
        print_table(_COLUMNS, [_row(damage, dry_run=arguments.dry_run) for damage in found])
    else:
        print_line("nothing is broken")
    return FAILED if _left(found, dry_run=arguments.dry_run) else OK


def _left(found: Sequence[Damage], *, dry_run: bool) -> bool:
    return not dry_run and not all(damage.mended for damage in found)


def _row(damage: Damage, *, dry_run: bool) -> tuple[str, ...]:
    return (
        damage.damage,
        damage.flow_slug or "",
        str(damage.run_id or ""),
        _place(damage),
        "" if dry_run else "yes" if damage.mended else "no",
    )


def _place(damage: Damage) -> str:
    """The step, with the task where it is one; else the queue, with the message where it is one."""
    place = damage.step_slug or (f"queue {damage.queue_name}" if damage.queue_name else "")
    if damage.task_index is not None:
        place += f"[{damage.task_index}]"
    return place if damage.message_id is None else f"{place}, message {damage.message_id}"
