"""The real `postgres` driver for JavaScript, under Node and under Deno, sends every call form: what it types as what,
prepared or not, is its own doing. The statements are those of `forms`, as in every replay."""

from __future__ import annotations

import psycopg
import pytest

from tests.core.ask import value

from .forms import FORMS
from .npm import connect, run, version_of
from .parameters import filled, kind_and_value, type_names
from .world import compare, fill

pytestmark = pytest.mark.npm


@pytest.fixture(scope="module")
def full(_pgflow_databases):
    """A database in which everything is, the names of it, and a connection."""
    dsn = _pgflow_databases.create()
    with psycopg.connect(dsn, autocommit=True) as conn:
        yield dsn, fill(conn), conn
    _pgflow_databases.drop(dsn)


@pytest.mark.parametrize("prepare", [True, False], ids=["prepared", "not prepared"])
@pytest.mark.parametrize("runtime", ["node", "deno"])
def test_the_real_driver_gets_what_each_form_promises(full, tmp_path, runtime, prepare):
    """generations 8.1, 8.2, 9.1, 9.2: also the forms of the Elixir worker, as this driver would send them."""
    dsn, names, conn = full
    forms = [
        {
            "name": form.name,
            "sql": form.sql,
            "parameters": [kind_and_value(each, names) for each in form.parameters],
            "after": filled(form.after[0], names) if form.after else None,
        }
        for form in FORMS
    ]
    answers = run(tmp_path, "forms.mjs", {"connect": connect(dsn), "prepare": prepare, "forms": forms}, runtime=runtime)
    assert len(answers) == len(FORMS)
    wrong = {}
    for form, answer in zip(FORMS, answers, strict=True):
        try:
            assert "error" not in answer, answer
            types = type_names(conn, [oid for _, oid in answer["columns"]])
            columns = [f"{name} {kind}" for (name, _), kind in zip(answer["columns"], types, strict=True)]
            compare(form, columns, answer["rows"], names)
            if form.after:
                assert answer["after"] == form.after[1]
        except AssertionError as error:
            wrong[form.name] = str(error)
    assert wrong == {}
    assert value(conn, "select count(*) from pgflow.runs") == 3, "all was taken back"


def test_it_is_the_release_that_ci_npm_names():
    assert version_of("postgres").startswith("3.4.")
