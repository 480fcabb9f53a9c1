import pytest

from pgflow_mp.postgres import folders, reused
from pgflow_mp.postgres.launcher import running, serves
from tests.postgres.helpers import ask, folder_of, open_temporary_folder, pid_of, python, run, told

USER = """
from pgflow_mp.postgres import reused
with reused("system") as server:
    print(server.dsn, flush=True)
    input()
"""


@pytest.fixture(scope="module")
def shared_home():
    """One home for all tests, so that initdb runs once."""
    with open_temporary_folder() as folder:
        yield folder
        for data in folder.glob("pgflow-mp/tests-*/data"):
            folders.erase(data.resolve().parent)


@pytest.fixture(autouse=True)
def home(shared_home, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(shared_home))
    return shared_home


def test_what_one_session_made_is_there_for_the_next_and_nothing_runs_between():
    with reused("system") as server:
        run(server.dsn, "drop table if exists kept; create table kept as select 7 as n")
        assert ask(server.dsn, "show fsync") == "off"
        folder, pid = folder_of(server), pid_of(server)
    assert not serves(pid, folder / "data")
    with reused("system") as server:
        assert folder_of(server) == folder
        assert ask(server.dsn, "select n from kept") == 7


def test_sessions_at_the_same_time_share_it_and_the_last_one_stops_it():
    with reused("system") as first, python(USER) as other:
        assert told(other) == first.dsn
        pid, data = pid_of(first), folder_of(first) / "data"
        first.stop()
        assert serves(pid, data)
        other.communicate("\n", timeout=30)
        assert not serves(pid, data)


@pytest.fixture
def kept():
    """Fill a table; returns the folder and the question for its content."""
    with reused("system") as server:
        run(server.dsn, "drop table if exists kept; create table kept as select 7 as n")
        return folder_of(server), "select to_regclass('kept')"


def test_data_of_an_earlier_boot_are_not_trusted(kept):
    folder, content = kept
    (folder / "boot").write_text("another one")
    with reused("system") as server:
        assert ask(server.dsn, content) is None


@pytest.mark.skipif(not folders.memory_has_room(None), reason="this machine keeps no such data in memory")
def test_data_that_went_with_the_memory_are_made_anew(kept):
    folder, content = kept
    folders.erase((folder / "data").resolve().parent)
    with reused("system") as server:
        assert ask(server.dsn, content) is None


def test_data_that_no_server_starts_on_are_made_anew(kept):
    folder, content = kept
    (folder / "data" / "global" / "pg_control").write_bytes(b"")
    with reused("system") as server:
        assert ask(server.dsn, content) is None


def test_a_killed_server_is_started_again_with_its_data(kept):
    folder, content = kept
    with python(USER) as other:
        told(other)
        other.kill()
        other.wait(timeout=30)
    assert running(folder / "data"), "nobody was left to stop it"
    with reused("system") as server:
        assert ask(server.dsn, content) == "kept"
    assert not running(folder / "data")


def test_without_room_in_memory_the_data_are_in_its_folder(kept, monkeypatch):
    folder, _ = kept
    (folder / "boot").unlink()
    monkeypatch.setattr(folders, "MEMORY_ROOM", 2**62)
    with reused("system") as server:
        assert not (folder / "data").is_symlink()
        assert ask(server.dsn, "select 1") == 1


def test_a_kind_that_cannot_be_used_again_is_refused():
    with pytest.raises(ValueError, match="one of auto, embedded, system, not 'docker'"):
        reused("docker")
