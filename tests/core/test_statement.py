"""A statement is described once and runs on both kinds of connection."""

import asyncio
import json
from uuid import UUID

import psycopg
import pytest

from pgflow_mp.core.statement import (
    LARGE,
    MOST_PARAMETERS,
    Statement,
    array_of,
    array_text,
    execute,
    execute_async,
    nothing,
    rows,
    value,
)

ADD = Statement("select %s::int + %s::int", (1, 2), value)


def test_it_runs_on_a_connection(db):
    assert execute(db, ADD) == 3


def test_it_runs_on_an_asynchronous_connection(pgflow_dsn):
    async def run():
        async with await psycopg.AsyncConnection.connect(pgflow_dsn, autocommit=True) as conn:
            return await execute_async(conn, ADD)

    assert asyncio.run(run()) == 3


def test_it_joins_the_caller_s_transaction(pgflow_dsn):
    with psycopg.connect(pgflow_dsn) as conn:
        execute(conn, Statement("select pgflow.create_flow(%s)", ("f",), nothing))
        conn.rollback()
        assert execute(conn, Statement("select pgflow.flow_exists('f')", (), value)) is False


def test_a_percent_sign_needs_no_doubling_without_parameters(db):
    assert execute(db, Statement("select 'a' like '%a'", (), value)) is True


def test_a_statement_without_rows_reads_an_empty_list(db):
    assert execute(db, Statement("create table public.t ()", (), rows)) == []
    assert execute(db, Statement("select 1 where false", (), value)) is None


def test_what_the_database_refuses_comes_through(db):
    with pytest.raises(psycopg.errors.DivisionByZero):
        execute(db, Statement("select 1 / 0", (), value))


@pytest.mark.parametrize("large", [[], ['"' + "x" * LARGE + '"']], ids=["small", "large"])
@pytest.mark.parametrize("copies", [0, 1, MOST_PARAMETERS], ids=["none", "few", "many"])
def test_an_array_of_texts_arrives_as_it_was(db, copies, large):
    texts = large + ['{"a": "b,c"}', None, '"\\u00e4 \\\\ {}"', "null"] * copies
    sql, parameters = array_of("jsonb", texts)
    [found] = execute(db, Statement(f"select to_json({sql})::text", tuple(parameters), rows))
    expected = [None if text is None else json.loads(text) for text in texts]
    assert json.loads(found[0]) == expected
    [(nulls,)] = execute(
        db, Statement(f"select count(*) from unnest({sql}) as t (e) where e is null", tuple(parameters), rows)
    )
    assert nulls == copies


@pytest.mark.parametrize(
    ("sql_type", "elements"),
    [
        ("uuid", [UUID(int=7), None, UUID(int=1 << 100)]),
        ("int", [1, None, -5]),
        ("float8", [0.1, None, 1e300, float("inf")]),
        ("boolean", [True, None, False]),
        ("text", ["a", None, "", "NULL", "a,b", '"', "\\", '\\"', " {} ", "ä\n"]),
        ("int", []),
    ],
    ids=str,
)
def test_the_text_of_an_array_is_read_as_its_elements(db, sql_type, elements):
    read = execute(db, Statement(f"select %s::{sql_type}[]", (array_text(elements),), value))
    assert read == elements
