"""Handlers by name, for flows that tests make at run time."""

from __future__ import annotations

from pgflow_mp import handles


@handles("gather")
def gather(flow_input, ctx, **outputs):
    return {"step": ctx.step_slug, "given": flow_input, **outputs}


@handles
def fetch(flow_input):
    return flow_input["n"]


@handles("twice")
def double(item):
    return item * 2


@handles("numbers")
async def numbers(fetch):
    return list(range(fetch))


HANDLERS = (gather, fetch, double, numbers)
