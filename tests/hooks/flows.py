"""One flow that has all fates, for the tests of hooks."""

from __future__ import annotations

import os
import signal
import time

from pgflow_mp import Flow, NonRetryable, map_step, step


class Fates(Flow, max_attempts=2, base_delay=0):
    """What the input says happens to its steps."""

    @step
    def begin(flow_input, ctx):
        if ctx.attempt < 2 and flow_input.get("begin") == "retry":
            raise ConnectionError("not yet")
        return list(range(flow_input.get("elements", 0)))

    @map_step(over=begin)
    def each(item):
        return item

    @step(when={"begin": ["never"]})
    def extra(begin):
        return begin

    @step(timeout=1, max_attempts=1)
    def ending(flow_input, each):
        if flow_input.get("ending") == "fail":
            raise NonRetryable("no way")
        if flow_input.get("ending") == "hang":
            time.sleep(60)
        if flow_input.get("ending") == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        return sum(each)


class Unwanted(Flow):
    """Does not begin, unless the input is right."""

    @step(when={"wanted": True}, when_unmet="fail")
    def only(flow_input):
        return 1


class Nothing(Flow):
    """Has nothing to do."""

    @step(when={"wanted": True})
    def only(flow_input):
        return 1
