"""A flow whose steps ask their context for everything, in each executor."""

from __future__ import annotations

import asyncio

from pgflow_mp import Flow, map_step, step


def asked(ctx):
    """What a handler sees of the world; blocking."""
    ctx.progress(0.25, "begun")
    with ctx.connection() as conn:
        (one,) = conn.execute("select 1").fetchone()
        first = conn.info.backend_pid
    with ctx.connection() as conn:
        again = conn.info.backend_pid
        (name,) = conn.execute("select current_setting('application_name')").fetchone()
    ctx.progress(0.5, "half")
    return {
        "input": ctx.flow_input,
        "one": one,
        "same": first == again,
        "name": name,
        "key": ctx.idempotency_key,
        "backend": first,
        "cancelled": ctx.cancelled,
    }


class Curious(Flow, max_attempts=1, timeout=20):
    @step
    def begin(flow_input):
        return flow_input["n"]

    @step
    def in_process(begin, ctx):
        return asked(ctx)

    @step(executor="thread")
    def in_thread(begin, ctx):
        return asked(ctx)

    @step(executor="inline")
    def in_line(begin, ctx):
        return asked(ctx)

    @step
    async def in_loop(begin, ctx):
        ctx.progress(0.5, "half")
        async with ctx.async_connection() as conn:
            (one,) = await (await conn.execute("select 1")).fetchone()
            first = conn.info.backend_pid
        async with ctx.async_connection() as conn:
            again = conn.info.backend_pid
        in_thread = await asyncio.to_thread(asked, ctx)
        return {"input": ctx.flow_input, "one": one, "same": first == again, "thread": in_thread}

    @step(executor="process")
    async def in_loop_of_its_own(begin, ctx):
        async with ctx.async_connection() as conn:
            (one,) = await (await conn.execute("select 1")).fetchone()
        return {"input": ctx.flow_input, "one": one}


class Untidy(Flow, max_attempts=1):
    @step
    def leave(flow_input, ctx):
        with ctx.connection() as conn:
            conn.execute("create table mess (n int)")
            conn.execute("set work_mem = '7MB'")
            conn.autocommit = False
            conn.execute("insert into mess values (1)")
            return conn.info.backend_pid

    @step
    def find(leave, ctx):
        with ctx.connection() as conn:
            (left,) = conn.execute("select count(*) from mess").fetchone()
            (work_mem,) = conn.execute("show work_mem").fetchone()
            return [conn.info.backend_pid == leave, left, work_mem != "7MB", conn.autocommit]

    @step
    def survive(find, ctx):
        with ctx.connection() as held, ctx.connection() as other:
            other.execute("select pg_terminate_backend(%s)", [held.info.backend_pid])
            distinct = held.info.backend_pid != other.info.backend_pid
        with ctx.connection() as conn:
            return [distinct, conn.execute("select 1").fetchone()[0]]


class Chatty(Flow, max_attempts=1, timeout=30):
    @map_step
    def say(item, ctx):
        for number in range(item):
            ctx.progress(number / item, f"{number} of {item}")
        return


class Keyed(Flow, max_attempts=2, base_delay=0):
    @map_step
    def keep(item, ctx):
        ctx.progress(message=f"attempt {ctx.attempt}")
        if ctx.attempt == 1:
            raise RuntimeError(ctx.idempotency_key)
        return ctx.idempotency_key
