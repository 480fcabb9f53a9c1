"""As root the server runs as an account that may be unable to reach what root can."""

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

import pgflow_mp
from pgflow_mp.errors import ServerUnavailable
from pgflow_mp.postgres import account as accounts
from pgflow_mp.postgres import cache, start
from pgflow_mp.postgres.account import Account, can_enter, run_as, server_account
from pgflow_mp.postgres.binaries import wheel_package
from tests.postgres.helpers import AS_ROOT, ask, copy_quickly, open_folder, pid_of

pytestmark = pytest.mark.skipif(not AS_ROOT, reason="only root runs servers as another account")


@pytest.fixture
def closed_wheel(tmp_path, monkeypatch):
    """The wheel's package in a folder of mode 0700, as in a virtual environment below root's home."""
    tmp_path.chmod(0o700)
    package = wheel_package()
    copy_quickly(package, tmp_path / package.name)
    if package.with_name(f"{package.name}.libs").exists():
        copy_quickly(package.with_name(f"{package.name}.libs"), tmp_path / f"{package.name}.libs")
    monkeypatch.setattr(cache, "wheel_package", lambda: tmp_path / package.name)
    return tmp_path


def owner_of_process(pid):
    return Path(f"/proc/{pid}").stat().st_uid


@pytest.mark.slow
def test_programs_that_the_account_cannot_reach_are_copied_once(closed_wheel, reachable, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(reachable))
    with start("embedded") as server:
        assert ask(server.dsn, "select 1") == 1
    ((copied,),) = [list((reachable / "pgflow-mp").iterdir())]
    made = copied.stat().st_mtime_ns
    with start("embedded") as server:
        assert ask(server.dsn, "select 1") == 1
    assert list((reachable / "pgflow-mp").iterdir()) == [copied]
    assert copied.stat().st_mtime_ns == made
    assert (closed_wheel.stat().st_mode & 0o777) == 0o700


def test_a_cache_that_cannot_be_written_is_named(closed_wheel, monkeypatch, reachable):
    (reachable / "file").write_text("no folder")
    monkeypatch.setattr(cache, "ROOT_CACHE", reachable / "file" / "pgflow-mp")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    with pytest.raises(ServerUnavailable, match="set XDG_CACHE_HOME to a folder that it can reach"):
        start("embedded")


def test_without_a_candidate_account_it_says_what_to_create(monkeypatch):
    monkeypatch.setattr(accounts, "CANDIDATES", ("no_such_account", "root"))
    with pytest.raises(ServerUnavailable, match="Postgres does not run as root"):
        start("system")


@pytest.mark.slow
def test_existing_data_are_served_as_the_account_they_belong_to(reachable, monkeypatch):
    nobody = pwd.getpwnam("nobody")
    monkeypatch.setattr(accounts, "CANDIDATES", ("nobody",))
    data = reachable / "data"
    start("system", data_dir=data).stop()
    monkeypatch.setattr(accounts, "CANDIDATES", ("postgres", "nobody"))
    with start("system", data_dir=data) as server:
        assert owner_of_process(pid_of(server, data)) == nobody.pw_uid


def test_whether_an_account_gets_into_a_folder_is_read_from_every_folder_on_the_way(reachable):
    someone = Account("someone", 12345, 54321)
    deep = open_folder(reachable / "a" / "b")
    assert can_enter(deep, someone)
    assert can_enter(deep / "not" / "there", someone)
    deep.parent.chmod(0o700)
    assert not can_enter(deep, someone)
    os.chown(deep.parent, someone.uid, -1)
    assert can_enter(deep, someone)
    os.chown(deep.parent, 0, someone.gid)
    deep.parent.chmod(0o710)
    assert can_enter(deep, someone)
    deep.parent.chmod(0o701)
    assert not can_enter(deep, someone)


UNPRIVILEGED = """
import os, pathlib
from pgflow_mp.postgres import start, development
for kind in ("embedded", "system"):
    with start(kind) as server:
        folder = pathlib.Path(server.dsn.split("'")[1]).parent
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder / "data").stat().st_uid == os.getuid() != 0
        print(server)
    assert not folder.exists()
with development() as one, development() as two:
    assert one.dsn == two.dsn
    print(one)
"""


def interpreter_for(account):
    """A Python that the account can run; root's own may lie in root's home."""
    for program in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        asked = "import sys; sys.exit(sys.version_info < (3, 11))"
        try:
            if not subprocess.run([program, "-c", asked], cwd="/", check=False, **run_as(account)).returncode:
                return program
        except OSError:
            continue
    return pytest.skip(f"no Python 3.11 that the account {account.name} can run")


@pytest.mark.slow
def test_an_unprivileged_user_runs_servers_as_itself(reachable):
    account = server_account()
    program = interpreter_for(account)
    # Neither this checkout nor the virtual environment need be open to the account.
    libraries = wheel_package().with_name(f"{wheel_package().name}.libs")
    for package in (Path(pgflow_mp.__file__).parent, wheel_package(), libraries):
        if package.exists():
            copy_quickly(package, reachable / package.name)
    home = open_folder(reachable / "home")
    os.chown(home, account.uid, account.gid)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(reachable), "HOME": str(home)}
    done = subprocess.run(
        [program, "-W", "error", "-c", UNPRIVILEGED],
        cwd="/",
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        **run_as(account),
    )
    assert done.stderr == ""
    embedded, system, shared = done.stdout.splitlines()
    assert "embedded" in embedded
    assert "system" in system
    assert "embedded" in shared
    assert (home / ".local/share/pgflow-mp").is_dir()
