"""Run by ci/docker, which starts a Docker engine and makes the image."""

import os
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
