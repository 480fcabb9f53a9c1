"""Time-ordered run ids (D-9)."""

from __future__ import annotations

import time
import uuid

from pgflow_mp.ids import new_id


def test_an_id_is_a_uuid_of_version_7():
    made = new_id()
    assert made.version == 7
    assert made.variant == uuid.RFC_4122


def test_an_id_starts_with_the_milliseconds_of_its_making():
    before = time.time_ns() // 1_000_000
    made = new_id()
    assert before <= made.int >> 80 <= time.time_ns() // 1_000_000


def test_ids_of_later_milliseconds_sort_behind():
    first = new_id()
    time.sleep(0.003)
    assert first < new_id()


def test_ten_thousand_ids_differ():
    assert len({new_id() for _ in range(10_000)}) == 10_000
