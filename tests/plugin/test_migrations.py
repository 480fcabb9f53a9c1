"""What a template gets before pgflow-mp: the setting `migrations`."""

import pytest

from pytest_pgflow._migrations import read_migrations

BESIDE = """
    from pgflow_mp import Flow, step

    class Greet(Flow):
        @step
        def hello(flow_input):
            return f"hello {flow_input}"

    def test_it(flow_runner, pgflow_conn):
        assert flow_runner.run(Greet, "ada").output == {"hello": "hello ada"}
        assert pgflow_conn.execute("select mode from pgflow_mp.installed").fetchone() == ("beside",)

        # The same flow with another option, which is not ours to change where the flow is.
        class Hasty(Flow, slug="greet", timeout=7):
            @step
            def hello(flow_input):
                return f"hello {flow_input}"

        assert flow_runner.run(Hasty, "bob").output == {"hello": "hello bob"}
        assert pgflow_conn.execute("select opt_timeout from pgflow.flows").fetchone() == (7,)
"""


def test_flows_are_tested_beside_the_schema_that_a_function_makes(pytester, run_pytest):
    pytester.makeconftest(
        """
        import psycopg
        import pytest
        from tests.core import foreign

        def theirs(dsn):
            with psycopg.connect(dsn) as conn:
                foreign.build(conn, "0.17.1")

        @pytest.fixture(scope="session")
        def pgflow_settings():
            return {"migrations": theirs}
        """
    )
    pytester.makepyfile(BESIDE)
    run_pytest().assert_outcomes(passed=1)


def test_files_run_in_the_order_of_their_names_before_pgflow_is_installed(pytester, run_pytest):
    folder = pytester.mkdir("migrations")
    (folder / "2_rows.sql").write_text("insert into public.found select to_regnamespace('pgflow_mp') is null;")
    (folder / "1_table.sql").write_text("create table public.found (before boolean); select pgmq.create('theirs');")
    pytester.makeini("[pytest]\npgflow_migrations = migrations\n")
    pytester.makepyfile(
        """
        def test_it(pgflow_conn):
            assert pgflow_conn.execute("select before from found").fetchall() == [(True,)]
        """
    )
    run_pytest().assert_outcomes(passed=1)


def test_a_migration_that_fails_is_named(pytester, run_pytest):
    pytester.makefile(".sql", broken="create table a (b no_such_type);")
    pytester.makepyfile("def test_it(pgflow_dsn): pass")
    result = run_pytest("--pgflow-migrations", "broken.sql")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(['*this test gets no database: the migration *broken.sql failed: type "no_such_type"*'])


def test_files_are_told_apart_by_what_they_hold(tmp_path):
    file = tmp_path / "one.sql"
    file.write_text("select 1")
    first = read_migrations(tmp_path)
    assert read_migrations(file).digest == first.digest
    file.write_text("select 2")
    assert read_migrations(tmp_path).digest != first.digest
    assert read_migrations(print).digest is None


@pytest.mark.parametrize("given", [3, "no_such_folder", "."])
def test_migrations_that_are_nowhere_are_refused_in_a_sentence(tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="is a folder of SQL files, one file, or a function"):
        read_migrations(given)
