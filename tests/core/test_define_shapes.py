"""Shapes: read from the database, compared, made into flows. Rules: core 6.1-6.3, 10.14."""

import json

from .ask import refusal, rows, value

UNDEFINED = {"defined": False}


def step(slug, *deps, **more):
    """A step of a shape with all seven keys."""
    return {
        "slug": slug,
        "stepType": "single",
        "dependencies": list(deps),
        "whenUnmet": "skip",
        "whenExhausted": "fail",
        "requiredInputPattern": UNDEFINED,
        "forbiddenInputPattern": UNDEFINED,
        **more,
    }


def shape(*steps, **more):
    return {"steps": list(steps), **more}


def stored(conn, slug):
    return value(conn, "select pgflow._get_flow_shape(%s)", slug)


def compare(conn, first, second):
    return value(conn, "select pgflow._compare_flow_shapes(%s, %s)", json.dumps(first), json.dumps(second))


def create(conn, slug, flow_shape):
    conn.execute("select pgflow._create_flow_from_shape(%s, %s)", [slug, json.dumps(flow_shape)])


class TestReading:
    def test_a_shape_has_all_keys_and_no_options(self, db):
        """core 6.1.1 [T]: step_index order, dependencies sorted, seven keys always."""
        conn = db
        conn.execute("select pgflow.create_flow('f', timeout => 7)")
        conn.execute("select pgflow.add_step('f', 'b', timeout => 7)")
        conn.execute("select pgflow.add_step('f', 'a')")
        conn.execute(
            "select pgflow.add_step('f', 'c', array['b', 'a'], required_input_pattern => '{\"x\": 1}', "
            "when_unmet => 'fail', when_exhausted => 'skip-cascade')"
        )
        assert stored(conn, "f") == shape(
            step("b"),
            step("a"),
            step(
                "c",
                "a",
                "b",
                requiredInputPattern={"defined": True, "value": {"x": 1}},
                whenUnmet="fail",
                whenExhausted="skip-cascade",
            ),
        )

    def test_an_unknown_flow_has_no_steps(self, db):
        """core 6.1.1 [T]."""
        assert stored(db, "nope") == {"steps": []}


class TestComparing:
    def test_equal_shapes_do_not_differ(self, db):
        """core 6.2 [T]; order of dependencies does not count."""
        assert compare(db, shape(step("c", "a", "b")), shape(step("c", "b", "a"))) == []
        assert compare(db, {}, shape()) == []  # core 6.2.5

    def test_counts_and_missing_steps(self, db):
        """core 6.2.1 [T], 6.2.2."""
        assert compare(db, shape(step("a")), shape(step("a"), step("b"))) == [
            "Step count differs: 1 vs 2",
            "Step at index 1: missing in first shape (second has 'b')",
        ]
        assert compare(db, shape(step("a"), step("b")), shape(step("a"))) == [
            "Step count differs: 2 vs 1",
            "Step at index 1: missing in second shape (first has 'b')",
        ]

    def test_every_difference_in_its_order(self, db):
        """core 6.2.2 [T]: slug, type, dependencies, modes, patterns, exact texts."""
        first = step("a", "y", "x")
        second = step(
            "b",
            "z",
            stepType="map",
            whenUnmet="fail",
            whenExhausted="skip",
            requiredInputPattern={"defined": True, "value": {"k": 1}},
            forbiddenInputPattern={"defined": True, "value": {}},
        )
        assert compare(db, shape(first), shape(second)) == [
            "Step at index 0: slug differs 'a' vs 'b'",
            "Step at index 0: type differs 'single' vs 'map'",
            "Step at index 0: dependencies differ [x, y] vs [z]",
            "Step at index 0: whenUnmet differs 'skip' vs 'fail'",
            "Step at index 0: whenExhausted differs 'fail' vs 'skip'",
            (
                """Step at index 0: requiredInputPattern differs '{"defined": false}' """
                """vs '{"value": {"k": 1}, "defined": true}'"""
            ),
            (
                """Step at index 0: forbiddenInputPattern differs '{"defined": false}' """
                """vs '{"value": {}, "defined": true}'"""
            ),
        ]

    def test_missing_keys(self, db):
        """core 6.2.3 [T], 10.14: types and modes count as equal, patterns differ and print as nothing."""
        bare = {"slug": "a", "stepType": "single"}
        assert compare(db, shape({"slug": "a"}), shape({"slug": "a"})) == []
        assert compare(db, shape(bare), shape(step("a"))) == [
            """Step at index 0: requiredInputPattern differs '' vs '{"defined": false}'""",
            """Step at index 0: forbiddenInputPattern differs '' vs '{"defined": false}'""",
        ]

    def test_options_are_not_compared(self, db):
        """core 6.2.4."""
        first = shape(step("a", options={"timeout": 1}), options={"maxAttempts": 9})
        assert compare(db, first, shape(step("a"))) == []


class TestCreating:
    def test_a_flow_is_what_its_shape_says(self, db):
        """core 6.3.1 [T]."""
        flow_shape = shape(
            step("a", options={"maxAttempts": 1, "baseDelay": 2, "timeout": 3, "startDelay": 4}),
            step("b", "a", stepType="map", forbiddenInputPattern={"defined": True, "value": {"x": 1}}),
            options={"maxAttempts": 7, "baseDelay": 8, "timeout": 9},
        )
        create(db, "f", flow_shape)
        found = rows(db, "select opt_max_attempts, opt_base_delay, opt_timeout from pgflow.flows")
        assert found == [(7, 8, 9)]
        found = rows(
            db,
            "select opt_max_attempts, opt_base_delay, opt_timeout, opt_start_delay, forbidden_input_pattern "
            "from pgflow.steps order by step_index",
        )
        assert found == [(1, 2, 3, 4, None), (None, None, None, None, {"x": 1})]
        without_options = shape(*({k: v for k, v in s.items() if k != "options"} for s in flow_shape["steps"]))
        assert stored(db, "f") == without_options

    def test_absent_keys_take_their_defaults(self, db):
        """core 6.3.1 [T]."""
        create(db, "f", {"steps": [{"slug": "a"}]})
        assert stored(db, "f") == shape(step("a"))
        found = rows(db, "select opt_max_attempts, opt_base_delay, opt_timeout from pgflow.flows")
        assert found == [(3, 5, 60)]

    def test_an_existing_flow_keeps_its_options(self, db):
        """core 6.3.2."""
        create(db, "f", shape(step("a"), options={"timeout": 5}))
        create(db, "f", shape(step("a", options={"timeout": 1}), options={"timeout": 1}))
        assert rows(db, "select opt_timeout from pgflow.flows") == [(5,)]
        assert rows(db, "select opt_timeout from pgflow.steps") == [(None,)]

    def test_a_bad_dependency_leaves_nothing(self, db):
        """core 3.5.6: the whole creation is one statement."""
        state, _ = refusal(db, "select pgflow._create_flow_from_shape('f', %s)", json.dumps(shape(step("a", "nope"))))
        assert state == "23503"
        assert value(db, "select pgflow.flow_exists('f')") is False
