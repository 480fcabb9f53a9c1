"""Slugs, queue names, delays: the small pure functions. Rules: core 3.1-3.3, generations 4.1, SL-1."""

import pytest

from .ask import refusal, value


def is_slug(conn, text):
    return value(conn, "select pgflow.is_valid_slug(%s)", text)


def test_slugs_that_are_valid(db):
    """core 3.1.1 [T]: mixed case is fine; 3.1.2: only lower-case run is reserved; generations SL-1."""
    for slug in ["a", "Z", "abc", "myFlow", "a_b", "a1", "a_1", "step_1_b", "Run", "RUN", "runs", "run_1", "x" * 128]:
        assert is_slug(db, slug) is True, slug


def test_slugs_that_are_not(db):
    """core 3.1.1 [T], generations SL-1: a letter first, a letter or digit last, no double underscore, not run."""
    bad = ["", "x" * 129, "a-b", "a b", "1a", "_a", "a_", "a__b", "run", "a.b", "é", "aé", "a\n", " a", "a$"]
    for slug in bad:
        assert is_slug(db, slug) is False, slug


def test_null_is_no_slug(db):
    """core 3.1.2 [T]: false, never NULL."""
    assert is_slug(db, None) is False


@pytest.mark.parametrize(
    ("name", "valid"),
    [("a", True), ("a" * 47, True), ("a__b", True), ("a" * 48, False), ("Ab", False), ("", False), (None, False)],
)
def test_queue_names(db, name, valid):
    """generations 4.1: not NULL, not empty, at most 47 characters, equal to its own lower()."""
    assert value(db, "select pgflow.is_valid_queue_name(%s)", name) is valid


def test_retry_delays_double_with_every_attempt(db):
    """core 3.2.1, 3.2.2: floor(base x 2^attempts); the first retry waits twice the base."""
    delay = "select pgflow.calculate_retry_delay(%s::numeric, %s::int)"
    assert [value(db, delay, 5, n) for n in (0, 1, 2, 3)] == [5, 10, 20, 40]
    assert value(db, delay, 1.3, 1) == 2
    assert value(db, delay, 0, 9) == 0


def test_retry_delays_beyond_an_integer_raise(db):
    """core 3.2.3: 22003 integer out of range; there is no cap."""
    found = refusal(db, "select pgflow.calculate_retry_delay(1, 31)")
    assert found == ("22003", "integer out of range")


def test_local_is_only_what_the_platform_s_tools_set(db):
    """core 3.3.1 [T], 1.5.4: unset, empty or other is false, never NULL."""
    assert value(db, "select pgflow.is_local()") is False
    for secret, local in [
        ("", False),
        ("other", False),
        ("super-secret-jwt-token-with-at-least-32-characters-long", True),
    ]:
        db.execute("select set_config('app.settings.jwt_secret', %s, false)", [secret])
        assert value(db, "select pgflow.is_local()") is local
