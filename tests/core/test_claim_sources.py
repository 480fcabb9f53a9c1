"""Claiming by source: some steps of a flow, a bound, a lane; and room shared equally. Decisions D-2, D-27."""

import pytest

from .ask import rows
from .machine import map_of, single


def claim(machine, *sources, only=None):
    """Claim from sources (flow, quantity, steps, most, lane); returns what came from which, in order."""
    flows, quantities, steps, most, lanes = map(list, zip(*sources, strict=True))
    found = rows(
        machine.conn,
        "select flow_slug, step_slug from pgflow_mp.claim_tasks("
        "%s::text[], %s::uuid[], %s::int[], %s::uuid[], %s::text[], %s::int[], %s::int[])",
        flows,
        [machine.worker] * len(flows),
        quantities,
        only,
        steps,
        most,
        lanes,
    )
    return [f"{flow}.{step}" for flow, step in found]


@pytest.fixture
def mixed(machine):
    """A flow with 20 tasks of `a` in front of those of `b` and `c`."""
    machine.flow("f", a=map_of(), b=map_of(), c=map_of())
    machine.start("f", list(range(20)))
    return machine


class TestSteps:
    def test_only_the_named_steps_are_claimed_however_many_others_lie_in_front(self, mixed):
        assert claim(mixed, ("f", 3, "c", None, 1)) == ["f.c"] * 3

    def test_all_but_the_named_steps_are_claimed(self, mixed):
        assert claim(mixed, ("f", 30, "-a,c", None, 1)) == ["f.b"] * 20

    def test_one_round_trip_claims_from_several_parts_of_a_flow(self, mixed):
        claimed = claim(mixed, ("f", 2, "-c", None, 1), ("f", 3, "c", None, 2))
        assert claimed == ["f.a"] * 2 + ["f.c"] * 3

    def test_no_task_is_claimed_twice_where_parts_overlap(self, mixed):
        claimed = claim(mixed, ("f", 100, None, None, 1), ("f", 100, "a", None, 2))
        assert len(claimed) == 60

    def test_a_step_that_the_flow_does_not_have_claims_nothing(self, mixed):
        assert claim(mixed, ("f", 5, "absent", None, 1)) == []

    @pytest.mark.own_core
    def test_they_choose_among_the_queues_of_a_flow_with_one_for_each_step(self, machine):
        machine.conn.execute(
            'select pgflow._create_flow_from_shape(\'f\', \'{"steps": [{"slug": "a"}, {"slug": "b"}]}\', \'step\')'
        )
        machine.start("f")
        assert claim(machine, ("f", 5, "b", None, 1)) == ["f.b"]
        assert claim(machine, ("f", 5, "-b", None, 1)) == ["f.a"]


class TestRoom:
    def test_most_bounds_a_source_whatever_room_there_is_and_leaves_the_rest_to_others(self, mixed):
        claimed = claim(mixed, ("f", 10, "a", 2, 1), ("f", 10, "b", None, 1))
        assert claimed == ["f.a"] * 2 + ["f.b"] * 8

    @pytest.mark.parametrize("most", [0, -1])
    def test_a_bound_of_nothing_claims_nothing(self, mixed, most):
        assert claim(mixed, ("f", 10, "a", most, 1)) == []

    def test_each_lane_has_a_room_of_its_own(self, mixed):
        claimed = claim(mixed, ("f", 4, "a", None, 1), ("f", 5, "b", None, 2))
        assert claimed == ["f.a"] * 4 + ["f.b"] * 5

    def test_sources_of_one_lane_share_its_room_equally(self, mixed):
        claimed = claim(mixed, ("f", 12, "a", None, 1), ("f", 12, "b", None, 1), ("f", 12, "c", None, 1))
        assert [claimed.count(f"f.{step}") for step in ("a", "b", "c")] == [4, 4, 4]

    def test_what_one_leaves_goes_to_those_that_have_more(self, machine):
        machine.flow("f", a=map_of())
        machine.flow("g", b=map_of())
        machine.start("f", list(range(20)))
        machine.start("g", [1])
        assert claim(machine, ("f", 8, None, None, 1), ("g", 8, None, None, 1)).count("f.a") == 7
        assert claim(machine, ("g", 8, None, None, 1), ("f", 8, None, None, 1)).count("f.a") == 8

    def test_room_for_one_goes_to_the_first_that_has_a_task(self, mixed):
        mixed.flow("g", b=single())
        mixed.start("g")
        assert claim(mixed, ("g", 1, None, None, 1), ("f", 1, None, None, 1)) == ["g.b"]
        assert claim(mixed, ("g", 1, None, None, 1), ("f", 1, None, None, 1)) == ["f.a"]

    def test_the_whole_never_exceeds_the_room(self, machine):
        for slug in ("f", "g", "h"):
            machine.flow(slug, a=map_of())
            machine.start(slug, list(range(50)))
        # One task of f takes a fourth of the room, one of g a tenth, one of h half.
        claimed = claim(machine, ("f", 4, None, None, 1), ("g", 10, None, None, 1), ("h", 2, None, None, 1))
        used = claimed.count("f.a") / 4 + claimed.count("g.a") / 10 + claimed.count("h.a") / 2
        assert 0.9 <= used <= 1.001
