import psycopg
import pytest

from pgflow_mp.errors import DatabaseUnreachable
from pgflow_mp.postgres import from_dsn
from tests.postgres.helpers import ask


def test_the_handle_of_a_given_server_never_stops_it(server_dsn):
    with from_dsn(server_dsn) as server:
        assert server.kind == "dsn"
        assert ask(server.dsn, "show server_version").split(" ")[0] == server.version
        assert server.log_tail() == ""
    assert ask(server_dsn, "select 1") == 1


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://me:geheim@127.0.0.1:1/orders",
        "host=127.0.0.1 port=1 user=me dbname=orders password=geheim",
    ],
)
def test_an_unreachable_server_is_named_without_its_password(dsn):
    with pytest.raises(DatabaseUnreachable) as caught:
        from_dsn(dsn)
    text = str(caught.value)
    assert "host=127.0.0.1" in text
    assert "dbname=orders" in text
    assert "Connection refused" in text
    assert "geheim" not in text
    assert "\n" not in text


@pytest.mark.parametrize(
    "dsn",
    ["postgresql://me:ge@heim@db:port/orders", "geheim", "postgresql://me:geheim@[::1/x", "passwort=geheim"],
)
def test_a_dsn_that_does_not_parse_is_not_repeated(dsn):
    with pytest.raises(DatabaseUnreachable, match="the DSN is not valid") as caught:
        from_dsn(dsn)
    assert "heim" not in str(caught.value)


def test_a_missing_database_is_told_as_the_server_tells_it(server_dsn):
    dsn = psycopg.conninfo.make_conninfo(server_dsn, dbname="no_such_database")
    with pytest.raises(DatabaseUnreachable, match='database "no_such_database" does not exist'):
        from_dsn(dsn)


def test_the_representation_of_a_server_shows_no_dsn(server_dsn):
    assert "host" not in repr(from_dsn(server_dsn))
