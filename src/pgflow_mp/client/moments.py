"""When a run shall begin, as callers say it: checked here, compared with the database's clock there."""

from __future__ import annotations

from datetime import datetime

from pgflow_mp.errors import InvalidSchedule
from pgflow_mp.rules import shown

__all__ = ["checked_delay", "checked_moment"]

MOST_SECONDS = 2**31 - 1


def checked_delay(delay_seconds: object) -> int:
    """Return a delay in whole seconds.

    Raises:
        InvalidSchedule: It is no whole number, or negative.
    """
    if isinstance(delay_seconds, bool) or not isinstance(delay_seconds, int):
        raise InvalidSchedule(f"delay_seconds must be a whole number of seconds, not {shown(delay_seconds)}")
    if not 0 <= delay_seconds <= MOST_SECONDS:
        raise InvalidSchedule(f"delay_seconds must be at least 0 and at most {MOST_SECONDS}, not {delay_seconds}")
    return delay_seconds


def checked_moment(moment: object, name: str = "scheduled_at") -> datetime:
    """Return a time that is one instant, in whatever zone.

    Args:
        moment: What was given.
        name: What it was given as.

    Raises:
        InvalidSchedule: It is no datetime, or has no time zone.
    """
    if not isinstance(moment, datetime):
        raise InvalidSchedule(f"{name} must be a datetime with a time zone, not {shown(moment)}")
    if moment.utcoffset() is None:
        raise InvalidSchedule(
            f"{name} has no time zone, so {moment} is another instant in each of them; say which is meant: "
            "datetime(..., tzinfo=ZoneInfo('Europe/Berlin')), or datetime.now(timezone.utc) + timedelta(...)"
        )
    return moment
