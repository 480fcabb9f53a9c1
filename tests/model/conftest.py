"""Profiles of the model's examples, and the database that they share."""

from __future__ import annotations

import os

import psycopg
import pytest
from hypothesis import Phase, settings

from tests.core.conftest import REALTIME, _database

from .database import Database

LONG = int(os.environ.get("PGFLOW_MODEL_EXAMPLES", "0"))

settings.register_profile("model-quick", max_examples=60, stateful_step_count=25, deadline=None, database=None)
settings.register_profile(
    "model-long", max_examples=max(LONG, 1), stateful_step_count=40, deadline=None, print_blob=True
)


@pytest.fixture(scope="session")
def model_settings():
    """Few examples, always the same ones; PGFLOW_MODEL_EXAMPLES asks for so many, new ones each time."""
    return settings.get_profile("model-long" if LONG else "model-quick")


@pytest.fixture(scope="session")
def crowd_settings():
    """As many jobs as fit in a few seconds; nothing to shrink, since no two executions are alike."""
    jobs = max(LONG // 20, 1) if LONG else 5
    return settings(settings.get_profile("model-quick"), max_examples=jobs, phases=[Phase.generate])


@pytest.fixture(scope="session")
def model_dsn(server_dsn):
    with _database(server_dsn, REALTIME) as dsn:
        yield dsn


@pytest.fixture(scope="session")
def model_database(model_dsn):
    with psycopg.connect(model_dsn, autocommit=True) as conn:
        database = Database(conn)
        database.prepare()
        yield database
