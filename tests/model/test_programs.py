"""Random programs in one session: after every call the database is what the reference model says (D-2 to D-8)."""

from __future__ import annotations

from hypothesis import seed
from hypothesis.stateful import run_state_machine_as_test

from .conftest import LONG
from .programs import Programs

# The quick profile's examples. With this one they visit every line of the reference model that can be reached.
QUICK_SEED = 3


def test_database_and_model_agree_after_every_call(model_database, model_settings):
    def programs() -> Programs:
        return Programs(model_database)

    run_state_machine_as_test(programs if LONG else seed(QUICK_SEED)(programs), settings=model_settings)
