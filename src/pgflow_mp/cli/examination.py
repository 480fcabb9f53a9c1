"""What `doctor` looks at: a list of findings, each with what to do about it.

Levels: ``ok``; ``note`` (worth knowing); ``warning`` (may need a look); ``trouble`` (needs a person, now or soon).
Nothing is changed.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from pgflow_mp import __version__
from pgflow_mp.cli.progress import duration
from pgflow_mp.cli.words import moment
from pgflow_mp.client.health import judge
from pgflow_mp.core import scripts
from pgflow_mp.core.queries.examination import installed, old_transactions, surroundings
from pgflow_mp.core.queries.health import findings
from pgflow_mp.core.queries.repair import repair
from pgflow_mp.core.queries.retention import get_retention
from pgflow_mp.core.queries.schedules import list_schedules
from pgflow_mp.core.refusals import not_installed
from pgflow_mp.errors import NotInstalled, NotPermitted
from pgflow_mp.rules import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgflow_mp.cli.database import Session
    from pgflow_mp.client.health import HealthReport
    from pgflow_mp.core.queries.examination import Surroundings

Level = Literal["ok", "note", "warning", "trouble"]

#: Seconds after which an open transaction is worth a word: vacuum cannot clean up behind it, and queues grow slow.
_OLD_TRANSACTION: Final = 600.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        level: How bad it is.
        about: Which part: server, installation, rights, flows, schedules, workers, rows, transactions.
        text: What was found.
        command: What mends it; None where nothing has to be, or no command does.
    """

    level: Level
    about: str
    text: str
    command: str | None = None


def examine(db: Session) -> Iterator[Finding]:
    """Look at everything, the foundations first; what rests on something broken is not looked at."""
    around = db.ask(surroundings())
    yield _server(around)
    broken = _foreign_or_missing(around)
    if broken is not None:
        yield broken
        return
    yield from _installation(db, around)
    yield _rights(around)
    try:
        report = judge(db.ask(findings(), "checking the health"))
    except NotInstalled:
        yield Finding("trouble", "installation", str(not_installed(db.conn)), "pgflow-mp install")
        return
    except NotPermitted as error:
        yield Finding("trouble", "rights", str(error))
        return
    yield from (Finding("trouble", "flows", problem) for problem in report.problems)
    yield from _flows(report)
    yield from _schedules(db)
    yield from _retention(db)
    yield from _workers(report)
    yield from _rows(db)
    yield from _transactions(db)


def _server(around: Surroundings) -> Finding:
    text = f"PostgreSQL {around.server_version}, database {around.database}, as role {around.role}"
    if around.read_only:
        return Finding("trouble", "server", f"{text}: it is a standby, no run can start here; name its primary")
    return Finding("ok", "server", text)


def _foreign_or_missing(around: Surroundings) -> Finding | None:
    if around.is_ours:
        return None
    if around.owner is None:
        text = f"there is no pgflow in database {around.database}"
        return Finding("trouble", "installation", text, "pgflow-mp install")
    made = f", which says of itself: {around.label}" if around.label else ""
    return Finding(
        "trouble",
        "installation",
        f"schema pgflow belongs to role {around.owner} and was not made by pgflow-mp{made}; pgflow-mp works with its "
        "own only: name another database",
    )


def _installation(db: Session, around: Surroundings) -> Iterator[Finding]:
    try:
        found = db.ask(installed())
    except NotPermitted:
        yield Finding("note", "installation", f"by role {around.owner}; this role may not read its details")
        return
    text = (
        f"pgflow-mp {found.package_version}, tables version {found.version}, by role {around.owner} on "
        f"{moment(found.installed_at)}, last updated {moment(found.updated_at)}; pgmq: {found.pgmq}"
    )
    same = scripts.content_hash(scripts.functions(scripts.root(), realtime=around.has_realtime))
    if found.content_hash != same:
        yield Finding(
            "warning",
            "installation",
            f"{text}; its functions are not those of pgflow-mp {__version__}, which examines it",
            "pgflow-mp install",
        )
    else:
        yield Finding("ok", "installation", text)
    cron = f"pg_cron {around.pg_cron}" if around.pg_cron else "no pg_cron (not needed)"
    events = "realtime.send gets events" if around.has_realtime else "no realtime.send, so no events are sent to it"
    yield Finding("note", "installation", f"{cron}; {events}")


def _rights(around: Surroundings) -> Finding:
    may = [
        words
        for words, granted in (
            ("install and compile", around.may_install),
            ("work tasks off", around.may_work),
            ("start and read runs", around.may_start),
        )
        if granted
    ]
    if not may:
        return Finding(
            "trouble",
            "rights",
            f"role {around.role} may do nothing here; the role that installed pgflow lets it",
            f"pgflow-mp install --client-role {around.role}",
        )
    return Finding("ok", "rights", f"role {around.role} may {', '.join(may)}")


def _flows(report: HealthReport) -> Iterator[Finding]:
    ready, invisible = sum(flow.ready for flow in report.flows), sum(flow.invisible for flow in report.flows)
    waiting = f"{counted(ready, 'message')} ready, {invisible:,} delayed or with a worker"
    yield Finding("ok" if report.flows else "note", "flows", f"{counted(len(report.flows), 'flow')}; {waiting}")
    for flow in report.flows:
        if flow.paused_at is not None:
            since = f"{flow.slug} is paused since {moment(flow.paused_at)}"
            yield Finding("note", "flows", since, f"pgflow-mp resume {flow.slug}")


def _schedules(db: Session) -> Iterator[Finding]:
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


def _retention(db: Session) -> Iterator[Finding]:
    with suppress(NotPermitted):
        yield Finding("note", "flows", f"runs are kept {db.ask(get_retention(), 'reading the retention')}")


def _workers(report: HealthReport) -> Iterator[Finding]:
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


def _rows(db: Session) -> Iterator[Finding]:
    """Stuck rows and orphaned messages, a finding for each kind."""
    try:
        found = db.ask(repair(dry_run=True), "looking for damage")
    except NotPermitted:
        yield Finding("note", "rows", "not examined: this role may not look for damage, the one that installed may")
        return
    for damage, number in Counter(row.damage for row in found).items():
        flows = sorted({row.flow_slug for row in found if row.damage == damage and row.flow_slug is not None})
        where = f" in {', '.join(flows)}" if flows else ""
        yield Finding("trouble", "rows", f"{damage}: {counted(number, 'case')}{where}", "pgflow-mp repair")
    if not found:
        yield Finding("ok", "rows", "nothing is stuck, no message is orphaned")


def _transactions(db: Session) -> Iterator[Finding]:
    for old in db.ask(old_transactions(_OLD_TRANSACTION)):
        yield Finding(
            "warning",
            "transactions",
            f"process {old.pid} ({old.application or 'unnamed'}, role {old.role}, {old.state}) has had a transaction "
            f"open for {duration(old.seconds)}: nothing that ended since is cleaned up, and queues grow slow",
            f'psql -c "select pg_terminate_backend({old.pid})"',
        )
