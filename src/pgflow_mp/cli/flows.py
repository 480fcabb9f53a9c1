"""``pgflow-mp flows``: the flows of the database, or one of them with its steps."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rich.text import Text

from pgflow_mp.cli.database import session
from pgflow_mp.cli.exits import OK
from pgflow_mp.cli.naming import stored_flow
from pgflow_mp.cli.objects import as_json
from pgflow_mp.cli.output import Column, print_json, print_line, print_table
from pgflow_mp.cli.words import moment, status_text
from pgflow_mp.core.queries.definitions import flow_activity, list_flows, list_slugs
from pgflow_mp.core.queries.schedules import paused_flows
from pgflow_mp.rules import counted

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping
    from datetime import datetime

    from pgflow_mp.cli.database import Session
    from pgflow_mp.core.queries.definitions import FlowActivity, StoredFlow, StoredStep

_FLOW_COLUMNS = (
    Column("FLOW", style="bold"),
    Column("TYPE", spare=3),
    Column("STEPS", justify="right", spare=2),
    Column("LIVE WORKERS", justify="right"),
    Column("PAUSED", spare=4),
    Column("LATEST RUN"),
    Column("STATUS"),
    Column("STARTED", spare=5),
)
_STEP_COLUMNS = (
    Column("STEP", style="bold"),
    Column("TYPE"),
    Column("AFTER", least=10),
    Column("ATTEMPTS", justify="right"),
    Column("BASE DELAY", justify="right", spare=2),
    Column("TIMEOUT", justify="right"),
    Column("START DELAY", justify="right", spare=1),
    Column("CONDITIONS", least=10),
)


def run(arguments: argparse.Namespace) -> int:
    """List or describe."""
    with session(arguments) as db:
        if arguments.slugs:
            for slug in db.ask(list_slugs()):
                print_line(slug)
        elif arguments.flow is None:
            _list(db, json=arguments.json)
        else:
            _describe(stored_flow(db, arguments.flow), json=arguments.json)
    return OK


def _list(db: Session, *, json: bool) -> None:
    flows, activity, paused = db.ask(list_flows()), db.ask(flow_activity()), db.ask(paused_flows())
    if json:
        print_json(
            [{**as_json(flow), **_extra(flow, activity), "paused_at": as_json(paused.get(flow.slug))} for flow in flows]
        )
    elif flows:
        print_table(_FLOW_COLUMNS, [_row(flow, activity.get(flow.slug), paused.get(flow.slug)) for flow in flows])
    else:
        print_line("no flows yet: `pgflow-mp compile MODULE` makes them")


def _extra(flow: StoredFlow, activity: Mapping[str, FlowActivity]) -> dict[str, object]:
    found = activity.get(flow.slug)
    return {} if found is None else {name: value for name, value in as_json(found).items() if name != "slug"}


def _row(flow: StoredFlow, activity: FlowActivity | None, paused_at: datetime | None) -> tuple[str | Text, ...]:
    about = (flow.slug, flow.flow_type, str(len(flow.steps)))
    if activity is None:  # it was made between the looks
        return (*about, "", "", "", "", "")
    workers = Text(str(activity.live_workers), "" if activity.live_workers else "yellow")
    paused = Text(moment(paused_at) if paused_at is not None else "", "yellow")
    if activity.latest_run_id is None or activity.latest_status is None or activity.latest_at is None:
        return (*about, workers, paused, "", "", "")
    return (
        *about,
        workers,
        paused,
        str(activity.latest_run_id),
        status_text(activity.latest_status),
        moment(activity.latest_at),
    )


def _describe(flow: StoredFlow, *, json: bool) -> None:
    if json:
        print_json(as_json(flow))
        return
    queues = list(dict.fromkeys(step.queue_name for step in flow.steps))
    print_line(
        f"{flow.slug}: a {flow.flow_type} of {counted(len(flow.steps), 'step')}, "
        f"{'queue' if len(queues) == 1 else 'queues'} {', '.join(queues)}, made {moment(flow.created_at)}"
    )
    print_line()
    print_table(_STEP_COLUMNS, [_step_row(step, flow) for step in flow.steps])


def _step_row(step: StoredStep, flow: StoredFlow) -> tuple[str, ...]:
    return (
        step.slug,
        step.step_type,
        ", ".join(step.deps),
        str(_own(step.max_attempts, flow.max_attempts)),
        f"{_own(step.base_delay, flow.base_delay)} s",
        f"{_own(step.timeout, flow.timeout)} s",
        f"{step.start_delay} s" if step.start_delay else "",
        "; ".join(_conditions(step)),
    )


def _own(of_step: int | None, of_flow: int) -> int:
    """The step's own option, else the one that it inherits (core 2.2)."""
    return of_flow if of_step is None else of_step


def _conditions(step: StoredStep) -> list[str]:
    """What has to hold for the step to run, and what happens otherwise, where that is not the default."""
    patterns = (("when", step.when), ("unless", step.unless))
    said = [f"{word} {json.dumps(pattern, ensure_ascii=False)}" for word, pattern in patterns if pattern is not None]
    if said:
        said.append(f"else {step.when_unmet}")
    if step.when_exhausted != "fail":
        said.append(f"{step.when_exhausted} when it fails")
    return said
