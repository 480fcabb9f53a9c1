import shutil
import subprocess
from pathlib import Path

import pytest

from pgflow_mp.postgres import folders, start
from pgflow_mp.postgres.account import run_as, server_account
from pgflow_mp.postgres.launcher import serves
from tests.postgres.helpers import ask, python, told, wait_for_end

OWNER = """
from pgflow_mp.postgres import start
from pgflow_mp.postgres.launcher import running
from pathlib import Path
server = start("system")
folder = Path(server.dsn.split("'")[1]).parent
print(folder, running(folder / "data"), flush=True)
input()
"""


def owned(process):
    folder, pid = told(process).split()
    return Path(folder), int(pid)


@pytest.mark.slow
def test_the_server_of_a_killed_owner_is_swept_by_the_next_start_and_no_other():
    with start("system") as alive, python(OWNER) as owner:
        folder, pid = owned(owner)
        owner.kill()
        owner.wait(timeout=30)
        assert serves(pid, folder / "data")
        with start("system"):
            wait_for_end(pid, folder / "data")
            assert not folder.exists()
            assert ask(alive.dsn, "select 1") == 1


@pytest.mark.slow
def test_the_server_of_a_living_owner_in_another_process_is_left_alone():
    with python(OWNER) as owner:
        folder, pid = owned(owner)
        folders.sweep()
        assert serves(pid, folder / "data")
        owner.communicate("\n", timeout=30)
        assert not folder.exists()


def test_a_stranger_with_the_pid_of_a_dead_server_is_not_ended():
    account = server_account()
    with subprocess.Popen(["/bin/sleep", "60"], **run_as(account)) as stranger:
        left = folders.make(account)
        folders.share_out(left.path, account, folders.DATA)
        (left.data / "postmaster.pid").write_text(f"{stranger.pid}\n{left.data}\n")
        left.owned.close()
        folders.sweep()
        assert not left.path.exists()
        assert stranger.poll() is None
        stranger.kill()


def test_a_folder_whose_owner_is_still_making_it_is_left_alone():
    making = folders.make(None)
    making.owned.close()
    (making.path / folders.OWNER).write_text("")
    folders.sweep()
    assert making.path.exists()
    (making.path / folders.OWNER).write_text("1\n")
    folders.sweep()
    assert not making.path.exists()


def test_a_folder_with_a_link_for_its_note_is_left_alone(tmp_path):
    made = folders.make(None)
    made.owned.close()
    note = made.path / folders.OWNER
    note.rename(tmp_path / "note")
    note.symlink_to(tmp_path / "note")
    folders.sweep()
    assert made.path.exists()
    shutil.rmtree(made.path)


needs_memory = pytest.mark.skipif(
    not folders.MEMORY.is_dir() or shutil.disk_usage(folders.MEMORY).free < folders.MEMORY_ROOM,
    reason="this machine has no file system in memory with enough room",
)


@pytest.fixture
def parent_of(monkeypatch):
    """Where the folder of a server would be made."""
    monkeypatch.delenv("TMPDIR", raising=False)

    def parent_of(**options):
        made = folders.make(None, **options)
        made.remove()
        return made.path.parent

    return parent_of


@needs_memory
def test_data_that_are_thrown_away_are_in_memory_and_others_are_not(parent_of):
    assert parent_of(throwaway=True) == folders.MEMORY
    assert parent_of() != folders.MEMORY


def test_without_room_in_memory_the_temporary_folder_is_used(parent_of, monkeypatch):
    monkeypatch.setattr(folders, "MEMORY_ROOM", 2**62)
    assert parent_of(throwaway=True) == parent_of()


def test_a_temporary_folder_that_somebody_named_goes_before_memory(parent_of, monkeypatch):
    monkeypatch.setenv("TMPDIR", "/tmp")
    assert parent_of(throwaway=True) == parent_of()


@needs_memory
def test_what_a_dead_owner_left_in_memory_is_swept(monkeypatch):
    monkeypatch.delenv("TMPDIR", raising=False)
    left = folders.make(None, throwaway=True)
    left.owned.close()
    folders.sweep()
    assert not left.path.exists()
