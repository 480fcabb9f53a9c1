"""What the database refuses, said in the words of the API.

The functions answer with SQLSTATEs and constraint names (core 3.4 to 3.6); a person wants to know which flow is
unknown and which command mends it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from psycopg import errors as postgres

from pgflow_mp.errors import FlowNotFound, InvalidInput, NotInstalled, NotPermitted, PgflowError

if TYPE_CHECKING:
    from collections.abc import Iterator

_KEY_IN_DETAIL = "(flow_slug)=("


@contextmanager
def spoken(doing: str = "this call") -> Iterator[None]:
    """Turn the refusals that have a meaning in the API into its errors; let all others pass.

    Args:
        doing: What is attempted, for a person who may not do it: the subject of the sentence.
    """
    try:
        yield
    except postgres.InsufficientPrivilege as error:
        raise NotPermitted(
            f"{doing} is not permitted to this role: {error.diag.message_primary}. "
            "Flows are created, changed and deleted by the role that installed pgflow (`pgflow-mp compile MODULE`); "
            "docs/operating.md says what the others need"
        ) from error
    except (postgres.InvalidSchemaName, postgres.UndefinedFunction, postgres.UndefinedTable) as error:
        raise NotInstalled from error
    except postgres.ForeignKeyViolation as error:
        if error.diag.constraint_name != "runs_flow_slug_fkey":
            raise
        slug = (error.diag.message_detail or "").partition(_KEY_IN_DETAIL)[2].partition(")")[0]
        raise FlowNotFound(
            f"flow `{slug}` is not in this database; make it with `pgflow-mp compile MODULE` or `app.compile(flow)`"
        ) from error
    except postgres.RaiseException as error:
        message = error.diag.message_primary or ""
        if "root map steps but input" in message:
            raise InvalidInput(f"{message}; its input must be a JSON array, one element for each task") from error
        raise PgflowError(message) from error
