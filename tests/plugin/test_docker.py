"""The plugin on a server in a container. Run by ci/docker, which starts a Docker engine and makes the image."""

import os

import pytest

IMAGE = os.environ["PGFLOW_DOCKER_IMAGE"]

TESTS = """
    import os
    import pytest
    from pgflow_mp import Flow, step

    class Where(Flow):
        @step
        def where(ctx):
            with ctx.connection() as conn:
                return [os.getpid(), conn.execute("show data_directory").fetchone()[0]]

    @pytest.mark.parametrize("executor", ["inline", "process"])
    def test_runs(flow_runner, pgflow_server, executor):
        assert pgflow_server.kind == "docker"
        pid, folder = flow_runner.run(Where, executor=executor, timeout=60).output["where"]
        assert (pid == os.getpid()) == (executor == "inline")
        assert folder == "/pgflow-mp/data"

    @pytest.mark.parametrize("isolation", ["clone", "delete", "none"])
    def test_isolates(request, isolation):
        request.node.add_marker(pytest.mark.pgflow(isolation=isolation))
        conn = request.getfixturevalue("pgflow_conn")
        assert conn.execute("select count(*) from pgflow.runs").fetchone() == (0,)

    def test_fails(flow_runner):
        flow_runner.run(Where, replace={"where": ValueError("for the report")})
"""


@pytest.fixture
def containers():
    import docker

    client = docker.from_env()
    yield lambda: {container.name for container in client.containers.list(all=True)}
    client.close()


@pytest.mark.parametrize("said", ["by options", "by the settings fixture", "by the ini file"])
def test_flows_are_tested_in_a_container_whoever_asks_for_it(pytester, containers, said):
    options = {
        "by options": ["--pgflow-server=docker", f"--pgflow-image={IMAGE}"],
        "by the ini file": ["-o", "pgflow_server=docker", "-o", f"pgflow_image={IMAGE}"],
    }.get(said, [])
    if said == "by the settings fixture":
        pytester.makeconftest(
            f"""
            import pytest

            @pytest.fixture(scope="session")
            def pgflow_settings():
                return {{"server": "docker", "image": {IMAGE!r}}}
            """
        )
    pytester.makepyfile(test_it=TESTS)
    before = containers()
    result = pytester.runpytest_subprocess(*options, timeout=240)
    result.assert_outcomes(passed=5, failed=1)
    result.stdout.fnmatch_lines(["E*where * failed * ValueError: for the report", "*- pgflow run of where (failed) -*"])
    assert containers() == before


def test_a_database_is_kept_in_its_container(pytester, containers):
    pytester.makepyfile(test_it=TESTS)
    before = containers()
    options = ("--pgflow-server=docker", f"--pgflow-image={IMAGE}", "--pgflow-keep", "-k", "test_fails")
    pytester.runpytest_subprocess(*options, timeout=240).stdout.fnmatch_lines(["Kept: psql '*pgflow_kept_*"])
    (left,) = containers() - before
    pytester.run("docker", "rm", "--force", "--volumes", left)
    assert containers() == before


def test_without_an_engine_the_tests_are_told_so(pytester, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{pytester.path}/nobody")
    pytester.makepyfile("def test_it(pgflow_dsn): ...")
    result = pytester.runpytest_subprocess("--pgflow-server=docker", timeout=60)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["pgflow tests have no database server: *", "*docker: no Docker engine answers *; start Docker,*"]
    )
