"""The short profile of the fault suite; `ci/faults` lets a long storm go."""

from __future__ import annotations

import pytest

from tests.faults.storm import storm


@pytest.mark.filterwarnings("default::ResourceWarning")
def test_nothing_is_lost_and_nothing_counts_twice_in_a_storm_of_faults(tmp_path):
    report = storm(12, tmp_path, seed=4, pause=0.25)
    print(report)
    assert not report.wrong, f"{report}\n{report.log}"
    assert report.figures["tasks"] > 100
    assert report.inflicted.total() >= 15
