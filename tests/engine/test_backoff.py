"""Delays after failures (generations 12)."""

from __future__ import annotations

from pgflow_mp.engine.backoff import FIRST_SECONDS, LAST_SECONDS, Backoff


def test_delays_double_up_to_the_limit_and_are_shortened_by_at_most_half():
    backoff = Backoff()
    ceiling = FIRST_SECONDS
    for _ in range(12):
        assert ceiling / 2 <= backoff.next() <= ceiling
        ceiling = min(ceiling * 2, LAST_SECONDS)
    assert ceiling == LAST_SECONDS


def test_a_success_starts_again_from_the_shortest():
    backoff = Backoff()
    for _ in range(5):
        backoff.next()
    backoff.reset()
    assert backoff.next() <= FIRST_SECONDS
