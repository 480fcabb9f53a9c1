"""Random programs in one session: after every call the database is what the reference model says (D-2 to D-8)."""

from __future__ import annotations

from hypothesis.stateful import run_state_machine_as_test

from .programs import Programs


def test_database_and_model_agree_after_every_call(model_database, model_settings):
    run_state_machine_as_test(lambda: Programs(model_database), settings=model_settings)
