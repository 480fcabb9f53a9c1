"""Why a function of ours was not found, or no longer fits: what is installed in a database, and beside whose core.

Somebody else's core is upgraded by somebody else, while our workers and clients are connected. The errors that this
shows in are those of names (generations 10), and of the one column that an upgrade adds without a default (4.1); they
say nothing of the cause. So the database is asked what is there now, and for which core our functions were made. Asking
needs no right on anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import errors as postgres

from pgflow_mp.core.statement import Statement

if TYPE_CHECKING:
    from pgflow_mp.core.generation import Core

__all__ = ["Made", "made", "may_have_drifted", "reason"]

_OF_NAMES = (
    postgres.UndefinedFunction,  # 42883
    postgres.AmbiguousFunction,  # 42725
    postgres.UndefinedColumn,  # 42703
    postgres.UndefinedTable,  # 42P01
    postgres.InvalidSchemaName,  # 3F000
)

# Functions made for a core before GQI give steps and tasks no name of a queue (generations 4.1).
_ADDED = "queue_name"

_MADE = """
select i ->> 'package_version', i ->> 'core', i ->> 'core_fingerprint'
from (select pgflow_mp.installation() as i offset 0) as answer
"""


@dataclass(frozen=True, slots=True)
class Made:
    """What the functions of a database were made for.

    Attributes:
        package_version: By which pgflow-mp.
        core: Beside whose core; None where it is ours.
        fingerprint: What that core was; None where it is ours.
    """

    package_version: str
    core: str | None
    fingerprint: str | None


def may_have_drifted(error: Exception) -> bool:
    """Whether an error may come from functions that do not fit the database; a queue that is gone is something else."""
    if isinstance(error, postgres.NotNullViolation):
        return error.diag.column_name == _ADDED
    return isinstance(error, _OF_NAMES) and "pgmq." not in str(error)


def made() -> Statement[Made | None]:
    """Read what the functions were made for; only where pgflow-mp is installed (`Core.installed`)."""
    return Statement(_MADE, (), lambda found: Made(*found[0]))


def reason(core: Core, functions: Made | None) -> str | None:
    """Return what has changed since our functions were made, and what mends it; None where nothing did.

    Args:
        core: What is there now.
        functions: What `made` answered; None where they could not.
    """
    if functions is None or functions.fingerprint in (None, core.fingerprint):
        return None
    before = f"database {core.database!r} had {functions.core} when pgflow-mp was installed beside it, and has now"
    if core.tier is None:
        return f"{before} one that cannot be served: {core.reason}"
    return (
        f"{before} {core.name if core.name != functions.core else 'another form of that'}; "
        "have the functions made for it with `pgflow-mp install --dsn DSN`"
    )
