"""Inner test sessions are real ones: a process of their own, without the outer session's options."""

import pytest


@pytest.fixture(autouse=True)
def _alone(monkeypatch, pytester):
    """Keep what the outer session exports away from the inner ones."""
    for name in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS", "PGFLOW_TEST_DSN", "PGFLOW_DSN", "PYTEST_XDIST_WORKER"):
        monkeypatch.delenv(name, raising=False)
    pytester.makeini(
        """
        [pytest]
        addopts = -p no:cacheprovider -p no:asyncio
        filterwarnings = error
        """
    )


@pytest.fixture
def run_pytest(pytester, pgflow_server):
    """Run an inner session in a process of its own, on the server of the outer one unless told otherwise."""

    def run(*args, dsn=pgflow_server.dsn):
        server = ["--pgflow-dsn", dsn] if dsn else []
        return pytester.runpytest_subprocess(*server, *args, timeout=60)

    return run
