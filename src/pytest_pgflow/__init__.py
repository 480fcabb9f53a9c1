"""The pytest plugin of pgflow-mp: a real database for every test, and flows that are tested like functions.

Loaded by its entry point, by ``-p pytest_pgflow`` or by ``pytest_plugins = ["pytest_pgflow"]``. pytest looks
for hooks and fixtures on the module that it loads, so they are all here, and thin: every pytest run on this
machine pays for this import, also where no flow is ever tested. What does the work lives in private modules
and is imported when a fixture asks. Nothing starts, connects or writes before that.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    import psycopg

    from pgflow_mp.client import PgFlow
    from pgflow_mp.definition import FlowDefinition
    from pgflow_mp.flow import Flow
    from pgflow_mp.postgres import Server
    from pytest_pgflow._databases import Databases
    from pytest_pgflow._options import Settings
    from pytest_pgflow._results import FlowFailed, FlowRun
    from pytest_pgflow._runner import FlowRunner
    from pytest_pgflow._session import Story
    from pytest_pgflow._started import StartedRun
    from pytest_pgflow._trouble import dies, disconnects, fails, forgets, hangs, lags

__all__ = [
    "FlowFailed",
    "FlowRun",
    "FlowRunner",
    "StartedRun",
    "assert_shape",
    "dies",
    "disconnects",
    "fails",
    "flow_runner",
    "forgets",
    "hangs",
    "lags",
    "pgflow",
    "pgflow_conn",
    "pgflow_dsn",
    "pgflow_server",
    "pgflow_settings",
]

_LAZY = {
    "FlowFailed": "_results",
    "FlowRun": "_results",
    "FlowRunner": "_runner",
    "StartedRun": "_started",
    "dies": "_trouble",
    "disconnects": "_trouble",
    "fails": "_trouble",
    "forgets": "_trouble",
    "hangs": "_trouble",
    "lags": "_trouble",
}


def __getattr__(name: str) -> Any:
    """Import the public names on first use."""
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# Options


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare every option twice: for the command line, and for the ini file."""
    group = parser.getgroup("pgflow", "pgflow: a database and a runner for tests of flows")

    def add(name: str, text: str, **more: Any) -> None:
        group.addoption(f"--pgflow-{name}", dest=f"pgflow_{name}", default=None, help=text, **more)
        parser.addini(f"pgflow_{name}", text)

    add("dsn", "make the test databases on this server (environment: PGFLOW_TEST_DSN)", metavar="DSN")
    add("server", "server to start (default: auto)", choices=("auto", "embedded", "system", "docker"))
    add("image", "image of the docker server", metavar="IMAGE")
    add(
        "isolation",
        "clone (default): a database for each test; delete: one for all, emptied; none: one for all",
        choices=("clone", "delete", "none"),
    )
    add("executor", "run steps inline (default) or in real processes", choices=("inline", "process"))
    add("timeout", "seconds that one flow_runner.run may take (default 10)", metavar="SECONDS")
    add("processes", "children of the process executor (default 2)", metavar="N")
    add("keep", "keep the database of a failed test and say how to open it", action="store_const", const=True)

    add(
        "migrations",
        "SQL file, or folder of them, that makes the schema beside which pgflow-mp is installed",
        metavar="PATH",
    )
    add("reuse", "keep the server's data and the template for the next session", action="store_const", const=True)

    def flag(name: str, text: str) -> None:
        group.addoption(f"--pgflow-{name}", dest=f"pgflow_{name.replace('-', '_')}", action="store_true", help=text)

    flag("timeline", "print when which task of a run ran")
    flag("update-shapes", "write the snapshots of assert_shape instead of comparing with them")


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known to `--markers` and `--strict-markers`."""
    config.addinivalue_line(
        "markers",
        "pgflow(*, executor=None, timeout=None, isolation=None, skip_delays=None, processes=None): "
        "what this test wants differently from the pgflow plugin",
    )


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say what was asked for, and nothing where nothing was: the plugin may be loaded and not used at all."""
    names = ("server", "isolation", "executor", "timeout", "keep", "reuse")
    asked = {name: config.getoption(f"pgflow_{name}") or config.getini(f"pgflow_{name}") for name in names}
    told = [f"{name} {value}" for name, value in asked.items() if value]
    if config.getoption("pgflow_dsn") or os.environ.get("PGFLOW_TEST_DSN") or config.getini("pgflow_dsn"):
        told.insert(0, "server given by DSN")
    return f"pgflow: {', '.join(told)}" if told else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the runs of a failing test."""
    report = yield
    wanted = report.failed or (report.when == "call" and item.config.getoption("pgflow_timeline"))
    # Without this module no fixture of ours was asked for.
    if wanted and "pytest_pgflow._session" in sys.modules:
        try:
            from pytest_pgflow._report import add_sections, add_timelines

            if report.failed:
                add_sections(item, report)
            if item.config.getoption("pgflow_timeline"):
                add_timelines(item, report)
        except Exception as error:  # noqa: BLE001 - telling more of a failure must never make it worse
            report.sections.append(("pgflow", f"The runs of this test cannot be shown: {error}"))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the timelines of passed tests, which pytest itself shows on failure only."""
    if not config.getoption("pgflow_timeline"):
        return
    for report in terminalreporter.stats.get("passed", []):
        for title, text in report.sections:
            if title.startswith("pgflow timeline"):
                terminalreporter.write_sep("-", f"{report.nodeid}: {title}")
                terminalreporter.write(text)


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Tell the difference between the output of a run and what was expected step by step."""
    if op == "==" and "pytest_pgflow._output" in sys.modules:
        from pytest_pgflow._output import explain

        return explain(left, right)
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_exception_interact(node: pytest.Item | pytest.Collector, call: pytest.CallInfo[Any]) -> None:
    """Let `--pdb` open the handler that raised, and not the line of the test that has to do with it."""
    if "pytest_pgflow._results" in sys.modules and call.excinfo and node.config.getoption("usepdb", default=False):
        from pytest_pgflow._results import FlowFailed

        cause = call.excinfo.value.__cause__
        if isinstance(call.excinfo.value, FlowFailed) and cause is not None and cause.__traceback__:
            call.excinfo = pytest.ExceptionInfo.from_exception(cause)


def pytest_enter_pdb(config: pytest.Config) -> None:
    """Let deadlines rest: a person is looking."""
    if "pytest_pgflow._session" in sys.modules:
        from pytest_pgflow._session import DEBUGGED

        config.stash[DEBUGGED] = True


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Refuse a marker that says what nobody understands, also where no fixture would read it."""
    if item.get_closest_marker("pgflow"):
        from pytest_pgflow._marker import read_markers

        read_markers(item)


# Fixtures


@pytest.fixture(scope="session")
def pgflow_settings() -> dict[str, Any]:
    """Settings of the pgflow plugin: override this in a conftest.py and return a dict.

    Keys: dsn, server, image, isolation, executor, timeout, processes, keep, reuse, migrations, setup. The command line
    and PGFLOW_TEST_DSN come before it, the ini file after it. There is one server and one template for a session, so
    dsn, server, image, migrations and setup belong into the conftest.py at the root.
    """
    return {}


@pytest.fixture(scope="session")
def _pgflow_settled(pytestconfig: pytest.Config, pgflow_settings: dict[str, Any]) -> Settings:
    """The settings, checked and put together from every place that may give them."""
    from pytest_pgflow._options import settle

    return settle(pytestconfig, pgflow_settings)


@pytest.fixture(scope="session")
def pgflow_server(pytestconfig: pytest.Config, _pgflow_settled: Settings) -> Iterator[Server]:
    """A Postgres for the session: started on first use, or the one that --pgflow-dsn names.

    Under pytest-xdist each worker starts its own.
    """
    from pytest_pgflow._session import provide_server

    with provide_server(pytestconfig, _pgflow_settled) as server:
        yield server


@pytest.fixture(scope="session")
def _pgflow_databases(
    pytestconfig: pytest.Config, pgflow_server: Server, _pgflow_settled: Settings
) -> Iterator[Databases]:
    from pytest_pgflow._session import provide_databases

    with provide_databases(pytestconfig, pgflow_server, _pgflow_settled) as databases:
        yield databases


@pytest.fixture
def _pgflow_database(
    request: pytest.FixtureRequest, _pgflow_databases: Databases, pgflow_settings: dict[str, Any]
) -> Iterator[Story]:
    from pytest_pgflow._session import provide_database

    for_runner = "pgflow_dsn" not in request.fixturenames
    with provide_database(request.node, _pgflow_databases, pgflow_settings, for_runner=for_runner) as database:
        yield database


@pytest.fixture
def pgflow_dsn(_pgflow_database: Story) -> str:
    """DSN of a database with pgmq and pgflow installed, for this test alone."""
    return _pgflow_database.show()


@pytest.fixture
def pgflow_conn(pgflow_dsn: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection in autocommit mode to the database of `pgflow_dsn`."""
    import psycopg

    with psycopg.connect(pgflow_dsn, autocommit=True) as conn:
        yield conn


@pytest.fixture
def pgflow(pgflow_dsn: str) -> Iterator[PgFlow]:
    """A client of the database of `pgflow_dsn`; without the plugins that happen to be installed."""
    from pgflow_mp.client import PgFlow
    from pgflow_mp.hooks.manager import no_plugins

    with PgFlow(pgflow_dsn, plugins=no_plugins()) as client:
        yield client


@pytest.fixture
def flow_runner(request: pytest.FixtureRequest, pgflow_settings: dict[str, Any]) -> Iterator[FlowRunner]:
    """Runs flows on the database of `pgflow_dsn`: ``flow_runner.run(MyFlow, {...})``."""
    from pytest_pgflow._runner import provide_runner
    from pytest_pgflow._session import database_for_runner

    with provide_runner(request.node, database_for_runner(request), pgflow_settings) as runner:
        yield runner


@pytest.fixture
def assert_shape(
    request: pytest.FixtureRequest, pgflow_conn: psycopg.Connection[Any]
) -> Callable[[type[Flow] | FlowDefinition], None]:
    """Fails the test when a flow has changed in a way that production would refuse: ``assert_shape(MyFlow)``."""
    from pgflow_mp.flow import as_definition
    from pytest_pgflow._shape import check_shape

    update = bool(request.config.getoption("pgflow_update_shapes"))

    def assert_shape(flow: type[Flow] | FlowDefinition) -> None:
        __tracebackhide__ = True
        check_shape(pgflow_conn, as_definition(flow), request.path, update=update)

    return assert_shape
