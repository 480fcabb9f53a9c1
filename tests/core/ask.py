"""Short ways to ask the database in tests."""

import psycopg
import pytest


def value(conn, sql, *params):
    """The first column of the only row."""
    found = conn.execute(sql, params).fetchall()
    assert len(found) == 1, found
    return found[0][0]


def rows(conn, sql, *params):
    return conn.execute(sql, params).fetchall()


def column(conn, sql, *params):
    return [row[0] for row in conn.execute(sql, params).fetchall()]


def refusal(conn, sql, *params):
    """(SQLSTATE, message) of a statement that the database must refuse; nothing of it stays."""
    with pytest.raises(psycopg.Error) as caught, conn.transaction():
        conn.execute(sql, params)
    return caught.value.sqlstate, caught.value.diag.message_primary


def detail(conn, sql, *params):
    with pytest.raises(psycopg.Error) as caught, conn.transaction():
        conn.execute(sql, params)
    return caught.value.diag.message_detail
