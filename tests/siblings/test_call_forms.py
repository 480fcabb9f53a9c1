"""Every call form of every generation, in every way that a driver may send it. A replay: the protocol is real, the
programs that send it are not here (the tests marked npm run real ones)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.core.ask import value

from .forms import FORMS
from .parameters import filled
from .ways import WAYS
from .world import compare, fill

if TYPE_CHECKING:
    from .forms import Form

each = pytest.mark.parametrize("form", FORMS, ids=[form.name for form in FORMS])


@pytest.fixture(scope="module")
def full(_silent_dsn):
    """A connection and the names of what is there; all of it is taken back at the end."""
    with psycopg.connect(_silent_dsn, autocommit=True) as conn, conn.transaction(force_rollback=True):
        conn.execute("set local track_functions = 'all'")
        yield conn, fill(conn)


def calls(conn: psycopg.Connection[Any], form: Form) -> dict[str, int]:
    """How often each function has run that shares its name with the one that `form` calls, where there are several."""
    if not form.resolves:
        return {}
    counted = (
        "select p.oid::regprocedure::text, coalesce(s.calls, 0) from pg_proc as p "
        "left join pg_stat_xact_user_functions as s on s.funcid = p.oid "
        "where p.pronamespace = 'pgflow'::regnamespace and p.proname = split_part(%s, '(', 1)"
    )
    return {name.removeprefix("pgflow."): count for name, count in conn.execute(counted, [form.resolves])}


@each
def test_it_does_the_same_however_it_is_sent(full, form):
    """generations 7.2.1, 7.2.2, 7.3, 8.1, 8.2, 9.1 with its matrix, 9.2; SU-1, SU-2."""
    conn, names = full
    for way, send in WAYS.items():
        before = calls(conn, form)
        with conn.transaction(force_rollback=True):
            try:
                columns, found = send(conn, form, names)
                compare(form, columns, found, names)
                if form.after:
                    query, wanted = form.after
                    assert value(conn, filled(query, names)) == wanted
            except (AssertionError, psycopg.Error) as error:
                error.add_note(f"sent: {way}")
                raise
        after = calls(conn, form)
        assert {name for name in after if after[name] > before[name]} == set(form.resolves.split()), way


def test_a_route_map_without_a_mode_is_nobody_s_call(full):
    """generations 9.1: an error, and no other function takes it."""
    conn, names = full
    call = "select pgflow.ensure_flow_compiled(%s, %s::jsonb, route_map => %s::jsonb)"
    with pytest.raises(psycopg.errors.UndefinedFunction), conn.transaction():
        conn.execute(call, [names["shape"], names["shape"], "[]"])
