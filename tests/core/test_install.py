"""Installing, installing again, and what can go wrong. Rules: core section 1, issue point 4, D-1, D-11."""

import threading
import uuid
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest
from psycopg import conninfo

from pgflow_mp.core import pgmq, scripts
from pgflow_mp.core.install import install
from pgflow_mp.errors import DatabaseUnreachable, InstallError

from .ask import column, refusal, rows, value


@pytest.fixture
def sql_folder(tmp_path):
    """A copy of the package's SQL that a test may change."""
    for script in [
        *scripts.functions(scripts.root(), realtime=True),
        *scripts.functions(scripts.root(), realtime=False),
        *(script for _, parts in scripts.migrations(scripts.root()) for script in parts),
    ]:
        file = tmp_path / "sql" / script.name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(script.sql)
    return tmp_path / "sql"


NEWEST = scripts.migrations(scripts.root())[-1][0]


def add_migration(sql_folder, place, sql):
    """Write a migration that follows those of the package; return its version."""
    version = NEWEST + place
    (sql_folder / "migrations" / f"{version:04}_test.sql").write_text(sql)
    return version


@pytest.fixture
def role(server_dsn):
    """A login role without any rights."""
    name = f"pgflow_role_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server_dsn, autocommit=True) as admin:
        admin.execute(f"create role {name} login")
    yield name
    with psycopg.connect(server_dsn, autocommit=True) as admin:
        admin.execute(f"drop role {name}")


@pytest.fixture
def owned_dsn(server_dsn, role):
    """An empty database that `role` owns, as that role."""
    name = f"pgflow_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server_dsn, autocommit=True) as admin:
        admin.execute(f"create database {name} owner {role}")
    yield conninfo.make_conninfo(server_dsn, dbname=name, user=role)
    with psycopg.connect(server_dsn, autocommit=True) as admin:
        admin.execute(f"drop database {name} with (force)")


def make_realtime(conn):
    conn.execute("create schema realtime")
    conn.execute("create table realtime.messages (payload jsonb, event text, topic text)")
    conn.execute(
        "create function realtime.send(payload jsonb, event text, topic text, private boolean) returns void "
        "language sql as 'insert into realtime.messages values (payload, event, topic)'"
    )


def test_the_first_install_says_what_it_did(empty_dsn):
    lines = install(empty_dsn)
    assert [line.partition(":")[0] for line in lines] == ["pgmq", "tables", "functions", "events"]
    assert lines[1] == f"tables: created, version {NEWEST}"


def test_the_second_install_has_nothing_to_do(empty_dsn):
    install(empty_dsn)
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        before = rows(conn, "select oid, xmin::text from pg_proc order by oid")
        lines = install(conn)
        assert rows(conn, "select oid, xmin::text from pg_proc order by oid") == before
    assert all(line.endswith("nothing to do") for line in lines), lines


def test_installed_remembers_version_digest_and_how_pgmq_came(db):
    version, digest, package, how = db.execute(
        "select version, content_hash, package_version, pgmq from pgflow_mp.installed"
    ).fetchone()
    assert (version, len(digest), package) == (NEWEST, 64, "0.1.0")
    assert how.startswith(("SQL ", "extension "))


def test_a_caller_s_transaction_takes_the_install_with_it(empty_dsn):
    with psycopg.connect(empty_dsn) as conn:
        conn.execute("select 1")
        install(conn)
        conn.rollback()
        assert value(conn, "select to_regnamespace('pgflow')") is None


def test_a_caller_s_transaction_keeps_its_settings(empty_dsn):
    """Not only when it ends: what the caller does next finds its names, and waits for locks as long as before."""
    sql = (
        "select name, setting from pg_settings where source = 'session' "
        "or name in ('search_path', 'lock_timeout', 'check_function_bodies', 'client_min_messages')"
    )
    with psycopg.connect(empty_dsn) as conn:
        conn.execute("create schema mine; create table mine.notes (note text)")
        conn.execute("set search_path = mine, public; set local lock_timeout = '7s'")
        before = rows(conn, sql)
        install(conn)
        assert rows(conn, sql) == before
        conn.execute("insert into notes values ('found')")
        install(conn)
        with pytest.raises(InstallError):
            install(conn, worker_roles=["nobody_of_this_name"])
        assert rows(conn, sql) == before


def test_two_installers_at_once_wait_for_each_other(empty_dsn):
    results = []
    threads = [threading.Thread(target=lambda: results.append(install(empty_dsn))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    made = [lines for lines in results if "created" in lines[1]]
    assert (len(results), len(made)) == (4, 1)


def test_an_install_that_fails_leaves_nothing_behind(empty_dsn, sql_folder):
    (sql_folder / "work" / "zz_broken.sql").write_text("this is no SQL")
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        with pytest.raises(psycopg.errors.SyntaxError):
            install(conn, folder=sql_folder)
        assert column(conn, "select nspname from pg_namespace where nspname ~ '^pg(flow|mq)'") == []


def test_a_schema_pgflow_of_somebody_else_is_left_alone(empty_dsn):
    """generations SU-10: it is not migrated either."""
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        conn.execute("create schema pgflow")
        conn.execute("create table pgflow.flows (flow_slug text)")
        with pytest.raises(InstallError, match="schema pgflow that pgflow-mp did not make"):
            install(conn)
        assert value(conn, "select to_regnamespace('pgmq')") is None


def test_an_empty_schema_pgflow_is_used(empty_dsn):
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        conn.execute("create schema pgflow")
        install(conn)
        assert value(conn, "select pgflow.is_valid_slug('a')")


def test_an_existing_pgmq_is_left_alone(empty_dsn):
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        conn.execute((pgmq._shipped_folder() / "pgmq.sql").read_bytes())
        conn.execute("select pgmq.create('mine')")
        assert install(conn)[0] == "pgmq: already here (SQL), nothing to do"
        assert column(conn, "select queue_name from pgmq.list_queues()") == ["mine"]


def test_a_pgmq_before_1_5_is_refused(empty_dsn):
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        conn.execute("create schema pgmq")
        conn.execute("create table pgmq.meta (queue_name text)")
        conn.execute("create type pgmq.message_record as (msg_id bigint, message jsonb)")
        with pytest.raises(InstallError, match=r"older than 1\.5\.0"):
            install(conn)


@pytest.fixture
def extension_folder():
    """A folder with pgmq as an extension, made of the SQL that the package ships; the server's user can read it."""
    with TemporaryDirectory() as name:
        folder = Path(name) / "extension"
        folder.mkdir()
        folder.parent.chmod(0o755)
        (folder / "pgmq.control").write_text(
            "default_version = '1.13.0'\nschema = 'pgmq'\nrelocatable = false\nsuperuser = true\n"
        )
        (folder / "pgmq--1.13.0.sql").write_bytes((pgmq._shipped_folder() / "pgmq.sql").read_bytes())
        for file in folder.iterdir():
            file.chmod(0o644)
        yield folder.parent


def offer_extension(dsn, folder):
    """Make the server offer the extension in the database of `dsn`; skip where it cannot (before 18)."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        if conn.info.server_version < 180000:
            pytest.skip("extension_control_path came with PostgreSQL 18")
        conn.execute(f"alter database {conn.info.dbname} set extension_control_path = '{folder}:$system'")


def test_pgmq_comes_as_extension_where_the_server_offers_it(empty_dsn, extension_folder):
    """core 1.2, E-2."""
    offer_extension(empty_dsn, extension_folder)
    assert install(empty_dsn)[0] == "pgmq: created extension, version 1.13.0"
    assert install(empty_dsn)[0] == "pgmq: already here (extension 1.13.0), nothing to do"
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        assert value(conn, "select pgmq from pgflow_mp.installed") == "extension 1.13.0"
        conn.execute("select pgflow.create_flow('f')")
        conn.execute("select pgflow.delete_flow_and_data('f')")


def test_an_extension_that_only_a_superuser_may_create_comes_as_sql(server_dsn, owned_dsn, extension_folder):
    offer_extension(
        conninfo.make_conninfo(server_dsn, dbname=conninfo.conninfo_to_dict(owned_dsn)["dbname"]), extension_folder
    )
    assert install(owned_dsn)[0].startswith("pgmq: installed from SQL, version ")


def test_without_extension_and_without_the_package_the_error_says_what_to_install(empty_dsn, monkeypatch):
    monkeypatch.setattr(pgmq, "find_spec", lambda _: None)
    with pytest.raises(InstallError, match=r"pip install 'pgmq"):
        install(empty_dsn)


def test_an_owner_who_is_no_superuser_can_install_and_use_it(owned_dsn):
    """Point 4: nothing of a hosted platform, and no superuser, is needed."""
    install(owned_dsn)
    with psycopg.connect(owned_dsn, autocommit=True) as conn:
        assert not value(conn, "select rolsuper from pg_roles where rolname = current_user")
        conn.execute("select pgflow.create_flow('mine')")
        assert value(conn, "select pgflow.flow_exists('mine')")


def test_a_role_that_may_not_create_gets_one_sentence(empty_dsn, role):
    dsn = conninfo.make_conninfo(empty_dsn, user=role)
    with pytest.raises(InstallError, match=rf"role '{role}' may not install .* permission denied"):
        install(dsn)


def test_an_unreachable_server_gets_one_sentence():
    with pytest.raises(DatabaseUnreachable) as caught:
        install("host=127.0.0.1 port=1 user=nobody password=secret dbname=x")
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_server_before_14_is_refused(empty_dsn):
    """core E-4."""

    class OldServer:
        server_version = 130012

    class OldConnection(psycopg.Connection):
        info = OldServer()

    with (
        OldConnection.connect(empty_dsn) as conn,
        pytest.raises(InstallError, match="needs PostgreSQL 14 or later; this server is version 13"),
    ):
        install(conn)


def test_a_busy_database_gets_one_sentence(empty_dsn, sql_folder, monkeypatch):
    install(empty_dsn)
    monkeypatch.setattr("pgflow_mp.core.install._WAIT_FOR_TABLE", "50ms")
    add_migration(sql_folder, 1, "alter table pgflow.runs add column extra int;")
    with psycopg.connect(empty_dsn) as blocker:
        blocker.execute("lock table pgflow.runs in access share mode")
        with pytest.raises(InstallError, match="is busy"):
            install(empty_dsn, folder=sql_folder)


def test_migrations_above_the_installed_version_run_once_and_in_order(empty_dsn, sql_folder):
    install(empty_dsn, folder=sql_folder)
    add_migration(sql_folder, 1, "create table pgflow_mp.extra (a int);")
    last = add_migration(sql_folder, 2, "insert into pgflow_mp.extra values (1);")
    assert install(empty_dsn, folder=sql_folder)[1] == f"tables: migrated from version {NEWEST} to version {last}"
    assert install(empty_dsn, folder=sql_folder)[1] == f"tables: version {last} is current, nothing to do"
    with psycopg.connect(empty_dsn) as conn:
        assert rows(conn, "select * from pgflow_mp.extra") == [(1,)]
        assert value(conn, "select version from pgflow_mp.installed") == last


def test_a_database_of_the_first_version_is_brought_up_to_date(empty_dsn, sql_folder):
    later = list((sql_folder / "migrations").iterdir())
    texts = [file.read_text() for file in later]
    for file in later:
        file.unlink()
    assert install(empty_dsn, folder=sql_folder)[1] == "tables: created, version 1"
    for file, text in zip(later, texts, strict=True):
        file.write_text(text)
    assert install(empty_dsn, folder=sql_folder)[1] == f"tables: migrated from version 1 to version {NEWEST}"


def test_every_migration_has_a_number_of_its_own():
    versions = [version for version, _ in scripts.migrations(scripts.root())]
    assert versions == list(range(1, NEWEST + 1))


def test_a_new_database_goes_through_the_migrations_too(empty_dsn, sql_folder):
    last = add_migration(sql_folder, 1, "create table pgflow_mp.extra (a int);")
    assert install(empty_dsn, folder=sql_folder)[1] == f"tables: created, version {last}"
    with psycopg.connect(empty_dsn) as conn:
        assert rows(conn, "select * from pgflow_mp.extra") == []


def test_a_database_of_a_later_release_is_refused(empty_dsn):
    install(empty_dsn)
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        conn.execute("update pgflow_mp.installed set version = 99")
        with pytest.raises(InstallError, match="a later pgflow-mp installed it"):
            install(conn)


def test_changed_functions_are_replaced_with_their_grants(empty_dsn, sql_folder, role):
    """D-11: whoever could use a function before can after, and nobody else."""
    body = "create or replace function pgflow_mp.probe({}) returns {} language sql as $$ select {} $$;"
    probe = sql_folder / "read" / "probe.sql"
    probe.write_text(body.format("", "int", "1"))
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        install(conn, folder=sql_folder)
        conn.execute("revoke execute on function pgflow_mp.probe() from public")
        conn.execute(f"grant execute on function pgflow_mp.probe() to {role}")

        for arguments, result, expression in [
            ("", "int", "2"),
            ("", "text", "'another result type'"),
            ("a int default 1", "text", "'another parameter'"),
            ("b int default 1", "text", "'another name'"),
        ]:
            probe.write_text(body.format(arguments, result, expression))
            assert "updated" in install(conn, folder=sql_folder)[2]
            assert str(value(conn, "select pgflow_mp.probe()")) == expression.strip("'")
            oid = value(conn, "select oid from pg_proc where proname = 'probe'")
            assert value(conn, "select has_function_privilege(%s, %s::oid, 'execute')", role, oid)
            assert not value(conn, "select has_function_privilege('public', %s::oid, 'execute')", oid)

        conn.execute(f"drop owned by {role}")
        probe.unlink()
        install(conn, folder=sql_folder)
        assert column(conn, "select oid from pg_proc where proname = 'probe'") == []


def test_a_function_that_somebody_added_stays(empty_dsn, sql_folder):
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        install(conn, folder=sql_folder)
        conn.execute("create function pgflow.theirs() returns int language sql as 'select 1'")
        (sql_folder / "read" / "more.sql").write_text("select 'another file, so all functions are made again'")
        assert "updated" in install(conn, folder=sql_folder)[2]
        assert value(conn, "select pgflow.theirs()") == 1


def test_a_dependent_object_of_somebody_else_stops_the_install_with_a_sentence(empty_dsn, sql_folder):
    body = "create or replace function pgflow_mp.probe() returns {0} language sql as $$ select null::{0} $$;"
    probe = sql_folder / "read" / "probe.sql"
    probe.write_text(body.format("int"))
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        install(conn, folder=sql_folder)
        conn.execute("create view theirs as select pgflow_mp.probe()")
        probe.write_text(body.format("text"))
        with pytest.raises(InstallError, match=r"view public\.theirs depends on function"):
            install(conn, folder=sql_folder)


def test_installing_again_adapts_to_realtime_that_came_or_went(empty_dsn, sql_folder):
    """D-10 and issue 3 point 2: decided when installing, not at each call."""
    for variant, answer in [("realtime", "yes"), ("silent", "no")]:
        (sql_folder / "events" / f"probe.{variant}.sql").write_text(
            f"create or replace function pgflow_mp.probe() returns text language sql as $$ select '{answer}' $$;"
        )
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        assert "no realtime.send" in install(conn, folder=sql_folder)[3]
        assert value(conn, "select pgflow_mp.probe()") == "no"
        make_realtime(conn)
        assert install(conn, folder=sql_folder)[3] == "events: sent by realtime.send"
        assert value(conn, "select pgflow_mp.probe()") == "yes"
        conn.execute("drop schema realtime cascade")
        install(conn, folder=sql_folder)
        assert value(conn, "select pgflow_mp.probe()") == "no"


def test_an_install_plans_no_jobs(empty_dsn):
    """core CJ-3 is the original's; here workers recover what stalls, and a plan is the operator's to make."""
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        conn.execute("create schema cron")
        conn.execute("create table cron.job (jobid bigint generated always as identity, jobname text)")
        conn.execute(
            "create function cron.schedule(job_name text, schedule text, command text) returns bigint "
            "language sql as 'insert into cron.job (jobname) values (job_name) returning jobid'"
        )
        install(conn)
        assert value(conn, "select count(*) from cron.job") == 0


def test_every_function_body_is_valid(db):
    """The install creates functions unchecked, since they call each other; here each is checked."""
    for (source,) in rows(
        db,
        "select pg_get_functiondef(p.oid) from pg_proc p "
        "where p.pronamespace in ('pgflow'::regnamespace, 'pgflow_mp'::regnamespace)",
    ):
        db.execute(source)


def test_every_version_of_the_schema_is_made_by_one_file():
    """Two files of one number, as two changes at once bring them, would leave out one of them in older databases."""
    versions = [version for version, _ in scripts.migrations(scripts.root())]
    assert versions == sorted(set(versions))


def test_every_function_pins_its_search_path(db):
    """core E-1 and issue 3 point 6."""
    unpinned = column(
        db,
        "select p.oid::regprocedure::text from pg_proc p "
        "where p.pronamespace in ('pgflow'::regnamespace, 'pgflow_mp'::regnamespace) "
        "and not exists (select from unnest(p.proconfig) c where c like 'search_path=%%')",
    )
    assert unpinned == []


def test_the_core_works_under_a_hostile_search_path(db):
    """core E-1: everything is referenced with its schema."""
    db.execute("create schema hostile")
    db.execute("create table hostile.flows (flow_slug text)")
    db.execute("create function hostile.lower(text) returns text language sql as 'select ''wrong'''")
    db.execute("set search_path = hostile, pg_catalog")
    db.execute("select pgflow.create_flow('Mine')")
    db.execute("select pgflow.add_step('Mine', 'a')")
    assert rows(db, "select flow_slug, queue_name from pgflow.steps") == [("Mine", "mine")]


def test_public_may_not_use_the_schemas(pgflow_dsn, role):
    """core E-3: permission denied for schema pgflow, 42501."""
    with psycopg.connect(conninfo.make_conninfo(pgflow_dsn, user=role), autocommit=True) as conn:
        assert refusal(conn, "select pgflow.is_valid_slug('a')") == ("42501", "permission denied for schema pgflow")
        assert refusal(conn, "select pgflow_mp.flow_details()") == (
            "42501",
            "permission denied for schema pgflow_mp",
        )
