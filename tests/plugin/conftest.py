"""Inner test sessions are real ones: a process of their own, without the outer session's options."""

import os

import pytest

# Needs a Docker engine and an image; ci/docker brings both and names the image.
collect_ignore = [] if os.environ.get("PGFLOW_DOCKER_IMAGE") else ["test_docker.py"]


@pytest.fixture(autouse=True)
def _alone(monkeypatch, pytester):
    """Keep what the outer session exports away from the inner ones."""
    for name in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS", "PGFLOW_TEST_DSN", "PGFLOW_DSN", "PYTEST_XDIST_WORKER"):
        monkeypatch.delenv(name, raising=False)
    pytester.makeini(
        """
        [pytest]
        addopts = -p no:cacheprovider -p no:asyncio -p no:hypothesispytest
        filterwarnings = error
        """
    )


@pytest.fixture(scope="session")
def _template(_pgflow_databases):
    """Have the template, so that inner sessions find it."""
    _pgflow_databases.drop(_pgflow_databases.create())


@pytest.fixture
def run_pytest(pytester, pgflow_server, _template):
    """Run an inner session on the server of the outer one unless told otherwise, and apart if it starts anything."""

    def run(*args, dsn=pgflow_server.dsn, apart=False):
        options = ["--pgflow-dsn", dsn, *args] if dsn else args
        return pytester.runpytest_subprocess(*options, timeout=60) if apart else pytester.runpytest_inprocess(*options)

    return run
