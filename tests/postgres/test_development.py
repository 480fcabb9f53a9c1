import os
import shutil
import signal
import subprocess

import pytest

from pgflow_mp.errors import ServerUnavailable
from pgflow_mp.postgres import binaries, development
from pgflow_mp.postgres.account import run_as, server_account
from pgflow_mp.postgres.cache import embedded_binaries
from pgflow_mp.postgres.launcher import running, serves
from tests.postgres.helpers import (
    AS_ROOT,
    ask,
    folder_of,
    open_folder,
    open_temporary_folder,
    pid_of,
    python,
    run,
    socket_of,
    told,
    wait_for_end,
)

USER = """
from pgflow_mp.postgres import development
with development("system") as server:
    print(server.dsn, flush=True)
    input()
"""

ROUNDS = """
import psycopg, sys
from pgflow_mp.postgres import development
for _ in range(int(sys.argv[1])):
    with development("system") as server, psycopg.connect(server.dsn, autocommit=True) as conn:
        conn.execute("insert into visits values (1)")
print("done", flush=True)
"""


@pytest.fixture(scope="module")
def shared_home():
    """One home for all tests, so that initdb runs once."""
    with open_temporary_folder() as folder:
        yield folder


@pytest.fixture(autouse=True)
def home(shared_home, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(shared_home))
    return shared_home


@pytest.fixture
def kept():
    """Fill a table that later servers must still have; returns the question for its content."""
    with development("system") as server:
        run(server.dsn, "drop table if exists kept; create table kept as select 7 as n")
    return "select n from kept"


def test_it_is_durable_and_its_data_stay(kept):
    with development("system") as server:
        assert ask(server.dsn, "show fsync") == "on"
        assert ask(server.dsn, "show server_version").split(" ")[0] == server.version
        folder, pid = folder_of(server), pid_of(server)
    assert not serves(pid, folder / "data")
    with development("system") as server:
        assert ask(server.dsn, kept) == 7
        assert "not properly shut down" not in server.log_tail()


def test_it_is_one_for_each_major_version(home):
    with development("system") as server:
        assert folder_of(server) == home / "pgflow-mp" / f"development-{server.major}"


def test_two_users_share_it_and_the_last_one_stops_it():
    with python(USER) as other:
        dsn = told(other)
        with development("system") as server:
            assert server.dsn == dsn
            folder, pid = folder_of(server), pid_of(server)
            other.communicate("\n", timeout=30)
            assert other.returncode == 0
            assert ask(server.dsn, "select 1") == 1
            assert pid_of(server) == pid
        assert not serves(pid, folder / "data")


def test_the_one_who_started_it_may_leave_first():
    first, second = development("system"), development("system")
    pid = pid_of(second)
    first.stop()
    assert ask(second.dsn, "select 1") == 1
    second.stop()
    assert not serves(pid, folder_of(second) / "data")


def test_the_server_of_a_killed_user_is_joined_and_then_stopped():
    with python(USER) as killed:
        told(killed)
        killed.send_signal(signal.SIGKILL)
        killed.wait(timeout=30)
    with development("system") as server:
        folder, pid = folder_of(server), pid_of(server)
        assert "not properly shut down" not in server.log_tail()
        assert server.log_tail().count("starting PostgreSQL") == 1
    wait_for_end(pid, folder / "data")


@pytest.mark.slow
def test_many_come_and_go_at_once(home):
    with development("system") as server:
        run(server.dsn, "drop table if exists visits; create table visits (n int)")
        folder = folder_of(server)
    with python(ROUNDS, 4) as one, python(ROUNDS, 4) as two, python(ROUNDS, 4) as three:
        for user in (one, two, three):
            out, errors = user.communicate(timeout=60)
            assert (out.strip(), errors) == ("done", "")
    assert running(folder / "data") is None
    with development("system") as server:
        assert ask(server.dsn, "select count(*) from visits") == 12


def test_a_stranger_with_the_pid_of_the_dead_server_does_not_keep_it_from_starting(kept):
    with development("system") as server:
        data, pid = folder_of(server) / "data", pid_of(server)
        as_after_a_crash = (data / "postmaster.pid").read_text()
    with subprocess.Popen(["/bin/sleep", "60"], **run_as(server_account())) as stranger:
        lines = as_after_a_crash.replace(str(pid), str(stranger.pid), 1)
        (data / "postmaster.pid").write_text(lines)
        with development("system") as server:
            assert ask(server.dsn, kept) == 7
        assert stranger.poll() is None
        stranger.kill()


def test_a_server_killed_without_a_trace_starts_again_with_its_data(kept):
    with development("system") as server:
        data = folder_of(server) / "data"
        pid = pid_of(server)
        os.kill(pid, signal.SIGKILL)
        wait_for_end(pid, data)
        with development("system") as again:
            assert ask(again.dsn, kept) == 7


@pytest.mark.slow
def test_a_data_home_with_a_long_path_works_for_all_users(home, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(open_folder(home / ("long" * 25))))
    with development("system") as one, development("system") as two:
        assert one.dsn == two.dsn
        assert ask(two.dsn, "select 1") == 1
        short = socket_of(one)
    assert short.parent.name == "tmp"
    short.rmdir()


def test_it_says_what_was_tried(monkeypatch):
    monkeypatch.setattr(binaries, "WHEEL", "no_such_wheel")
    monkeypatch.setenv(binaries.BIN_VARIABLE, "/nonexistent")
    with pytest.raises(ServerUnavailable) as caught:
        development()
    assert [kind for kind, _ in caught.value.attempts] == ["embedded", "system"]


@pytest.fixture
def home_with_data(monkeypatch):
    """A home of its own with data of the embedded server, whose folder the test may spoil."""
    with open_temporary_folder() as folder:
        monkeypatch.setenv("XDG_DATA_HOME", str(folder))
        with development() as server:
            assert server.kind == "embedded"
            place = folder_of(server)
        yield place


@pytest.mark.parametrize("spoil", ["data of a stranger", "a configuration that is wrong", "a lock that is none"])
def test_data_whose_server_does_not_start_are_never_left_for_another_server(home_with_data, spoil):
    if spoil == "data of a stranger":
        if not AS_ROOT:
            pytest.skip("only root can give files away")
        os.chown(home_with_data / "data", 12345, 12345)
    elif spoil == "a configuration that is wrong":
        (home_with_data / "data" / "postgresql.auto.conf").write_text("no_such_setting = 1\n")
    else:
        (home_with_data / "change.lock").unlink()
        (home_with_data / "change.lock").mkdir()
    with pytest.raises(ServerUnavailable) as caught:
        development()
    ((kind, reason),) = caught.value.attempts
    assert kind == "embedded"
    assert f"Your development data in {home_with_data} stay as they are" in reason
    assert "chown -R" in reason
    assert [path.name for path in home_with_data.parent.iterdir()] == [home_with_data.name]


@pytest.mark.slow
def test_an_embedded_server_that_cannot_make_data_leaves_the_way_to_the_system(monkeypatch):
    with open_temporary_folder() as folder:
        monkeypatch.setenv("XDG_DATA_HOME", str(folder))
        (folder / "pgflow-mp").mkdir()
        (folder / "pgflow-mp" / f"development-{embedded_binaries(server_account()).major}").write_text("no folder")
        with development() as server:
            assert server.kind == "system"


def test_a_container_is_no_development_server():
    with pytest.raises(ValueError, match="not 'docker'"):
        development("docker")


@pytest.mark.slow
def test_a_home_removed_while_in_use_does_not_hinder_leaving(monkeypatch):
    with open_temporary_folder() as folder:
        monkeypatch.setenv("XDG_DATA_HOME", str(folder))
        server = development("system")
        data, pid = folder_of(server) / "data", pid_of(server)
        shutil.rmtree(folder_of(server))
        server.stop()
        os.kill(pid, signal.SIGQUIT)  # it would notice by itself, within a minute
        wait_for_end(pid, data)
