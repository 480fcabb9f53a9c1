"""Posts to a webhook when a run fails: a plugin as a package of its own.

PGFLOW_WEBHOOK_URL says where to; without it nothing is posted. The body is JSON, with the run, its flow, how long it
took, and the error. A post may take 5 seconds: a worker calls observers in a thread where nothing else waits. One that
does not get through is logged by pgflow-mp with this plugin's name.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

from pgflow_mp.hooks import hookimpl

if TYPE_CHECKING:
    from pgflow_mp.hooks import RunInfo

URL = "PGFLOW_WEBHOOK_URL"
PATIENCE_SECONDS = 5


@hookimpl
def pgflow_run_failed(run: RunInfo, error: str) -> None:
    """Post a failure."""
    post(
        {
            "event": "run_failed",
            "flow": run.flow_slug,
            "run_id": str(run.run_id),
            "seconds": run.seconds,
            "error": error,
        }
    )


@hookimpl
def pgflow_events_dropped(count: int) -> None:
    """Post that failures may be missing."""
    post({"event": "events_dropped", "count": count})


def post(message: dict[str, Any]) -> None:
    """Post a message, if there is an address for it; an answer of 400 or above is an error."""
    url = os.environ.get(URL)
    if url:
        request = Request(url, json.dumps(message).encode(), {"Content-Type": "application/json"})  # noqa: S310
        with urlopen(request, timeout=PATIENCE_SECONDS):  # noqa: S310 - the address is the operator's own
            pass
