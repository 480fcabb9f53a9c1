"""Which workers run on which core follows from their calls; the table of generations 8.3, row by row."""

from __future__ import annotations

import pytest

from pgflow_mp.core import generation
from pgflow_mp.core.siblings import siblings
from pgflow_mp.core.statement import execute
from tests.core import foreign

OLD_HTTP, OLD_PROCESS = "TypeScript 0.14, 0.15 HTTP", "TypeScript 0.15 process"
HTTP, PROCESS = "TypeScript 0.16 HTTP", "TypeScript 0.16 process"
STEP_QUEUES, VERSIONED = "TypeScript 0.17.0", "TypeScript 0.17.1"
OLD_ELIXIR, ELIXIR = "Elixir 0.3", "Elixir from 0.4"

RUN_ON = {
    "0.8.1": {"TypeScript 0.8, 0.9"},
    "0.14.1": {OLD_HTTP, HTTP},
    "0.15.0": {OLD_HTTP, OLD_PROCESS, HTTP, PROCESS},
    "0.15.1": {OLD_HTTP, OLD_PROCESS, HTTP, PROCESS},
    "0.16.0": {HTTP, PROCESS},
    "0.17.0": {STEP_QUEUES},
    "0.17.1": {STEP_QUEUES, VERSIONED},
    "elixir 0.3": {OLD_HTTP, HTTP, OLD_ELIXIR},
    "elixir 0.4": {ELIXIR},
}
OURS = {OLD_HTTP, OLD_PROCESS, HTTP, PROCESS, STEP_QUEUES, VERSIONED, OLD_ELIXIR, ELIXIR}


def look(conn):
    return {sibling.workers: sibling.obstacle for sibling in siblings(execute(conn, generation.probe()))}


def those_who_run(conn):
    return {workers for workers, obstacle in look(conn).items() if obstacle is None}


@pytest.mark.parametrize("name", foreign.EACH)
def test_those_run_whose_calls_resolve(foreign_db, name):
    assert those_who_run(foreign_db(name)) == RUN_ON[name]


def test_all_run_on_ours(db):
    assert those_who_run(db) == OURS


def test_the_obstacle_is_named(db):
    db.execute("alter table pgflow.workers drop column pgflow_version")
    db.execute("drop function pgflow.ensure_flow_compiled(text, jsonb, boolean)")
    found = look(db)
    assert found[VERSIONED] == "no column workers.pgflow_version"
    assert found[STEP_QUEUES] is None
    assert found[OLD_HTTP] == "no ensure_flow_compiled that takes 3 arguments"


def test_a_call_that_two_functions_take_does_not_resolve(db):
    """generations 9.2: an ambiguous overload, as one that stayed behind, stops a worker too."""
    db.execute("create function pgflow.track_worker_function(text) returns void language sql as ''")
    found = look(db)
    assert found[HTTP] == "no track_worker_function that takes 1 argument"
    assert found[PROCESS] is None
