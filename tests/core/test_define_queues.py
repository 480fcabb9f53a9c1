"""Queues of flows and of steps: names, routes, owners. Rules: generations 4.2, 5.4, 5.5, 5.7."""

import json

import pytest

from .ask import column, detail, refusal, rows, value
from .test_define_shapes import shape, step


def resolve(flow, slug, index):
    return "select pgflow._resolve_step_queue_name(%s, %s, %s::int)", flow, slug, index


def routes(conn, flow, flow_shape, mode):
    return value(conn, "select pgflow._derive_queue_routes(%s, %s, %s)", flow, json.dumps(flow_shape), mode)


def refuse_routes(conn, flow, flow_shape, mode):
    call = "select pgflow._derive_queue_routes(%s, %s, %s)"
    return refusal(conn, call, flow, json.dumps(flow_shape), mode)


def create_with_step_queues(conn, flow, flow_shape):
    conn.execute("select pgflow._create_flow_from_shape(%s, %s, 'step')", [flow, json.dumps(flow_shape)])


def available(conn, flow, queue):
    return value(conn, "select pgflow._assert_step_queue_available(%s, %s)", flow, queue)


def refuse_available(conn, flow, queue):
    return refusal(conn, "select pgflow._assert_step_queue_available(%s, %s)", flow, queue)


def queues(conn):
    return sorted(column(conn, "select queue_name from pgmq.list_queues()"))


class TestListedName:
    def test_the_listed_spelling_or_the_name_itself(self, db):
        """generations 4.2: matched case-insensitively; none listed gives the argument."""
        db.execute("select pgmq.create('Mixed')")
        assert value(db, "select pgflow._listed_queue_name('mixed')") == "Mixed"
        assert value(db, "select pgflow._listed_queue_name('None')") == "None"

    def test_two_spellings_are_ambiguous(self, db):
        """generations 4.2: 42P09, exact text."""
        db.execute("select pgmq.create('Mixed')")
        db.execute("select pgmq.create('mixed')")
        assert refusal(db, "select pgflow._listed_queue_name('mixed')") == (
            "42P09",
            'queue name "mixed" is ambiguous: it matches listed queues {Mixed,mixed}',
        )


class TestStepQueueNames:
    @pytest.mark.parametrize(
        ("flow", "slug", "index", "queue"),
        [
            ("communityThreadsV1", "classify", 0, "communitythreadsv1__classify"),
            ("f" * 44, "s", 0, "f" * 44 + "__s"),
            ("shortFlow", "s" * 40, 3, "shortflow__3"),
            ("f" * 44, "s" * 20, 9, "f" * 44 + "__9"),
        ],
    )
    def test_vectors(self, db, flow, slug, index, queue):
        """generations QN-1, QN-3, QN-5 and the vectors of 5.4 [T]."""
        assert value(db, *resolve(flow, slug, index)) == queue

    def test_an_index_that_is_too_long(self, db):
        """generations QN-4 [T]: exact text and detail."""
        flow = "f" * 44
        call = resolve(flow, "s" * 20, 10)
        assert refusal(db, *call) == (
            "P0001",
            f'Cannot derive a queue for step "{"s" * 20}" at index 10 in flow "{flow}".',
        )
        assert detail(db, *call) == (
            "The readable name is 66 characters and the index fallback is 48; PGMQ allows at most 47."
        )

    def test_a_flow_that_is_too_long(self, db):
        """generations QN-2 [T]: 45 characters; the detail names the shortest queue and its length."""
        flow = "F" * 45
        call = resolve(flow, "s", 0)
        assert refusal(db, *call) == ("P0001", f'Flow "{flow}" cannot use per-step queues.')
        assert "f" * 45 + "__0" in detail(db, *call)
        assert "48" in detail(db, *call)


class TestRoutes:
    def test_flow_mode_routes_every_step_to_the_flow(self, db):
        """generations R-5."""
        assert routes(db, "MyFlow", shape(step("b"), step("a")), "flow") == [
            {"stepSlug": "b", "queueName": "myflow"},
            {"stepSlug": "a", "queueName": "myflow"},
        ]
        assert routes(db, "MyFlow", {}, "flow") == []

    def test_step_mode_routes_every_step_to_its_queue(self, db):
        """generations 5.3, QN-1, QN-3: ordered by step index."""
        assert routes(db, "MyFlow", shape(step("B"), step("a" * 42)), "step") == [
            {"stepSlug": "B", "queueName": "myflow__b"},
            {"stepSlug": "a" * 42, "queueName": "myflow__1"},
        ]

    def test_checks_come_in_order(self, db):
        """generations R-1 to R-4: exact texts, all P0001."""
        conn = db
        twins = shape(step("load"), step("Load"))
        for flow, flow_shape, mode, message in [
            ("_bad", {}, "x", 'Unknown queue mode "x".'),
            ("_bad", {}, "step", 'Flow "_bad" cannot use per-step queues: it has no steps.'),
            ("_bad", shape(step("_b")), "step", 'Flow slug "_bad" is not valid.'),
            ("f", shape(step("a"), step("a"), step("_b")), "flow", 'Step slug "_b" in flow "f" is not valid.'),
            ("f", twins, "flow", 'Steps "load" and "Load" in flow "f" conflict case-insensitively.'),
            ("f", twins, "step", 'Steps "load" and "Load" in flow "f" conflict case-insensitively.'),
            ("f" * 45, shape(step("a")), "step", f'Flow "{"f" * 45}" cannot use per-step queues.'),
        ]:
            assert refuse_routes(conn, flow, flow_shape, mode) == ("P0001", message)


class TestAvailability:
    def test_a_free_queue_must_be_created(self, db):
        """generations PV-5."""
        assert available(db, "f", "f__a") is True

    def test_an_own_queue_needs_nothing(self, db):
        """generations PV-3."""
        create_with_step_queues(db, "f", shape(step("a")))
        assert available(db, "f", "f__a") is False

    def test_an_own_queue_that_pgmq_lost(self, db):
        """generations PV-3 as of 0.17.1 [T]."""
        create_with_step_queues(db, "f", shape(step("a")))
        db.execute("select pgmq.drop_queue('f__a')")
        assert refuse_available(db, "f", "f__a") == (
            "P0001",
            'queue "f__a" owned by flow "f" is not listed in PGMQ',
        )

    def test_a_queue_of_another_flow(self, db):
        """generations PV-1: a route, or the queue of a whole flow."""
        create_with_step_queues(db, "other", shape(step("a")))
        db.execute("select pgflow.create_flow('whole')")
        for queue, owner in [("other__a", "other"), ("whole", "whole")]:
            assert refuse_available(db, "f", queue) == (
                "P0001",
                f'cannot create flow "f": queue "{queue}" is already used by another flow ("{owner}")',
            )

    def test_several_spellings(self, db):
        """generations PV-2."""
        db.execute("select pgmq.create('F__a')")
        db.execute("select pgmq.create('f__a')")
        assert refuse_available(db, "f", "f__a") == (
            "P0001",
            'queue "f__a" matches multiple listed PGMQ queues ({F__a,f__a})',
        )

    def test_a_queue_of_somebody_else(self, db):
        """generations PV-4."""
        db.execute("select pgmq.create('f__a')")
        assert refuse_available(db, "f", "f__a") == (
            "P0001",
            'cannot create flow "f": queue "f__a" is already listed in PGMQ and not owned by this flow',
        )


class TestProvisioning:
    def test_step_mode_makes_a_queue_for_each_step_and_none_for_the_flow(self, db):
        """generations PV-6."""
        create_with_step_queues(db, "MyFlow", shape(step("a"), step("b", "a", "a"), options={"timeout": 9}))
        assert queues(db) == ["myflow__a", "myflow__b"]
        assert rows(db, "select flow_slug, queue_mode, opt_timeout from pgflow.flows") == [("MyFlow", "step", 9)]
        assert rows(db, "select step_slug, step_index, deps_count, queue_name from pgflow.steps order by 2") == [
            ("a", 0, 0, "myflow__a"),
            ("b", 1, 1, "myflow__b"),
        ]
        assert rows(db, "select dep_slug, step_slug from pgflow.deps") == [("a", "b")]

    def test_a_taken_route_leaves_no_partial_set(self, db):
        """generations PV-6: all routes are looked at first."""
        db.execute("select pgmq.create('f__b')")
        call = "select pgflow._create_flow_from_shape('f', %s, 'step')"
        state, message = refusal(db, call, json.dumps(shape(step("a"), step("b"))))
        assert (state, "already listed" in message) == ("P0001", True)
        assert queues(db) == ["f__b"]

    def test_an_existing_flow_keeps_its_mode_and_its_steps_refuse(self, db):
        """generations PV-6: 23505 steps_pkey."""
        create_with_step_queues(db, "f", shape(step("a")))
        call = "select pgflow._create_flow_from_shape('f', %s, 'step')"
        state, message = refusal(db, call, json.dumps(shape(step("a"))))
        assert (state, "steps_pkey" in message) == ("23505", True)

    def test_a_map_step_has_one_parent_at_most(self, db):
        """generations PV-6: the text of add_step."""
        call = "select pgflow._create_flow_from_shape('f', %s, 'step')"
        bad = shape(step("a"), step("b"), step("m", "a", "b", stepType="map"))
        assert refusal(db, call, json.dumps(bad)) == (
            "P0001",
            'Map step "m" can have at most one dependency, but 2 were provided: a, b',
        )
        assert queues(db) == []

    def test_an_unknown_mode_is_refused(self, db):
        """generations R-1."""
        call = "select pgflow._create_flow_from_shape('f', %s, 'other')"
        assert refusal(db, call, json.dumps(shape(step("a")))) == ("P0001", 'Unknown queue mode "other".')
