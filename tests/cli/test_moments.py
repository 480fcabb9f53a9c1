"""Times as they are typed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pgflow_mp.cli.exits import UsageError
from pgflow_mp.cli.moments import read_moment, read_span


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200), ("3d", 259_200), ("1w", 604_800)]
)
def test_a_span_is_a_number_with_a_unit(text, seconds):
    assert read_span(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-5", "1x", "1h30m", "inf", "9" * 30])
def test_what_is_no_span_is_refused(text):
    with pytest.raises(UsageError, match="no span of time"):
        read_span(text)


def test_a_time_has_a_zone_the_reader_s_where_none_is_given():
    assert read_moment("2026-11-23T14:00+01:00") == datetime(2026, 11, 23, 13, tzinfo=UTC)
    assert read_moment("2026-11-23") == datetime(2026, 11, 23).astimezone()


def test_a_span_lies_ahead_or_behind():
    now = datetime.now(UTC)
    assert read_moment("2h") - now - timedelta(hours=2) < timedelta(seconds=5)
    assert now - read_moment("2h", past=True) < timedelta(hours=2, seconds=5)
    assert read_moment("2h", past=True) < now


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "14:00"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(UsageError, match="is no time"):
        read_moment(text)
