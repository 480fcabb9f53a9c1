"""Blocking work for both faces: the awaited one has a thread do it, so that its event loop goes on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def in_thread(work: Callable[[], T]) -> T:
    """Do it here: the blocking face has nothing to go on with meanwhile."""
    return work()


async def in_thread_async(work: Callable[[], T]) -> T:
    """Do it in a thread."""
    return await asyncio.to_thread(work)
