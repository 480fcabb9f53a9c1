"""What a type checker makes of flows: each line says what is expected of it, and test_checkers.py holds it to that.

A line that ends in "is X" behind the hash expects the type X to be revealed, one that ends in "error" a complaint, in
"error (mypy)" one of mypy only; all others expect nothing. Pyright takes the first parameter of a function in a class
for `self`, whatever decorates it, and mypy that of an undecorated one; with `@staticmethod` both know better.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict, reveal_type

from pgflow_mp import Context, Flow, Job, PgFlow, RunFailed, job, map_step, step

if TYPE_CHECKING:
    from uuid import UUID

    import psycopg
    import sqlalchemy
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
    from sqlalchemy.orm import Session, scoped_session

    from pgflow_mp import AsyncPgFlow


@dataclass
class Order:
    id: int


class Receipt(TypedDict):
    charge: int


class Shop(Flow[Order, Receipt], max_attempts=2):
    @step
    @staticmethod
    def price(flow_input: Order) -> int:
        return flow_input.id

    @map_step(over=price)
    @staticmethod
    def each(item: int, ctx: Context) -> str:
        return f"{item} {ctx.attempt}"

    @step(depends_on=[each], timeout=3)
    @staticmethod
    def charge(price: int) -> int:
        return price

    @step(timeout="soon")  # error
    @staticmethod
    def wrong(price: int) -> int:
        return price


class Plain(Flow):
    @step
    def only(flow_input: dict[str, Any]) -> int:  # error (pyright)
        return 1


@job(max_attempts=5)
def double(number: int) -> int:
    return number * 2


class Halve(Job):
    @staticmethod
    def perform(number: int) -> int:
        return number // 2


class Third(Job):
    def perform(number: int) -> int:  # error
        return number // 3


def a_step_is_called_like_its_function() -> None:
    reveal_type(Shop.price(Order(1)))  # is int
    reveal_type(double(1))  # is int
    Shop.price("1")  # error
    double("1")  # error


def a_flow_says_what_it_takes_and_gives(app: PgFlow, run_id: UUID) -> None:
    reveal_type(app.start_flow(Shop, Order(1)))  # is UUID
    app.start_flow(Shop, {"id": 1})  # error
    app.start_flow(Shop, Order("1"))  # error
    app.start_flows(Shop, [Order(1), Order(2)])
    app.start_flows(Shop, [Order(1), 2])  # error
    app.start_flow(Shop, Order(1), run=run_id)  # error
    run = app.start_flow_sync(Shop, Order(1), timeout=3)
    reveal_type(run.output)  # is Receipt
    reveal_type(run.output["charge"])  # is int
    reveal_type(app.get_run(run_id, flow=Shop).output)  # is Receipt | None
    reveal_type(app.get_run_with_states(run_id, flow=Shop).output)  # is Receipt | None


def a_flow_that_says_nothing_takes_and_gives_anything(app: PgFlow, run_id: UUID) -> None:
    app.start_flow(Plain)
    app.start_flow(Plain, {"n": 1})
    app.start_flow("plain", [1])
    app.start_flow(Plain.definition, 1)
    app.start_flow(double, 1)
    app.start_flow(Halve, 1)
    app.enqueue(double, 1, delay_seconds=3)
    reveal_type(app.start_flow_sync(Plain, {}).output)  # is Any
    reveal_type(app.start_flow_sync("plain", {}).output)  # is Any
    reveal_type(app.get_run(run_id).output)  # is Any
    app.start_flow(3)  # error


async def the_awaited_face_says_the_same(app: AsyncPgFlow, run_id: UUID) -> None:
    reveal_type(await app.start_flow(Shop, Order(1)))  # is UUID
    await app.start_flow(Shop, 1)  # error
    reveal_type((await app.start_flow_sync(Shop, Order(1))).output)  # is Receipt
    reveal_type((await app.get_run(run_id, flow=Shop)).output)  # is Receipt | None


def a_run_is_plain_to_read(app: PgFlow, run_id: UUID) -> None:
    run = app.get_run_with_states(run_id)
    reveal_type(run.failed)  # is bool
    reveal_type(run.steps["price"].attempts)  # is int
    reveal_type(run.steps["price"].output)  # is Any
    try:
        app.start_flow_sync(Shop, Order(1))
    except RunFailed as failed:
        reveal_type(failed.run.error)  # is str | None


def transactions_of_other_libraries_are_joined(
    app: PgFlow,
    plain: psycopg.Connection[tuple[int]],
    core: sqlalchemy.Connection,
    session: Session,
    scoped: scoped_session[Session],
) -> None:
    app.start_flow(Shop, Order(1), conn=plain)
    app.start_flow(Shop, Order(1), conn=core)
    app.enqueue(double, 1, conn=session)
    app.delete_flow("plain", conn=scoped)
    app.delete_flow("plain", conn="postgresql://")  # error


async def awaited_ones_too(
    app: AsyncPgFlow, plain: psycopg.AsyncConnection[Any], core: AsyncConnection, session: AsyncSession
) -> None:
    await app.start_flow(Shop, Order(1), conn=plain)
    await app.start_flow(Shop, Order(1), conn=core)
    await app.delete_flow("plain", conn=session)
    await app.delete_flow("plain", conn=3)  # error
