"""The server and its role: what carries everything else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgflow_mp.cli.examination.finding import Finding
from pgflow_mp.cli.progress import duration
from pgflow_mp.core.queries.examination import old_transactions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgflow_mp.cli.database import Session
    from pgflow_mp.core.queries.examination import Surroundings

OLD_TRANSACTION = 600.0
"""Seconds after which an open transaction is worth a word: vacuum cannot clean up behind it, and queues grow slow."""


def of_server(around: Surroundings) -> Finding:
    """Say what server it is, and that it can be written to."""
    text = f"PostgreSQL {around.server_version}, database {around.database}, as role {around.role}"
    if around.read_only:
        return Finding("trouble", "server", f"{text}: it is a standby, no run can start here; name its primary")
    return Finding("ok", "server", text)


def of_rights(around: Surroundings) -> Finding:
    """Say what the role may do here."""
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


def of_transactions(db: Session) -> Iterator[Finding]:
    """Name transactions that have been open for long."""
    for old in db.ask(old_transactions(OLD_TRANSACTION)):
        yield Finding(
            "warning",
            "transactions",
            f"process {old.pid} ({old.application or 'unnamed'}, role {old.role}, {old.state}) has had a transaction "
            f"open for {duration(old.seconds)}: nothing that ended since is cleaned up, and queues grow slow",
            f'psql -c "select pg_terminate_backend({old.pid})"',
        )
