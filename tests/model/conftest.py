"""Profiles of the model's examples, and the database that they share."""

from __future__ import annotations

import os

import psycopg
import pytest
from hypothesis import settings

from tests.core.conftest import REALTIME, _database

from .database import Database

LONG = os.environ.get("PGFLOW_MODEL_EXAMPLES")

settings.register_profile(
    "model-quick", max_examples=40, stateful_step_count=20, deadline=None, derandomize=True, database=None
)
settings.register_profile(
    "model-long", max_examples=int(LONG or 1), stateful_step_count=40, deadline=None, print_blob=True
)


@pytest.fixture(scope="session")
def model_settings():
    """Few examples, always the same ones; PGFLOW_MODEL_EXAMPLES asks for so many, new ones each time."""
    return settings.get_profile("model-long" if LONG else "model-quick")


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
