"""The core that a database has: who can work on it, what it lacks, what it does that nobody asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pgflow_mp.cli.examination.finding import Finding
from pgflow_mp.core.queries.foreign import (
    STALL_SECONDS,
    misjudged_timeouts,
    recovery_jobs,
    refused_slugs,
    telemetry_is_on,
)
from pgflow_mp.core.siblings import siblings
from pgflow_mp.errors import NotInstalled, NotPermitted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgflow_mp.cli.database import Session
    from pgflow_mp.core.generation import Core
    from pgflow_mp.core.queries.foreign import MisjudgedTimeout, RefusedSlug

_KEEPS: Final = " (workers of pgflow-mp keep theirs while they beat)"
_DRIVER: Final = "setup_requeue_stalled_tasks_cron(text)"
_DRIVE_RECOVERY: Final = 'psql -c "select pgflow.setup_requeue_stalled_tasks_cron()"'

# The first helpers of the Elixir library recover by one threshold for all (generations 7.1).
_HELPERS_THAT_LOOK_AT_STEPS = 2

_NO_EVENTS: Final = (
    'psql -c "create schema if not exists realtime; create function realtime.send(payload jsonb, event text, '
    "topic text, private boolean default false) returns void language sql as 'select'\""
)

_NO_CONDITIONS: Final = (
    "steps cannot have conditions, nor be skipped when their attempts are used up (0.14 brought both): compiling a "
    "flow that asks for it is refused"
)
_NOT_HARDENED: Final = (
    "workers of this core may be given a task that another one has taken, and tasks of the runs that they fail stay "
    "open (0.15.1 mended both); pgflow-mp makes up for it in what it does itself"
)
# docs/performance.md has the figures.
_COST: Final = (
    "a task costs the server two to four times what it costs on pgflow-mp's own schema: its tables have indexes on "
    "what changes, and before 0.17 lack columns that views make up for; to be taken over, dry run first"
)
_NO_STEP_QUEUES: Final = "steps cannot have queues of their own (0.17 brought them)"


def of_siblings(core: Core) -> Iterator[Finding]:
    """Say which workers of which generation can run here, and what stops the others (generations 8.3)."""
    found = siblings(core)
    runs = [sibling.workers for sibling in found if sibling.runs]
    if core.installed:
        runs.append("pgflow-mp")
    if runs:
        yield Finding("ok", "generations", f"whose workers can run here: {'; '.join(runs)}")
    for obstacle in dict.fromkeys(sibling.obstacle for sibling in found if not sibling.runs):
        others = [sibling.workers for sibling in found if sibling.obstacle == obstacle]
        yield Finding("note", "generations", f"whose workers cannot, since there is {obstacle}: {'; '.join(others)}")


def of_features(db: Session, core: Core) -> Iterator[Finding]:
    """Say what the core lacks, and what is dangerous about it."""
    if core.made_by == "pgflow-mp":
        return
    lacks = (_NO_CONDITIONS, core.conditions), (_NOT_HARDENED, core.hardened), (_NO_STEP_QUEUES, core.step_queues)
    yield from (Finding("note", "features", meaning) for meaning, has in lacks if not has)
    if core.tier is not None:
        yield Finding("note", "features", _COST, "pgflow-mp adopt")
    yield from _of_queues(core)
    if not core.realtime:
        missing = "there is no function realtime.send, which this core calls: its workers and clients can start no run"
        yield Finding("trouble", "features", missing, _NO_EVENTS)
    if core.local:
        recompiles = (
            "it takes itself for a development database: a worker of another language that starts with a changed flow "
            "deletes the flow with all its runs"
        )
        yield Finding("warning", "features", recompiles)
    yield from _of_recovery(db, core)


def _of_queues(core: Core) -> Iterator[Finding]:
    """Say what is wrong with the queues below the core."""
    if core.pgmq is None:
        missing = "there is no pgmq, which has the queues of all flows: nothing can be started or worked off"
        yield Finding("trouble", "features", missing)
    elif not core.pgmq.headers:
        old = "its pgmq is older than 1.5.0: pgflow-mp cannot stand beside it"
        update = 'psql -c "alter extension pgmq update"' if core.pgmq.extension else None
        yield Finding("trouble", "features", old, update)


def _of_recovery(db: Session, core: Core) -> Iterator[Finding]:
    schedules = _recovery_schedules(db, core)
    if schedules:
        yield Finding("ok", "features", f"pg_cron recovers tasks of workers that are gone, every {schedules[0]}")
    elif schedules is not None and core.made_by == "typescript":
        yield Finding(
            "warning",
            "features",
            "nothing drives the recovery of tasks whose worker is gone, as far as this role sees; workers of pgflow-mp "
            "recover them while one runs",
            _DRIVE_RECOVERY if core.cron and _DRIVER in core.calls else None,
        )


def _recovery_schedules(db: Session, core: Core) -> list[str] | None:
    """When pg_cron recovers; None where this role may not look."""
    if not core.cron:
        return []
    try:
        return db.ask(recovery_jobs(), "reading the jobs of pg_cron")
    except NotPermitted:
        return None


def of_timeouts(db: Session, core: Core) -> Iterator[Finding]:
    """Name steps that the core's recovery takes from workers which are at work on them (core ST-1)."""
    if core.hardened or "requeue_stalled_tasks()" not in core.calls:
        return
    if (core.helper_version or 0) >= _HELPERS_THAT_LOOK_AT_STEPS and _recovery_schedules(db, core) == []:
        return  # Elixir's own recovery, and no other is driven
    try:
        found = db.ask(misjudged_timeouts(), "reading timeouts")
    except NotPermitted:
        yield Finding("note", "timeouts", "not examined: this role may not read the steps")
        return
    yield from (_of_timeout(step, ours_too=core.installed) for step in found)


def _of_timeout(step: MisjudgedTimeout, *, ours_too: bool) -> Finding:
    text = (
        f"step {step.step_slug} of {step.flow_slug} may take {step.step_seconds:,} s, and the recovery of this core "
        f"takes its tasks away after {step.flow_seconds + STALL_SECONDS:,} s, since it looks at the flow's timeout "
        f"alone: they would run twice{_KEEPS if ours_too else ''}. Raise the flow's timeout; steps without one of "
        "their own get it too"
    )
    enough = f"opt_timeout = {step.step_seconds - STALL_SECONDS} where flow_slug = '{step.flow_slug}'"
    command = f'psql -c "update pgflow.flows set {enough}"'  # noqa: S608 - for a person, and slugs are letters
    return Finding("warning" if ours_too else "trouble", "timeouts", text, command)


def of_slugs(db: Session, core: Core) -> Iterator[Finding]:
    """Name slugs that newer cores refuse (generations SU-9)."""
    try:
        found = db.ask(refused_slugs(), "reading slugs")
    except NotPermitted:
        yield Finding("note", "slugs", "not examined: this role may not read flows and steps")
        return
    for slug in found:
        yield Finding("warning", "slugs", _of_slug(slug, ours=core.made_by == "pgflow-mp"))


def _of_slug(slug: RefusedSlug, *, ours: bool) -> str:
    name = f"flow {slug.flow_slug}" if slug.step_slug is None else f"step {slug.step_slug} of flow {slug.flow_slug}"
    if slug.clash is not None:
        return (
            f"the slug of {name} differs from {slug.clash} by case only: cores from 0.17 on take them for one; "
            "make it anew under another slug"
        )
    stays = "it stays and works, new ones like it are refused" if ours else "make it anew under another slug in time"
    rule = "a letter first, then letters, digits and single underscores, a letter or digit last"
    return f"cores from 0.17 on refuse the slug of {name} ({rule}); {stays}"


def of_telemetry(db: Session, core: Core) -> Iterator[Finding]:
    """Say whether the core reports to its makers (generations 6)."""
    if not core.telemetry:
        return
    try:
        on = db.ask(telemetry_is_on(), "asking about telemetry")
    except (NotPermitted, NotInstalled):
        yield Finding("note", "telemetry", "schema pgflow_telemetry is there; this role may not ask whether it is on")
        return
    if on:
        reports = "each day the core sends counts of workers, runs and features to its makers"
        yield Finding("warning", "telemetry", reports, 'psql -c "select pgflow_telemetry.disable()"')
    else:
        yield Finding("ok", "telemetry", "the core's reports to its makers are off")
