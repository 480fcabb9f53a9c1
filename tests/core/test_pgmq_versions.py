"""The whole life of runs on pgmq in every version whose SQL PyPI's `pgmq` packages ship, plain and as an extension.

Rules: core 1.3, E-2, Q-5; D-31. The packages are downloaded with pip into a temporary folder. Releases before 1.1.3
ship no SQL; pgmq 1.5 to 1.10 come with no Python package and are not run here.
"""

import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest

from pgflow_mp.core import pgmq
from pgflow_mp.core.install import install

from .ask import value
from .machine import Failure, Machine, map_of, single
from .test_install import offer_extension

pytestmark = pytest.mark.slow

# Release of the package: version of pgmq in it.
SHIPPED = {"1.1.3": "1.11.1", "1.1.4": "1.13.0"}


def pip():
    """The pip of this environment or, where it has none, the first on PATH."""
    if find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    return [shutil.which("pip") or pytest.skip("there is no pip here")]


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """The SQL of each release, by release."""
    folder = tmp_path_factory.mktemp("packages")
    found = {}
    for release in SHIPPED:
        download = [*pip(), "download", "--quiet", "--no-deps", f"pgmq=={release}", "-d", folder]
        done = subprocess.run(download, capture_output=True, text=True, timeout=120, check=False)
        wheels = list(folder.glob(f"pgmq-{release}-*.whl"))
        if not wheels:
            pytest.skip(f"pgmq {release} cannot be downloaded here: {done.stderr.strip().splitlines()[-1:]}")
        with zipfile.ZipFile(wheels[0]) as wheel:
            wheel.extractall(folder / release)
        found[release] = folder / release / "pgmq" / "sql"
    return found


def live_through_everything(conn):
    """Define, start, fail, retry, map, skip, give back, recover, read as foreign workers do, prune, delete."""
    machine = Machine(conn)
    machine.flow("f", options={"base_delay": 0}, a=single(), m=map_of("a"), j=single("m"), later=single(start_delay=60))
    run = machine.start("f")
    machine.settle([(machine.claim("f")[0], Failure("once"))])
    machine.give_back(machine.claim("f"))
    (row,) = machine.poll("f")
    assert row["attempts_count"] == 2
    machine.complete(run, "a", [1, 2, 3])
    assert len(machine.poll("f", 3)) == 3
    for index in range(3):
        machine.complete(run, "m", index, index=index)
    gone = machine.register(ours=True, stopped=True)
    machine.claim("f", worker=gone)
    assert machine.recover() == 1
    assert [found[0] for found in machine.skip_delays(run)] == ["later"]
    machine.drain("f")
    assert machine.run(run)[:2] == ("completed", {"j": {"ok": "j"}, "later": {"ok": "later"}})
    assert machine.queued("f") == []
    assert len(machine.archived("f")) == 6

    machine.flow("g", a=single(max_attempts=1), m=map_of())
    failed = machine.start("g", [1, 2])
    task = next(task for task in machine.claim("g") if task.step == "a")
    machine.settle([(task, Failure("boom"))])
    assert machine.status(failed) == "failed"
    assert machine.queued("g") == []
    assert value(conn, "select count(*) from pgflow_mp.repair()") == 0
    conn.execute("select * from pgflow.prune_data_older_than(interval '0 seconds', null)")
    conn.execute("select pgflow.delete_flow_and_data('f'), pgflow.delete_flow_and_data('g')")
    assert value(conn, "select to_regclass('pgmq.q_f')") is None


@pytest.mark.parametrize("release", SHIPPED)
def test_runs_live_on_plain_sql(empty_dsn, packages, release, monkeypatch):
    monkeypatch.setattr(pgmq, "_shipped_folder", lambda: packages[release])
    assert install(empty_dsn)[0] == f"pgmq: installed from SQL, version {SHIPPED[release]}"
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        live_through_everything(conn)


@pytest.mark.parametrize("release", SHIPPED)
def test_runs_live_on_the_extension(empty_dsn, packages, release):
    version = SHIPPED[release]
    with TemporaryDirectory() as name:
        folder = Path(name) / "extension"
        folder.mkdir()
        folder.parent.chmod(0o755)
        control = f"default_version = '{version}'\nschema = 'pgmq'\nrelocatable = false\nsuperuser = true\n"
        (folder / "pgmq.control").write_text(control)
        (folder / f"pgmq--{version}.sql").write_bytes((packages[release] / "pgmq.sql").read_bytes())
        for file in folder.iterdir():
            file.chmod(0o644)
        offer_extension(empty_dsn, folder.parent)
        assert install(empty_dsn)[0] == f"pgmq: created extension, version {version}"
        with psycopg.connect(empty_dsn, autocommit=True) as conn:
            live_through_everything(conn)


@pytest.mark.parametrize("release", SHIPPED)
def test_a_database_with_that_pgmq_keeps_it(empty_dsn, packages, release):
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        conn.execute((packages[release] / "pgmq.sql").read_bytes())
        assert install(conn)[0] == "pgmq: already here (SQL), nothing to do"
        live_through_everything(conn)
