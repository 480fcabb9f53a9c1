"""Where a setting may be given, and who wins."""

from __future__ import annotations

import pytest

from pytest_pgflow._options import Settings, settle


@pytest.fixture
def settled(pytester):
    """Return the settings that a session with this command line, ini file and fixture comes to."""

    def settled(*args, ini="", fixture=None):
        pytester.makeini(f"[pytest]\naddopts = -p no:asyncio\n{ini}")
        return settle(pytester.parseconfig(*args), fixture or {})

    return settled


def test_without_any_setting_a_server_is_started_and_steps_run_inline(settled):
    assert settled() == Settings(server="auto", isolation="clone", executor="inline", timeout=10, processes=2)


def test_the_command_line_wins_over_the_fixture_and_the_fixture_over_the_ini_file(settled):
    settings = settled(
        "--pgflow-timeout=3",
        fixture={"timeout": 4, "isolation": "none"},
        ini="pgflow_timeout = 5\npgflow_isolation = delete\npgflow_processes = 7\n",
    )
    assert (settings.timeout, settings.isolation, settings.processes) == (3, "none", 7)


def test_an_exported_dsn_wins_over_the_fixture_and_the_ini_file(settled, monkeypatch):
    monkeypatch.setenv("PGFLOW_TEST_DSN", "host=exported")
    assert settled(fixture={"dsn": "host=fixture"}, ini="pgflow_dsn = host=ini\n").dsn == "host=exported"


def test_a_dsn_on_the_command_line_wins_over_an_exported_one(settled, monkeypatch):
    monkeypatch.setenv("PGFLOW_TEST_DSN", "host=exported")
    assert settled("--pgflow-dsn=host=typed").dsn == "host=typed"


def test_the_dsn_of_the_application_is_not_looked_at(settled, monkeypatch):
    monkeypatch.setenv("PGFLOW_DSN", "host=production")
    assert settled().dsn is None


def test_asking_for_a_kind_of_server_overrules_an_exported_dsn(settled, monkeypatch):
    monkeypatch.setenv("PGFLOW_TEST_DSN", "host=exported")
    settings = settled("--pgflow-server=embedded")
    assert (settings.dsn, settings.server) == (None, "embedded")


def test_an_exported_dsn_overrules_a_kind_of_server_in_the_ini_file(settled, monkeypatch):
    monkeypatch.setenv("PGFLOW_TEST_DSN", "host=exported")
    settings = settled(ini="pgflow_server = docker\n")
    assert (settings.dsn, settings.server) == ("host=exported", "auto")


def test_a_dsn_and_a_kind_of_server_in_one_place_contradict_each_other(settled):
    with pytest.raises(pytest.UsageError, match="--pgflow-dsn and --pgflow-server contradict each other"):
        settled("--pgflow-server=system", "--pgflow-dsn=host=x")


def test_a_docker_server_cannot_be_used_again(settled):
    with pytest.raises(pytest.UsageError, match="--pgflow-reuse: a docker server goes with its session"):
        settled("--pgflow-server=docker", "--pgflow-reuse")


@pytest.mark.parametrize(
    ("fixture", "sentence"),
    [
        ({"isolaton": "clone"}, "pgflow_settings has no key 'isolaton' (did you mean `isolation`?); known: dsn,"),
        ({"isolation": "clon"}, "isolation is one of clone, delete, none (did you mean `clone`?)"),
        ({"timeout": -1}, "pgflow_settings['timeout']=-1: timeout is a positive number of seconds"),
        ({"timeout": "soon"}, "pgflow_settings['timeout']='soon': timeout is a number of seconds"),
        ({"processes": 0}, "pgflow_settings['processes']=0: processes is a whole number from 1 on"),
        ({"keep": "perhaps"}, "pgflow_settings['keep']='perhaps': keep is true or false"),
        ({"setup": "create table"}, "setup is a function that takes the DSN of the template"),
    ],
)
def test_a_setting_that_means_nothing_is_refused_in_a_sentence(settled, fixture, sentence):
    with pytest.raises(pytest.UsageError) as refused:
        settled(fixture=fixture)
    assert sentence in str(refused.value)


def test_a_value_in_the_ini_file_is_checked_too_and_named_by_its_place(settled):
    with pytest.raises(pytest.UsageError) as refused:
        settled(ini="pgflow_executor = proces\n")
    assert str(refused.value) == (
        "pgflow_executor of tox.ini='proces': executor is one of inline, process (did you mean `process`?)"
    )


def test_a_command_line_option_with_an_unknown_value_ends_the_session_at_once(pytester):
    result = pytester.runpytest_inprocess("--pgflow-isolation=clones")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines("*--pgflow-isolation: invalid choice: 'clones'*")


def test_a_conftest_overrides_the_settings_fixture(pytester):
    pytester.makeconftest(
        """
        import pytest

        @pytest.fixture(scope="session")
        def pgflow_settings():
            return {"executor": "process"}
        """
    )
    pytester.makepyfile("def test_it(_pgflow_settled): assert _pgflow_settled.executor == 'process'")
    pytester.runpytest_inprocess().assert_outcomes(passed=1)


def test_a_marker_that_means_nothing_fails_its_test_without_a_traceback(pytester):
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.pgflow(timout=3)
        def test_1(): ...

        @pytest.mark.pgflow(executor='proc')
        def test_2(): ...

        @pytest.mark.pgflow(timeout=0)
        def test_3(): ...

        @pytest.mark.pgflow(skip_delays='no')
        def test_4(): ...

        @pytest.mark.pgflow('process')
        def test_5(): ...
        """
    )
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(errors=5)
    result.stdout.fnmatch_lines(
        [
            "@pytest.mark.pgflow: unknown keyword 'timout' (did you mean `timeout`?); known: executor, timeout*",
            "@pytest.mark.pgflow: executor='proc': executor is one of inline, process (did you mean `process`?)",
            "@pytest.mark.pgflow: timeout=0: timeout is a positive number of seconds",
            "@pytest.mark.pgflow: skip_delays='no': skip_delays is True or False",
            "@pytest.mark.pgflow: takes keywords only, got 'process'; known: executor, timeout*",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*During handling*")


def test_the_closest_marker_wins(pytester):
    pytester.makepyfile(
        """
        import pytest
        from pytest_pgflow._marker import read_markers

        pytestmark = pytest.mark.pgflow(timeout=1, isolation="none")

        @pytest.mark.pgflow(timeout=2)
        class TestIt:
            @pytest.mark.pgflow(timeout=3)
            def test_it(self, request):
                marked = read_markers(request.node)
                assert (marked.timeout, marked.isolation, marked.executor) == (3, "none", None)
        """
    )
    pytester.runpytest_inprocess("--strict-markers").assert_outcomes(passed=1)


def test_each_folder_may_have_its_own_settings(pytester, run_pytest):
    for folder, executor in (("one", "inline"), ("two", "process")):
        where = pytester.mkdir(folder)
        (where / "conftest.py").write_text(
            "import pytest\n\n@pytest.fixture(scope='session')\n"
            f"def pgflow_settings():\n    return {{'executor': {executor!r}}}\n"
        )
        (where / f"test_{folder}.py").write_text(
            f"def test_it(flow_runner):\n    assert flow_runner._defaults.executor == {executor!r}\n"
        )
    run_pytest().assert_outcomes(passed=2)
