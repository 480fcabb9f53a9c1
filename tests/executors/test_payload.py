"""An output that is too large fails where it was made (D-6)."""

from __future__ import annotations

import pytest

from pgflow_mp import Context, Flow, step
from pgflow_mp.executors import perform


class Large(Flow):
    @step
    def shout(flow_input):
        return "x" * flow_input


@pytest.fixture
def limit(monkeypatch):
    monkeypatch.setattr(perform, "MAX_PAYLOAD_MB", 1)


def shout(length):
    ctx = Context.begin(flow_slug="large", run_id=None, step_slug="shout")
    return perform.perform(Large.definition.step("shout"), ctx, b"{}", str(length).encode())


def test_it_fails_with_its_size_the_limit_and_what_to_do_instead(limit):
    verdict = shout(3 * 1024 * 1024)
    assert verdict.reason == "output"
    assert verdict.error.splitlines()[0] == (
        "OutputError: the output is too large: 3 MB of JSON, the limit is 1 MB; "
        "store it where large things are (a file, a bucket, a table) and return where it is"
    )


def test_what_is_within_the_limit_passes(limit):
    assert len(shout(1024 * 1024 - 2).output) == 1024 * 1024
