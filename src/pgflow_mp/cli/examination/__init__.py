"""What `doctor` looks at: a list of findings, each with what to do about it. Nothing is changed.

The foundations come first; what rests on something broken is not looked at. A core of somebody else is examined also
where pgflow-mp is not beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgflow_mp.cli.examination import core as cores
from pgflow_mp.cli.examination import installation, server, work
from pgflow_mp.cli.examination.finding import Finding, Level
from pgflow_mp.client.health import judge
from pgflow_mp.core.generation import probe
from pgflow_mp.core.queries.examination import surroundings
from pgflow_mp.core.queries.health import findings
from pgflow_mp.core.refusals import not_installed
from pgflow_mp.errors import NotInstalled, NotPermitted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgflow_mp.cli.database import Session
    from pgflow_mp.core.generation import Core
    from pgflow_mp.core.queries.examination import Surroundings

__all__ = ["Finding", "Level", "examine", "examine_core"]


def examine(db: Session) -> Iterator[Finding]:
    """Look at everything that can be looked at."""
    around, core = db.ask(surroundings()), db.ask(probe())
    yield server.of_server(around)
    yield from examine_core(db, around, core)
    if core.installed:
        yield from _of_ours(db, around, core)
    elif core.tier is not None:
        yield from work.of_rows_without_us(db, core)
    yield from server.of_transactions(db)


def examine_core(db: Session, around: Surroundings, core: Core) -> Iterator[Finding]:
    """Look at what is installed: whose core it is, who can work on it, what it lacks."""
    yield from installation.of_installation(db, around, core)
    if core.generation is None:
        return
    yield from cores.of_siblings(core)
    yield from cores.of_features(db, core)
    yield from cores.of_timeouts(db, core)
    yield from cores.of_slugs(db, core)
    yield from cores.of_telemetry(db, core)


def _of_ours(db: Session, around: Surroundings, core: Core) -> Iterator[Finding]:
    yield server.of_rights(around)
    try:
        report = judge(db.ask(findings(), "checking the health"))
    except NotInstalled:
        yield Finding("trouble", "installation", str(not_installed(core)), "pgflow-mp install")
        return
    except NotPermitted as error:
        # Beside a core of somebody else, its owner makes queues that nobody may use yet.
        yield from installation.of_missing_rights(db, around, core) or [Finding("trouble", "rights", str(error))]
        return
    yield from work.of_flows(report, core)
    yield from work.of_schedules(db)
    yield from work.of_retention(db)
    yield from work.of_workers(report)
    yield from work.of_rows(db, core)
