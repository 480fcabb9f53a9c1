"""``pgflow-mp schedules``: what starts by itself; list it, make it, change it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from rich.text import Text

from pgflow_mp.cli import naming
from pgflow_mp.cli.database import session
from pgflow_mp.cli.exits import OK
from pgflow_mp.cli.given import read_input
from pgflow_mp.cli.moments import read_span
from pgflow_mp.cli.objects import as_json
from pgflow_mp.cli.output import Column, print_json, print_line, print_table
from pgflow_mp.cli.progress import duration
from pgflow_mp.cli.text import safe
from pgflow_mp.cli.words import moment
from pgflow_mp.client import PgFlow
from pgflow_mp.errors import ScheduleNotFound
from pgflow_mp.rules import did_you_mean, shown

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from pgflow_mp.cli.database import Session
    from pgflow_mp.cli.output import Cell
    from pgflow_mp.core.queries.schedules import StoredSchedule

_COLUMNS = (
    Column("SCHEDULE", style="bold"),
    Column("FLOW", spare=1),
    Column("WHEN", least=12),
    Column("NEXT"),
    Column("LAST TICK", spare=2),
    Column("LAST RUN", spare=3),
    Column("REMARK", least=12),
)


def run(arguments: argparse.Namespace) -> int:
    """Do what the action says; `list` without one."""
    with session(arguments) as db:
        _ACTIONS[arguments.action](db, arguments)
    return OK


def _list(db: Session, arguments: argparse.Namespace) -> None:
    flow = None if arguments.flow is None else naming.known_flow(db, arguments.flow)
    found = PgFlow(db.dsn).list_schedules(flow, conn=db.conn)
    if arguments.json:
        print_json(as_json(found))
    elif found:
        print_table(_COLUMNS, [_row(schedule) for schedule in found])
    else:
        print_line("no schedules: `pgflow-mp schedules add FLOW` makes one, as does schedule= in a flow's code")


def _row(schedule: StoredSchedule) -> tuple[Cell, ...]:
    return (
        schedule.name,
        schedule.flow_slug,
        _when(schedule),
        moment(schedule.next_at) if schedule.next_at is not None else "",
        moment(schedule.last_tick_at) if schedule.last_tick_at is not None else "",
        str(schedule.last_run_id or ""),
        _remark(schedule),
    )


def _when(schedule: StoredSchedule) -> str:
    if schedule.every is not None:
        return f"every {duration(schedule.every.total_seconds())}"
    return f"{schedule.cron} {schedule.time_zone}"


def _remark(schedule: StoredSchedule) -> Text:
    if schedule.last_error is not None:
        return Text(safe(schedule.last_error), "red")
    if schedule.paused_at is not None:
        return Text(f"paused since {moment(schedule.paused_at)}", "yellow")
    return Text("its flow is paused" if schedule.flow_paused else "", "yellow")


def _add(db: Session, arguments: argparse.Namespace) -> None:
    with naming.flow_named(db, arguments.flow):
        made = PgFlow(db.dsn).schedule(
            arguments.flow,
            read_input(arguments.input),
            cron=arguments.cron,
            every=None if arguments.every is None else timedelta(seconds=read_span(arguments.every)),
            time_zone=arguments.time_zone,
            catch_up=arguments.catch_up,
            name=arguments.name,
            conn=db.conn,
        )
    _tell(db, arguments, made.name, "is set")


def _pause(db: Session, arguments: argparse.Namespace) -> None:
    _change(db, arguments, PgFlow(db.dsn).pause_schedule)
    _tell(db, arguments, arguments.name, "is paused")


def _resume(db: Session, arguments: argparse.Namespace) -> None:
    _change(db, arguments, PgFlow(db.dsn).resume_schedule)
    _tell(db, arguments, arguments.name, "goes on")


def _run_now(db: Session, arguments: argparse.Namespace) -> None:
    started = _change(db, arguments, PgFlow(db.dsn).run_schedule)
    if arguments.json:
        print_json({"run_id": str(started)})
    else:
        print_line(str(started))


def _delete(db: Session, arguments: argparse.Namespace) -> None:
    _change(db, arguments, PgFlow(db.dsn).delete_schedule)
    if arguments.json:
        print_json({"deleted": arguments.name})
    else:
        print_line(f"schedule {arguments.name} is deleted")


def _change(db: Session, arguments: argparse.Namespace, call: Callable[..., object]) -> object:
    """Call the API with the schedule's name; one that is not there is told with what is near."""
    try:
        return call(arguments.name, conn=db.conn)
    except ScheduleNotFound as error:
        names = [schedule.name for schedule in PgFlow(db.dsn).list_schedules(conn=db.conn)]
        meant = did_you_mean(arguments.name, names)
        raise ScheduleNotFound(
            f"there is no schedule {shown(arguments.name)} in this database{meant}; `pgflow-mp schedules` lists all"
        ) from error


def _tell(db: Session, arguments: argparse.Namespace, name: str, what: str) -> None:
    """Print the schedule as it is now."""
    schedule = PgFlow(db.dsn).get_schedule(name, conn=db.conn)
    if arguments.json:
        print_json(as_json(schedule))
        return
    following = f", next at {moment(schedule.next_at)}" if schedule.next_at is not None else ""
    print_line(f"schedule {name} of {schedule.flow_slug} {what}: {_when(schedule)}{following}")


_ACTIONS: dict[str, Callable[[Session, argparse.Namespace], None]] = {
    "list": _list,
    "add": _add,
    "pause": _pause,
    "resume": _resume,
    "run-now": _run_now,
    "delete": _delete,
}
