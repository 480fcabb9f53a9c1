"""How an application tests its flows: `flow_runner` gives every test a Postgres database of its own.

pytest examples/orders
"""

from __future__ import annotations

import pytest
from flows import ProcessOrder


@pytest.fixture
def order():
    return {"country": "DE", "lines": [{"sku": "teapot", "cents": 2450}, {"sku": "cup", "cents": 390, "quantity": 6}]}


def test_an_order_is_charged_and_shipped(flow_runner, order):
    run = flow_runner.run(ProcessOrder, order)
    assert run.completed
    assert run.steps["charge"].output["cents"] == 2450 + 6 * 390
    assert run.output["fulfil"]["parcels"] == [{"sku": "teapot", "reserved": 1}, {"sku": "cup", "reserved": 6}]
    assert run.output["fulfil"]["invoice"] == "invoice over 47.90 EUR"


def test_only_german_orders_get_an_invoice(flow_runner, order):
    run = flow_runner.run(ProcessOrder, {**order, "country": "FR"})
    assert run.steps["invoice"].skipped
    assert run.output["fulfil"]["invoice"] is None


def test_an_empty_order_fails_at_the_first_attempt(flow_runner):
    run = flow_runner.run(ProcessOrder, {"country": "DE", "lines": []}, check=False)
    assert run.failed
    assert run.steps["validate"].attempts == 1
    assert "the order has no lines" in run.steps["validate"].error


def test_the_same_in_processes_as_in_production(flow_runner, order):
    assert flow_runner.run(ProcessOrder, order, executor="process").completed
