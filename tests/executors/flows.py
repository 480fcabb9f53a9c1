"""Flows that children can import."""

from __future__ import annotations

import contextvars
import os
import sys

from pgflow_mp.flow import Flow, step

SEEN = []
LOCAL: contextvars.ContextVar[object] = contextvars.ContextVar("LOCAL", default="untouched")
THREADS_AT_IMPORT = os.environ.get("OMP_NUM_THREADS")


class Importable(Flow):
    @step
    def work(flow_input):
        SEEN.append(flow_input)
        return {"module": __name__, "pid": os.getpid(), "in_sys_modules": __name__ in sys.modules, "seen": len(SEEN)}


class Outer:
    class Nested(Flow):
        @step
        def work(flow_input):
            return "nested"
