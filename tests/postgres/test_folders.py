import shutil
import subprocess
from pathlib import Path

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
