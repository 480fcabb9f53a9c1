"""Waiting for the first of an event and a time."""

from __future__ import annotations

import asyncio
from contextlib import suppress


async def wait_for_event(event: asyncio.Event, seconds: float) -> bool:
    """Wait until the event is set or the seconds have passed; return whether it is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()
