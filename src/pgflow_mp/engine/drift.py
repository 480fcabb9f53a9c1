"""A core that was changed under a running worker: noticed, said, and waited out.

Beside a schema of somebody else an upgrade of theirs may leave functions of ours that do not fit any more. No task is
to blame for it: nothing is failed, the worker tries again with longer and longer pauses and says what mends it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

from pgflow_mp.core.drift import made, reason
from pgflow_mp.core.generation import probe

if TYPE_CHECKING:
    from pgflow_mp.engine.link import Link

__all__ = ["drifted", "outdated"]


async def drifted(link: Link, error: Exception) -> str | None:
    """Return what has changed in the database, where that is why it refused; None where it is not, or cannot be told.

    Args:
        link: A connection to ask on.
        error: What the database answered. Whatever is neither of the connection nor of a value may come from that.
    """
    if not isinstance(error, psycopg.Error) or isinstance(error, (psycopg.OperationalError, psycopg.DataError)):
        return None
    try:
        core = await link.run(probe())
        return reason(core, await link.run(made())) if core.installed else None
    except (psycopg.Error, OSError):
        return None


async def outdated(link: Link) -> str | None:
    """Return what has changed since our functions were made; None where nothing did, or schema pgflow is ours.

    Raises:
        psycopg.Error: The database cannot tell.
    """
    functions = await link.run(made())
    if functions is None or functions.fingerprint is None:
        return None
    return reason(await link.run(probe()), functions)
