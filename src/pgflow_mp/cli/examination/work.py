"""Flows and those who work on them, and rows that nothing would ever move again."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pgflow_mp import __version__
from pgflow_mp.cli.examination.finding import Finding
from pgflow_mp.cli.examination.installation import changed_since
from pgflow_mp.cli.words import moment
from pgflow_mp.core.install import install
from pgflow_mp.core.queries.repair import repair
from pgflow_mp.core.queries.retention import get_retention
from pgflow_mp.core.queries.schedules import list_schedules
from pgflow_mp.errors import DatabaseUnreachable, InstallError, NotPermitted
from pgflow_mp.rules import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgflow_mp.cli.database import Session
    from pgflow_mp.client.health import HealthReport
    from pgflow_mp.core.generation import Core


def of_flows(report: HealthReport, core: Core) -> Iterator[Finding]:
    """What waits, and what is wrong with a flow."""
    # That the core was changed is what `installation` tells.
    changed = [] if report.installation is None else [changed_since(report.installation, core)]
    yield from (Finding("trouble", "flows", problem) for problem in report.problems if problem not in changed)
    ready, invisible = sum(flow.ready for flow in report.flows), sum(flow.invisible for flow in report.flows)
    waiting = f"{counted(ready, 'message')} ready, {invisible:,} delayed or with a worker"
    yield Finding("ok" if report.flows else "note", "flows", f"{counted(len(report.flows), 'flow')}; {waiting}")
    for flow in report.flows:
        if flow.paused_at is not None:
            since = f"{flow.slug} is paused since {moment(flow.paused_at)}"
            yield Finding("note", "flows", since, f"pgflow-mp resume {flow.slug}")


def of_schedules(db: Session) -> Iterator[Finding]:
    """Schedules whose last tick started nothing; a role that may not read them learns nothing of them."""
    try:
        found = db.ask(list_schedules(), "reading schedules")
    except NotPermitted:
        return
    for schedule in found:
        if schedule.last_error is not None:
            why = f"schedule {schedule.name} of {schedule.flow_slug} started nothing at its last tick"
            yield Finding("trouble", "schedules", f"{why}: {schedule.last_error}")
    if found and not any(schedule.last_error for schedule in found):
        paused = sum(schedule.paused for schedule in found)
        yield Finding("ok", "schedules", counted(len(found), "schedule") + (f", {paused:,} paused" if paused else ""))


def of_retention(db: Session) -> Iterator[Finding]:
    """How long runs are kept."""
    with suppress(NotPermitted):
        yield Finding("note", "flows", f"runs are kept {db.ask(get_retention(), 'reading the retention')}")


def of_workers(report: HealthReport) -> Iterator[Finding]:
    """Who is at work, and who is not heard of."""
    states = Counter(worker.state for worker in report.workers)
    text = ", ".join(f"{states[state]} {state}" for state in ("live", "finishing", "stale", "dead") if states[state])
    if not states:
        yield Finding("note", "workers", "none was heard of within the last hour")
    elif states["stale"] or states["dead"]:
        why = "who is not heard of was killed or has lost the database, and loses its tasks to other workers"
        yield Finding("warning", "workers", f"{text}; {why}", "pgflow-mp workers")
    else:
        yield Finding("ok", "workers", text)
    others = Counter(worker.version for worker in report.live_workers if worker.version not in (None, __version__))
    for version, number in others.items():
        differs = f"{counted(number, 'live worker')} of pgflow-mp {version}; {__version__} examines it"
        yield Finding("note", "workers", differs)


# What workers of a core before 0.15.1 leave behind each run that they fail (core FT-10): in nobody's way.
_LEFT_BY_OLD_CORES: Final = ("open task of an ended step", "open task of an ended run")


def of_rows(db: Session, core: Core) -> Iterator[Finding]:
    """Stuck rows and orphaned messages, a finding for each kind."""
    try:
        found = db.ask(repair(dry_run=True), "looking for damage")
    except NotPermitted:
        yield Finding("note", "rows", "not examined: this role may not look for damage, the one that installed may")
        return
    for damage, number in Counter(row.damage for row in found).items():
        flows = sorted({row.flow_slug for row in found if row.damage == damage and row.flow_slug is not None})
        where = f" in {', '.join(flows)}" if flows else ""
        usual = damage in _LEFT_BY_OLD_CORES and not core.hardened
        text = f"{damage}: {counted(number, 'case')}{where}{', as this core leaves them' if usual else ''}"
        yield Finding("note" if usual else "trouble", "rows", text, "pgflow-mp repair")
    if not found:
        yield Finding("ok", "rows", "nothing is stuck, no message is orphaned")


def of_rows_without_us(db: Session, core: Core) -> Iterator[Finding]:
    """The same where pgflow-mp is not beside the core: put there for the look, in a transaction that is taken back."""
    try:
        with db.conn.transaction(force_rollback=True):
            install(db.conn)
            found = list(of_rows(db, core))
    except (InstallError, DatabaseUnreachable):
        why = "not examined: pgflow-mp looks for what is stuck with functions of its own, which cannot be put here now"
        found = [Finding("note", "rows", why)]
    for finding in found:
        first = finding.command and f"pgflow-mp install && {finding.command}"
        yield replace(finding, command=first)
