"""The short profile of the fault suite; `ci/faults` lets a long storm go."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.faults.storm import storm


@pytest.mark.slow
@pytest.mark.filterwarnings("default::ResourceWarning")
def test_nothing_is_lost_and_nothing_counts_twice_in_a_storm_of_faults():
    with tempfile.TemporaryDirectory(prefix="pgflow-faults-") as scratch:  # the server's account gets there
        report = storm(12, Path(scratch), seed=4, pause=0.25)
    print(report)
    assert not report.wrong, f"{report}\n{report.log}"
    assert report.figures["tasks"] > 50
    assert report.inflicted.total() >= 8
