"""Runs once in the fork server, before it forks its first child: shields it and warms it up.

A fork server dies of SIGTERM by default, and systemd sends that to the whole group on every stop; its
children would go on, but could not be reaped, and no new one could start. Importing this module makes the
server ignore the signals of a shutdown; it ends by itself when the pool and all children have gone.

It also preloads: `multiprocess` swallows a preload's ImportError, lets any other error kill the server, and
up to Python 3.12 imports before `sys.path` is known (cpython gh-117378). So the parent passes path and names
in the environment, and this module imports them, keeps what failed for the first child's greeting, and caps
the numeric libraries' threads first, since they read the variables when they are imported.

A module that starts a thread when it is imported is told of as well: a child is forked without that thread, but with
the locks that it holds. And such a thread does not keep the server alive when all that it serves have gone.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import sys
import threading

ORDER_VARIABLE = "PGFLOW_MP_FORKSERVER"

THREAD_LIMITS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "POLARS_MAX_THREADS",
)
"""One process per core times one thread per core each would be cores squared."""

preload_troubles: dict[str, str] = {}
"""Module name to what is wrong with it here; children inherit it by fork."""


def cap_threads() -> None:
    """Give each numeric library one thread in this process, unless the user has set a number."""
    for name in THREAD_LIMITS:
        os.environ.setdefault(name, "1")


def _preload(names: list[str]) -> None:
    for name in names:
        before = threading.enumerate()
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's module may raise anything
            preload_troubles[name] = f"it cannot be imported there: {type(error).__name__}: {error}"
        started = [thread.name for thread in threading.enumerate() if thread not in before]
        if started:
            preload_troubles[name] = (
                f"it starts threads when it is imported ({', '.join(started)}); children are forked without them, and "
                f"may wait for ever for a lock that one of them holds. Start them in the handlers that need them"
            )


def _end_without_waiting() -> None:
    """Do not wait at the end for threads that a module has started; a forked child ends in its own way."""
    server = os.getpid()
    threading._register_atexit(lambda: os._exit(0) if os.getpid() == server else None)  # type: ignore[attr-defined]  # noqa: SLF001


def _serve() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    order = json.loads(os.environ.pop(ORDER_VARIABLE))
    sys.path[:] = order["path"]
    cap_threads()
    _preload(order["modules"])
    _end_without_waiting()
    gc.collect()
    gc.freeze()  # the collector of a child does not touch, and so does not copy, the shared pages


if ORDER_VARIABLE in os.environ:
    _serve()
