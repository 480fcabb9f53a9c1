"""Fixtures of the project's own suite: the databases come from the plugin that it tests and ships.

`pytest --pgflow-dsn DSN`, or PGFLOW_TEST_DSN, runs the suite on another server than the embedded one. PGFLOW_TEST_CORE
names a generation of tests/core/foreign: then the databases have its schema pgflow, and ours stands beside it.
PGFLOW_TEST_ADOPTED names one too: then its schema is adopted. (Columns stand elsewhere then, which one test looks at.)
"""

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

FOREIGN_CORE = "PGFLOW_TEST_CORE"
ADOPTED_CORE = "PGFLOW_TEST_ADOPTED"

pytest_plugins = ["pytester"]

RAN = os.environ.get("PGFLOW_TESTS_RAN")  # now: tests take such variables away while they run


def pytest_configure(config):
    """Let the hundreds of processes that tests start compile the code once, where none may write beside the sources.

    Importing is most of what they do, and half of that is compiling. Workers of xdist find it done.
    """
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", None) and "PYTHONPYCACHEPREFIX" not in os.environ:
        folder = tempfile.TemporaryDirectory(prefix="pgflow-bytecode-", ignore_cleanup_errors=True)
        os.environ["PYTHONPYCACHEPREFIX"] = folder.name
        config.add_cleanup(folder.cleanup)


def pytest_collection_modifyitems(items):
    """Beside a foreign core leave out what only one of our own has."""
    if os.environ.get(FOREIGN_CORE):
        for item in items:
            if item.get_closest_marker("own_core"):
                item.add_marker(pytest.mark.skip(reason="looks at what only a core of our own has"))


@pytest.fixture(scope="session")
def pgflow_settings():
    """Beside the schema of the generation that PGFLOW_TEST_CORE names, or in the adopted one of PGFLOW_TEST_ADOPTED."""
    adopted = os.environ.get(ADOPTED_CORE)
    generation = adopted or os.environ.get(FOREIGN_CORE)
    if generation is None:
        return {}

    def theirs(dsn):
        from pgflow_mp.core.adopt import adopt
        from tests.core import foreign

        with psycopg.connect(dsn, autocommit=True) as conn:
            foreign.build(conn, generation)
            if adopted:
                assert adopt(conn, carry_out=True).done

    return {"migrations": theirs}


def pytest_runtest_logreport(report):
    """Note which tests passed, for the page that names them (ci/compatibility_page.py)."""
    if RAN and report.when == "call" and report.passed:
        with Path(RAN).open("a", encoding="utf-8") as file:
            file.write(f"{report.nodeid}\n")


@pytest.fixture(scope="session")
def server_dsn(pgflow_server):
    """A server that tests may create databases on."""
    return pgflow_server.dsn


@pytest.fixture
def empty_dsn(_pgflow_databases):
    """A fresh database without anything installed."""
    dsn = _pgflow_databases.create(empty=True)
    yield dsn
    _pgflow_databases.drop(dsn)


@pytest.fixture(scope="session")
def _foreign_databases(server_dsn):
    from tests.core.foreign.databases import ForeignDatabases

    databases = ForeignDatabases(server_dsn)
    yield databases
    databases.close()


@pytest.fixture
def foreign_dsn(_foreign_databases):
    """`foreign_dsn("0.17.1")` is a fresh database with the schema of that generation (see tests/core/foreign)."""
    made = []

    def create(generation):
        made.append(_foreign_databases.create(generation))
        return made[-1]

    yield create
    for dsn in made:
        _foreign_databases.drop(dsn)


@pytest.fixture
def foreign_db(_foreign_databases):
    """`foreign_db("0.17.1")` is a connection to such a database, in a transaction that is taken back.

    now() stands still in it.
    """
    with ExitStack() as stack:

        def connect(generation):
            dsn = _foreign_databases.shared(generation)
            conn = stack.enter_context(psycopg.connect(dsn, autocommit=True))
            stack.enter_context(conn.transaction(force_rollback=True))
            return conn

        yield connect
