"""What is installed and by whom: pgflow-mp's own core, somebody else's, and pgflow-mp beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgflow_mp import __version__
from pgflow_mp.cli.examination.finding import Finding
from pgflow_mp.cli.words import moment
from pgflow_mp.core import beside, scripts
from pgflow_mp.core.drift import Made, reason
from pgflow_mp.core.queries.examination import installed
from pgflow_mp.core.refusals import not_installed
from pgflow_mp.core.roles import lacking
from pgflow_mp.core.scripts import Script
from pgflow_mp.errors import NotPermitted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgflow_mp.cli.database import Session
    from pgflow_mp.core.generation import Core
    from pgflow_mp.core.queries.examination import Installed, Surroundings
    from pgflow_mp.core.queries.health import Installation


def of_installation(db: Session, around: Surroundings, core: Core) -> Iterator[Finding]:
    """Say whose core it is, and what of pgflow-mp is there."""
    if core.made_by == "nobody":
        text = f"there is no pgflow in database {around.database}"
        yield Finding("trouble", "installation", text, "pgflow-mp install")
        return
    if core.made_by != "pgflow-mp":
        yield _of_their_core(core)
    if core.installed:
        yield from _of_ours(db, around, core)
    else:
        yield _of_nothing_of_ours(core)
        yield from of_missing_rights(db, around, core)


def _of_their_core(core: Core) -> Finding:
    label = f", which says of itself: {core.label}" if core.label else ""
    return Finding(
        "ok" if core.tier else "note",
        "installation",
        f"schema pgflow belongs to role {core.owner} and was not made by pgflow-mp{label}; it is {core.name}",
    )


def _of_nothing_of_ours(core: Core) -> Finding:
    if core.made_by == "pgflow-mp":
        text = "schema pgflow is pgflow-mp's, and its schema pgflow_mp is gone; restore it from a backup"
        return Finding("trouble", "installation", text)
    command = "pgflow-mp install" if core.tier else None
    return Finding("trouble", "installation", str(not_installed(core)), command)


def of_missing_rights(db: Session, around: Surroundings, core: Core) -> list[Finding]:
    """Say what the owner of the core has to grant before this role can install pgflow-mp beside it, or work there."""
    if core.tier in (None, "own") or core.pgmq is None:
        return []
    left = lacking(db.conn, around.role, installer=not core.installed)
    if not left:
        return []
    may_not = "work with all of it" if core.installed else "install beside it"
    text = f"role {around.role} may not {may_not}; let the owner of the schema, {core.owner}, run"
    return [Finding("trouble", "rights", f"{text}: {'; '.join(left)}")]


def _of_ours(db: Session, around: Surroundings, core: Core) -> Iterator[Finding]:
    try:
        found = db.ask(installed())
    except NotPermitted:
        yield Finding("note", "installation", f"by role {around.owner}; this role may not read its details")
        return
    where = "" if core.made_by == "pgflow-mp" else " beside it"
    text = (
        f"pgflow-mp {found.package_version}{where}, tables version {found.version}, by role {around.owner} on "
        f"{moment(found.installed_at)}, last updated {moment(found.updated_at)}; pgmq: {found.pgmq}"
    )
    yield _of_functions(found, core, text)
    cron = f"pg_cron {around.pg_cron}" if around.pg_cron else "no pg_cron (not needed)"
    events = "realtime.send gets events" if around.has_realtime else "no realtime.send, so no events are sent to it"
    yield Finding("note", "installation", f"{cron}; {events}")


def _of_functions(found: Installed, core: Core, text: str) -> Finding:
    """Compare what was installed with what this package would install now."""
    changed = changed_since(found, core)
    if changed is not None:
        return Finding("trouble", "installation", f"{text}; {changed}", "pgflow-mp install" if core.tier else None)
    if found.content_hash == _content_hash(core):
        return Finding("ok", "installation", text)
    others = f"{text}; its functions are not those of pgflow-mp {__version__}, which examines it"
    return Finding("warning", "installation", others, "pgflow-mp install")


def changed_since(found: Installed | Installation, core: Core) -> str | None:
    """Say what became of somebody else's core since pgflow-mp was installed beside it; None where nothing did."""
    return reason(core, Made(found.package_version, found.core, found.core_fingerprint))


def _content_hash(core: Core) -> str:
    """The digest of what this package would install here."""
    if core.made_by == "pgflow-mp":
        return scripts.content_hash(scripts.functions(scripts.root(), realtime=core.realtime))
    views = [Script(name, text) for name, text in beside.views(core).items()]
    return scripts.content_hash([*views, *beside.render(scripts.root(), core)])
