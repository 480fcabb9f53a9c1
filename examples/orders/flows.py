"""An order from validation to shipment: a map step, a condition, and a dependency that may be skipped.

pgflow-mp run examples/orders/flows.py @examples/orders/order.json
"""

from __future__ import annotations

from pgflow_mp import Context, Flow, NonRetryable, map_step, step

STOCK = {"teapot": 4, "cup": 40, "kettle": 0}


class ProcessOrder(Flow, max_attempts=3, base_delay=1, timeout=60):
    """Validate, charge and fulfil one order."""

    @step
    def validate(flow_input):
        """The order's lines; an order without lines is wrong for good, so it is not tried again."""
        lines = flow_input.get("lines", [])
        if not lines:
            raise NonRetryable("the order has no lines")
        return [{"quantity": 1, **line} for line in lines]

    @step(timeout=20, max_attempts=5)
    def charge(validate, flow_input, ctx: Context):
        """Take the money. The run's id makes a second attempt harmless: the bank knows the payment already."""
        cents = sum(line["quantity"] * line["cents"] for line in validate)
        ctx.logger.info("charging %s cents, attempt %s", cents, ctx.attempt)
        return {"payment": f"pay-{ctx.run_id}", "cents": cents, "country": flow_input["country"]}

    @map_step(over=validate)
    def reserve(item):
        """Reserve one line: one task each, side by side."""
        if STOCK.get(item["sku"], 0) < item["quantity"]:
            raise NonRetryable(f"{item['sku']}: only {STOCK.get(item['sku'], 0)} in stock")
        return {"sku": item["sku"], "reserved": item["quantity"]}

    @step(when={"charge": {"country": "DE"}}, when_unmet="skip")
    def invoice(charge):
        """Only German customers get a paper invoice."""
        return f"invoice over {charge['cents'] / 100:.2f} EUR"

    @step
    def fulfil(charge, reserve, invoice=None):
        """Ship it; without an invoice the default of the parameter arrives."""
        return {"payment": charge["payment"], "parcels": reserve, "invoice": invoice}
