"""Run by ci/docker, which starts a Docker engine and makes the image."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pgflow_mp.errors import ServerUnavailable
from pgflow_mp.postgres import folders, start
from tests.postgres.helpers import ask, python, told

IMAGE = os.environ["PGFLOW_DOCKER_IMAGE"]

OWNER = """
import sys
from pgflow_mp.postgres import start
server = start("docker", image=sys.argv[1])
print(server.dsn, flush=True)
input()
"""


@pytest.fixture
def engine():
    import docker

    client = docker.from_env()
    yield client
    client.close()


def names(engine):
    return {container.name for container in engine.containers.list(all=True)}


def test_a_server_in_a_container_answers_and_leaves_nothing_behind(engine):
    before = names(engine)
    with start("docker", image=IMAGE, settings={"work_mem": "5MB"}) as server:
        assert server.kind == "docker"
        assert ask(server.dsn, "show server_version").split(" ")[0] == server.version
        assert ask(server.dsn, "show fsync") == "off"
        assert ask(server.dsn, "show work_mem") == "5MB"
        assert ask(server.dsn, "show data_directory").startswith("/pgflow-mp/")
        assert "ready to accept connections" in server.log_tail()
        (name,) = names(engine) - before
        assert name.startswith(folders.PREFIX)
    assert names(engine) == before
    assert not Path("/tmp", name).exists()


def test_flows_run_on_it():
    from pgflow_mp.core.install import install

    with start("docker", image=IMAGE) as server:
        install(server.dsn)
        assert ask(server.dsn, "select count(*) from pgflow.flows") == 0


def test_a_server_that_ends_at_once_shows_its_log(engine):
    before = names(engine)
    with pytest.raises(ServerUnavailable) as caught:
        start("docker", image=IMAGE, settings={"shared_buffers": "banana"})
    assert 'invalid value for parameter "shared_buffers": "banana"' in str(caught.value)
    assert names(engine) == before


def test_the_container_of_a_killed_owner_goes_with_the_next_start(engine):
    before = names(engine)
    with start("docker", image=IMAGE) as alive:
        with python(OWNER, IMAGE) as owner:
            told(owner)
            assert len(names(engine) - before) == 2
            owner.kill()
            owner.wait(timeout=30)
        folders.sweep()  # a start without Docker cannot remove the container, so it leaves its folder
        assert len(names(engine) - before) == 2
        with start("docker", image=IMAGE):
            assert len(names(engine) - before) == 2
        assert ask(alive.dsn, "select 1") == 1
    assert names(engine) == before


MEMBER = """
import sys
from pathlib import Path
from pgflow_mp.postgres import start
server = start("docker", image=sys.argv[1], meeting=Path(sys.argv[2]))
print(server.dsn, flush=True)
input()
"""


def test_those_who_meet_share_a_container_and_the_last_one_removes_it(engine, tmp_path):
    before = names(engine)
    with start("docker", image=IMAGE, meeting=tmp_path) as first, python(MEMBER, IMAGE, tmp_path) as other:
        assert told(other) == first.dsn
        assert len(names(engine) - before) == 1
        first.stop()
        with start("docker", image=IMAGE):  # its sweep leaves alone what somebody still shares
            assert ask(first.dsn, "select 1") == 1
        other.communicate("\n", timeout=60)
        assert names(engine) == before
    with start("docker", image=IMAGE, meeting=tmp_path) as again:
        assert again.dsn != first.dsn
    assert names(engine) == before


def test_what_all_who_met_left_is_swept_when_they_are_killed(engine, tmp_path):
    before = names(engine)
    with python(MEMBER, IMAGE, tmp_path) as first, python(MEMBER, IMAGE, tmp_path) as second:
        assert told(first) == told(second)
        for member in (first, second):
            member.kill()
            member.wait(timeout=30)
    with start("docker", image=IMAGE):
        assert len(names(engine) - before) == 1
    with start("docker", image=IMAGE, meeting=tmp_path) as server:
        assert ask(server.dsn, "select 1") == 1
    assert names(engine) == before


def test_the_workers_of_xdist_share_a_container(engine, tmp_path):
    (tmp_path / "test_it.py").write_text(
        "import pytest\n\n"
        "@pytest.mark.parametrize('turn', range(4))\n"
        "def test_it(pgflow_server, pgflow_conn, worker_id, turn):\n"
        "    print('server', worker_id, pgflow_server.dsn)\n"
    )
    command = [sys.executable, "-m", "pytest", "-rA", "-n", "2", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "--pgflow-server=docker", f"--pgflow-image={IMAGE}"],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PGFLOW_TEST_DSN"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("server ")]
    assert {line[1] for line in lines} == {"gw0", "gw1"}
    assert len({line[2] for line in lines}) == 1


def test_a_container_removed_by_someone_else_is_no_error_at_stop(engine):
    before = names(engine)
    with start("docker", image=IMAGE):
        (name,) = names(engine) - before
        engine.containers.get(name).remove(force=True, v=True)
    assert names(engine) == before


def test_the_reaper_of_testcontainers_is_neither_started_nor_left_off(monkeypatch, engine):
    from testcontainers.core.config import testcontainers_config

    monkeypatch.setattr(testcontainers_config, "ryuk_disabled", False)
    before = len(names(engine))
    with start("docker", image=IMAGE):
        assert len(names(engine)) == before + 1
    assert testcontainers_config.ryuk_disabled is False
