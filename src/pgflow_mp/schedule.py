"""Schedule: when runs of a flow or job start by themselves, as frozen, checked data.

A *tick* is one moment at which a schedule is due. Cron expressions mean what cron(8) means in the schedule's time
zone, also when clocks are changed: a time of day that is skipped in spring ticks when the hour is over, one that comes
twice in autumn ticks once, and what ticks every hour or minute goes on doing so. That is the library's merit
(cronsim); two others that are well known tick twice in autumn. An interval ticks on a grid from its beginning, so it
never drifts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, TypeAlias

from pgflow_mp.errors import InvalidSchedule
from pgflow_mp.jsonvalue import encode
from pgflow_mp.rules import did_you_mean, shown

__all__ = ["CATCH_UPS", "CatchUp", "Schedule", "ScheduleOption", "as_mapping", "named_schedules"]

CatchUp = Literal["skip", "once", "all"]

CATCH_UPS: Final = ("skip", "once", "all")
NEVER: Final = datetime(9999, 12, 31, tzinfo=UTC)
LONGEST_NAME: Final = 128

_ALIASES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a flow starts by itself, and with what.

    Attributes:
        cron: Five fields (minute, hour, day of month, month, day of week) as cron(8) has them, six with seconds in
            front, or ``@hourly`` and the like.
        every: An interval instead, at least 1 s; a number counts seconds.
        time_zone: IANA name of the zone that `cron` speaks of.
        input: What each run is started with: a JSON value (kept as plain data); `{}` by default.
        catch_up: What becomes of ticks that nobody was there for: ``skip`` passes over all that are later than a
            minute, ``once`` (the default) starts one run for all of them, ``all`` one for each.
        name: Names the schedule in its database; the flow's slug by default.

    Raises:
        InvalidSchedule: Something is wrong with it; the message says what.
    """

    cron: str | None = None
    every: timedelta | None = field(default=None, kw_only=True)
    time_zone: str = field(default="UTC", kw_only=True)
    input: Any = field(default_factory=dict, kw_only=True, hash=False)
    catch_up: CatchUp = field(default="once", kw_only=True)
    name: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if isinstance(self.every, int | float) and not isinstance(self.every, bool):
            object.__setattr__(self, "every", _seconds(self.every))
        if (self.cron is None) == (self.every is None):
            raise InvalidSchedule("a schedule has a cron expression or an interval: give cron= or every=")
        if self.catch_up not in CATCH_UPS:
            known = ", ".join(map(repr, CATCH_UPS))
            raise InvalidSchedule(
                f"catch_up must be one of {known}, not {shown(self.catch_up)}{did_you_mean(self.catch_up, CATCH_UPS)}"
            )
        if self.name is not None:
            _check_name(self.name)
        object.__setattr__(self, "input", json.loads(encode(self.input, error=InvalidSchedule) or "null"))
        self._check_times()

    def next_tick(self, after: datetime, starts_at: datetime) -> datetime:
        """Return the first tick after a moment, in UTC; `NEVER` if there is none.

        Args:
            after: The moment.
            starts_at: A moment of the grid on which an interval ticks.
        """
        if self.every is not None:
            return starts_at + ((after - starts_at) // self.every + 1) * self.every
        # Cron's rule for clocks that are put back works with the time of day: it may name the first of two.
        return next((tick for tick in self._cron_ticks(after) if tick > after), NEVER)

    def latest_tick(self, until: datetime, starts_at: datetime) -> datetime | None:
        """Return the last tick at or before a moment, in UTC; None if there was none."""
        if self.every is not None:
            return starts_at + (until - starts_at) // self.every * self.every
        latest = next(self._cron_ticks(until, reverse=True), None)
        if latest is None:
            return None
        while (following := self.next_tick(latest, starts_at)) <= until:
            latest = following
        return latest

    def _cron_ticks(self, start: datetime, *, reverse: bool = False) -> Iterator[datetime]:
        from zoneinfo import ZoneInfo

        from cronsim import CronSim

        assert self.cron is not None
        expression = _ALIASES.get(self.cron.lower(), self.cron)
        for tick in CronSim(expression, start.astimezone(ZoneInfo(self.time_zone)), reverse=reverse):
            yield tick.astimezone(UTC)

    def _check_times(self) -> None:
        if self.every is not None:
            if not isinstance(self.every, timedelta) or self.every < _SECOND:
                raise InvalidSchedule(f"every must be a timedelta or seconds, at least 1, not {shown(self.every)}")
            if self.time_zone != "UTC":
                raise InvalidSchedule("time_zone= is for cron expressions; an interval is the same in every zone")
            return
        if not isinstance(self.cron, str):
            raise InvalidSchedule(f"cron must be a text like '0 9 * * MON-FRI', not {shown(self.cron)}")
        _check_zone(self.time_zone)
        _check_cron(self.cron)
        if next(self._cron_ticks(datetime.now(UTC)), None) is None:
            raise InvalidSchedule(f"the cron expression {self.cron!r} never comes true")


ScheduleOption: TypeAlias = Schedule | str | timedelta | Sequence[Schedule | str | timedelta]
"""What ``schedule=`` takes; a text is a cron expression in UTC."""


def named_schedules(given: object, flow_slug: str) -> tuple[Schedule, ...]:
    """Return what ``schedule=`` of a flow says as schedules with names.

    Args:
        given: A `Schedule`, a cron expression, an interval, or a list of these.
        flow_slug: The name of the only one, where it has none.

    Raises:
        InvalidSchedule: It is something else, or of several one has no name, or two have the same.
    """
    several = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    schedules = [_as_schedule(each) for each in several]
    names = [schedule.name for schedule in schedules]
    if len(schedules) > 1 and (None in names or len(set(names)) < len(names)):
        raise InvalidSchedule(
            "each of several schedules needs a name of its own: Schedule('0 9 * * *', name='morning')"
        )
    return tuple(schedule if schedule.name else replace(schedule, name=flow_slug) for schedule in schedules)


def _as_schedule(given: object) -> Schedule:
    match given:
        case Schedule():
            return given
        case str():
            return Schedule(given)
        case timedelta():
            return Schedule(every=given)
    raise InvalidSchedule(
        f"schedule takes a Schedule, a cron expression or a timedelta, or a list of them, not {shown(given)}"
    )


def _seconds(number: float) -> timedelta:
    try:
        return timedelta(seconds=number)
    except (OverflowError, ValueError):
        raise InvalidSchedule(f"every must be a timedelta or seconds, not {shown(number)}") from None


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > LONGEST_NAME:
        raise InvalidSchedule(
            f"the name of a schedule is a printable text of at most {LONGEST_NAME} characters, not {shown(name)}"
        )


def _check_zone(name: object) -> None:
    from zoneinfo import ZoneInfo, available_timezones

    try:
        ZoneInfo(name)  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001 - whatever it is that was given, it names no zone
        meant = did_you_mean(name, available_timezones()) if isinstance(name, str) else ""
        raise InvalidSchedule(
            f"there is no time zone {shown(name)}{meant}; they are named like Europe/Berlin"
        ) from None


def _check_cron(expression: str) -> None:
    from cronsim import CronSim, CronSimError

    if expression.startswith("@") and expression.lower() not in _ALIASES:
        raise InvalidSchedule(
            f"{expression!r} is no cron expression{did_you_mean(expression, _ALIASES)}; "
            f"those with a name are {', '.join(_ALIASES)}"
        )
    try:
        CronSim(_ALIASES.get(expression.lower(), expression), datetime.now(UTC))
    except CronSimError as error:
        raise InvalidSchedule(
            f"{shown(expression)} is no cron expression: {str(error).lower()}; it has five fields "
            "(minute, hour, day of month, month, day of week), like '30 9 * * MON-FRI'"
        ) from None


def as_mapping(schedule: Schedule) -> Mapping[str, Any]:
    """Give a schedule as the JSON that the database takes; the interval in seconds."""
    return {
        "name": schedule.name,
        "cron": schedule.cron,
        "every": None if schedule.every is None else schedule.every.total_seconds(),
        "time_zone": schedule.time_zone,
        "input": schedule.input,
        "catch_up": schedule.catch_up,
    }
