"""Look at a run until it ends: a few looks a second, fewer when a look takes long."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Final

from pgflow_mp.cli.exits import Interrupted
from pgflow_mp.cli.naming import unknown_run
from pgflow_mp.cli.progress import duration
from pgflow_mp.core.queries.progress import run_progress
from pgflow_mp.errors import RunTimeout

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from pgflow_mp.cli.database import Session
    from pgflow_mp.core.queries.progress import RunProgress

#: Seconds from one look to the next.
LOOK_SECONDS: Final = 0.2

#: A look that takes long (a map step with very many tasks) makes the pause this many times as long as itself.
PAUSES_FOR_A_LOOK: Final = 10


def pause_after(look_seconds: float) -> float:
    """How long to pause after a look that took so long: what watches must not be what slows down."""
    return max(LOOK_SECONDS, PAUSES_FOR_A_LOOK * look_seconds)


def wait_for(
    db: Session,
    run_id: UUID,
    show: Callable[[RunProgress], None],
    *,
    close: Callable[[], None] = lambda: None,
    seconds: float | None = None,
) -> RunProgress:
    """Show the run whenever it is looked at, until it has ended.

    Args:
        db: Where it is.
        run_id: The run.
        show: Gets each snapshot, the last one too.
        close: Called in any case when it is over.
        seconds: How long to wait at the most; None for ever.

    Raises:
        RunNotFound: There is no such run, or not any more.
        RunTimeout: The time is up; the run goes on.
        Interrupted: By Ctrl-C; the run goes on.
    """
    give_up = None if seconds is None else time.monotonic() + seconds
    try:
        while True:
            began = time.monotonic()
            progress = db.ask(run_progress(run_id))
            if progress is None:
                raise unknown_run(str(run_id))
            show(progress)
            if progress.ended:
                return progress
            pause = pause_after(time.monotonic() - began)
            if give_up is not None:
                if time.monotonic() >= give_up:
                    raise RunTimeout(run_id, f"run {run_id} goes on: not done within {duration(seconds or 0)}")
                pause = min(pause, max(0.0, give_up - time.monotonic()))
            time.sleep(pause)
    except KeyboardInterrupt:
        raise Interrupted(signal.SIGINT, f"run {run_id} goes on") from None
    finally:
        close()
