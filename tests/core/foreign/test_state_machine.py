"""The tests of our state machine once more, on the tables of a foreign core, and on views of those of an old one.

Chosen are those that hold there word for word: what they ask of schema pgflow every core has, and what they tell apart
is not the status of tasks that end with their run (generations 2.1).
"""

from __future__ import annotations

import psycopg
import pytest

from pgflow_mp.core.install import install
from tests.core.conftest import REALTIME
from tests.core.machine import Machine
from tests.core.test_claim import TestInputs
from tests.core.test_conditions import TestSkip, TestWhatIsTested
from tests.core.test_recover import TestLeftovers, TestLostWorkers
from tests.core.test_repair import TestCountersAndSteps, TestMessages
from tests.core.test_settle_batches import TestMaps, TestOneBadRow, TestWhoseAttempt

__all__ = [
    "TestCountersAndSteps",
    "TestInputs",
    "TestLeftovers",
    "TestLostWorkers",
    "TestMaps",
    "TestMessages",
    "TestOneBadRow",
    "TestSkip",
    "TestWhatIsTested",
    "TestWhoseAttempt",
]

pytestmark = pytest.mark.slow

EMPTY = """
select pgflow_mp.delete_flow(flow_slug) from pgflow.flows;
delete from pgflow.workers;
delete from pgflow_mp.workers;
"""


@pytest.fixture(scope="module", params=["0.14.1", "0.17.1"])
def dsn(_foreign_databases, request):
    dsn = _foreign_databases.create(request.param)
    with psycopg.connect(dsn) as conn:
        conn.execute("drop schema realtime cascade")
        conn.execute(REALTIME)
        install(conn)
    yield dsn
    _foreign_databases.drop(dsn)


@pytest.fixture
def recorded(dsn):
    with psycopg.connect(dsn, autocommit=True) as conn:
        yield Machine(conn)
        conn.execute(EMPTY)
        conn.execute("truncate realtime.sent restart identity")


@pytest.fixture
def machine(recorded):
    return recorded
