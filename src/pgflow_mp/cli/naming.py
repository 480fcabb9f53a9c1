"""What a person names, looked up in the database: a flow by its slug, a run by its id.

A name that is not there is told with what there is: the near ones, else the command that lists them.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import UUID

from pgflow_mp.core.queries.definitions import get_flow, list_slugs
from pgflow_mp.core.queries.runs import get_run_with_states
from pgflow_mp.errors import FlowNotFound, InvalidRunId, RunNotFound
from pgflow_mp.rules import did_you_mean, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgflow_mp.cli.database import Session
    from pgflow_mp.core.queries.definitions import StoredFlow
    from pgflow_mp.results import Run

#: How many slugs a sentence lists when none is near.
_LISTED = 8


def stored_flow(db: Session, slug: str) -> StoredFlow:
    """The flow of exactly this slug.

    Raises:
        FlowNotFound: There is none; names those that are near.
    """
    flow = db.ask(get_flow(slug))
    if flow is None:
        raise unknown_flow(db, slug)
    return flow


def known_flow(db: Session, slug: str) -> str:
    """The slug, if there is such a flow.

    Raises:
        FlowNotFound: There is none; names those that are near.
    """
    return stored_flow(db, slug).slug


def unknown_flow(db: Session, slug: str) -> FlowNotFound:
    """The error for a slug that the database does not have."""
    slugs = db.ask(list_slugs())
    if not slugs:
        known = "it has none yet, `pgflow-mp compile MODULE` makes them"
    elif meant := did_you_mean(slug, slugs):
        return FlowNotFound(f"flow {shown(slug)} is not in this database{meant}; `pgflow-mp flows` lists all")
    elif len(slugs) > _LISTED:
        known = f"it has {len(slugs)}, which `pgflow-mp flows` lists"
    else:
        known = f"it has {', '.join(slugs)}"
    return FlowNotFound(f"flow {shown(slug)} is not in this database; {known}")


@contextmanager
def flow_named(db: Session, slug: str) -> Iterator[None]:
    """Tell an unknown flow, met within, with what is near.

    Raises:
        FlowNotFound: With our sentence in place of the API's.
    """
    try:
        yield
    except FlowNotFound as error:
        raise unknown_flow(db, slug) from error


@contextmanager
def run_named(run: UUID) -> Iterator[None]:
    """Tell an unknown run, met within, with where to look for it.

    Raises:
        RunNotFound: With our sentence in place of the API's.
    """
    try:
        yield
    except RunNotFound as error:
        raise unknown_run(str(run)) from error


def run_id(text: str) -> UUID:
    """The id that was typed.

    Raises:
        InvalidRunId: It is no UUID.
    """
    try:
        return UUID(text)
    except ValueError:
        raise InvalidRunId(f"{shown(text)} is no run id: a run id is a UUID, as `pgflow-mp runs` lists them") from None


def stored_run(db: Session, text: str) -> Run:
    """The run with its steps and tasks.

    Raises:
        InvalidRunId: The id is no UUID.
        RunNotFound: There is no such run.
    """
    run = db.ask(get_run_with_states(run_id(text)))
    if run is None:
        raise unknown_run(text)
    return run


def unknown_run(text: str) -> RunNotFound:
    """The error for an id that the database does not have."""
    return RunNotFound(
        f"there is no run {text} in this database: it is in another one, or it was deleted; "
        "`pgflow-mp runs` lists those that are here"
    )
