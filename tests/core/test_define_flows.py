"""Creating flows and steps one call at a time.

Rules: core 3.4, 3.5, Q-1 to Q-3, A-7; generations QI-3, QI-5, SM-1, SM-2.
"""

import threading

import psycopg

from .ask import column, refusal, rows, value

LOCAL = "super-secret-jwt-token-with-at-least-32-characters-long"


def options(conn, slug):
    return conn.execute(
        "select opt_max_attempts, opt_base_delay, opt_timeout from pgflow.flows where flow_slug = %s", [slug]
    ).fetchone()


def queues(conn):
    return sorted(column(conn, "select queue_name from pgmq.list_queues()"))


def steps(conn, flow):
    return rows(
        conn, "select step_slug, step_index, deps_count from pgflow.steps where flow_slug = %s order by 2", flow
    )


def make_step_mode_flow(conn):
    conn.execute(
        "select pgflow._create_flow_from_shape('stepped', "
        """'{"steps": [{"slug": "a"}, {"slug": "b", "dependencies": ["a"]}]}', 'step')"""
    )


class TestCreateFlow:
    def test_null_options_mean_the_defaults(self, db):
        """core 3.4.1 [T]: 3 attempts, base delay 5, timeout 60."""
        db.execute("select pgflow.create_flow('a')")
        db.execute("select pgflow.create_flow('b', null, null, null)")
        db.execute("select pgflow.create_flow('c', max_attempts => 1, base_delay => 0, timeout => 9)")
        assert [options(db, slug) for slug in "abc"] == [(3, 5, 60), (3, 5, 60), (1, 0, 9)]

    def test_an_existing_flow_is_returned_unchanged(self, db):
        """core 3.4.2 [T], 3.4.4: one row, whatever options are passed."""
        first = rows(db, "select * from pgflow.create_flow('a', 7, 8, 9)")
        again = rows(db, "select * from pgflow.create_flow('a', 1, 1, 1)")
        assert len(first) == 1
        assert again == first

    def test_the_queue_has_the_lower_case_name(self, db):
        """core Q-1 as generations QI-1 has it."""
        db.execute("select pgflow.create_flow('MyFlow')")
        assert queues(db) == ["myflow"]

    def test_a_missing_queue_is_made_again(self, db):
        """core 3.4.3."""
        db.execute("select pgflow.create_flow('a')")
        db.execute("select pgmq.drop_queue('a')")
        db.execute("select pgflow.create_flow('a')")
        assert queues(db) == ["a"]

    def test_an_existing_queue_keeps_its_messages(self, db):
        """core 3.4.3; generations QI-3: any spelling counts as present."""
        db.execute("select pgflow.create_flow('a')")
        db.execute("select pgmq.send('a', '{}')")
        db.execute("update pgmq.meta set queue_name = 'A'")
        db.execute("select pgflow.create_flow('a')")
        assert queues(db) == ["A"]
        assert value(db, "select count(*) from pgmq.q_a") == 1

    def test_a_bad_slug_is_named_by_its_constraint(self, db):
        """core 3.4.5 [T]: 23514, exact text; also when the slug would be too long for a queue."""
        for slug in ("bad-slug", "run", "", "-" * 60):
            assert refusal(db, "select pgflow.create_flow(%s)", slug) == (
                "23514",
                'new row for relation "flows" violates check constraint "slug_is_valid"',
            )
        assert queues(db) == []

    def test_a_slug_too_long_for_a_queue_is_refused_early(self, db):
        """core Q-2, A-7; generations QI-8: 48 characters, although the slug as such is valid."""
        assert value(db, "select pgflow.is_valid_slug(%s)", "x" * 48)
        assert refusal(db, "select pgflow.create_flow(%s)", "x" * 48) == (
            "P0001",
            "queue name is too long, maximum length is 47 characters",
        )
        db.execute("select pgflow.create_flow(%s)", ["x" * 47])

    def test_slugs_that_differ_only_in_case_are_refused(self, db):
        """core Q-3, A-7; generations QI-3: 23505 idx_flows_normalized_slug."""
        db.execute("select pgflow.create_flow('MyFlow')")
        state, message = refusal(db, "select pgflow.create_flow('myflow')")
        assert (state, "idx_flows_normalized_slug" in message) == ("23505", True)

    def test_a_queue_of_somebody_else_is_not_taken(self, db):
        """generations QI-3 [T]."""
        db.execute("select pgmq.create('theirs')")
        assert refusal(db, "select pgflow.create_flow('Theirs')") == (
            "23505",
            'cannot create flow "Theirs": queue "theirs" is already in use by another owner',
        )
        assert value(db, "select pgflow.flow_exists('Theirs')") is False

    def test_a_flow_with_step_queues_gets_no_queue_of_its_own(self, db):
        """generations SM-1."""
        make_step_mode_flow(db)
        assert value(db, "select queue_mode from pgflow.create_flow('stepped')") == "step"
        assert queues(db) == ["stepped__a", "stepped__b"]

    def test_negative_options_are_refused(self, db):
        """core 2.1."""
        for call, constraint in [
            ("'a', -1", "opt_max_attempts_is_nonnegative"),
            ("'a', 1, -1", "opt_base_delay_is_nonnegative"),
            ("'a', 1, 1, 0", "opt_timeout_is_positive"),
        ]:
            state, message = refusal(db, f"select pgflow.create_flow({call})")
            assert (state, constraint in message) == ("23514", True)

    def test_concurrent_calls_make_one_flow(self, pgflow_conn, pgflow_dsn):
        """generations QI-7, SU-8: definition writers take the lock of the slug."""
        errors = []

        def create():
            with psycopg.connect(pgflow_dsn, autocommit=True) as conn:
                try:
                    conn.execute("select pgflow.create_flow('a')")
                except psycopg.Error as error:
                    errors.append(error)

        threads = [threading.Thread(target=create) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert errors == []
        assert queues(pgflow_conn) == ["a"]


class TestAddStep:
    def test_steps_are_counted_up_in_the_order_of_the_calls(self, db):
        """core 3.5.3 [T], 3.5.4, 3.5.1 [T]: NULL or empty deps are no parents."""
        db.execute("select pgflow.create_flow('f')")
        db.execute("select pgflow.add_step('f', 'z')")
        db.execute("select pgflow.add_step('f', 'b', '{}')")
        db.execute("select pgflow.add_step('f', 'c', null)")
        db.execute("select pgflow.add_step('f', 'd', array['z', 'b'])")
        assert steps(db, "f") == [("z", 0, 0), ("b", 1, 0), ("c", 2, 0), ("d", 3, 2)]
        assert rows(db, "select dep_slug, step_slug from pgflow.deps order by 1") == [("b", "d"), ("z", "d")]

    def test_all_arguments_by_position(self, db):
        """core 3.5 signature [T]; generations 7.3 (12 positional, patterns before the modes)."""
        db.execute("select pgflow.create_flow('f')")
        db.execute("select pgflow.add_step('f', 'p')")
        found = db.execute(
            "select step_type, opt_max_attempts, opt_base_delay, opt_timeout, opt_start_delay, required_input_pattern, "
            "forbidden_input_pattern, when_unmet, when_exhausted, queue_name from pgflow.add_step("
            """'f', 'a', array['p'], 1, 2, 3, 4, 'map', '{"x": 1}', '{}', 'fail', 'skip-cascade')"""
        ).fetchone()
        assert found == ("map", 1, 2, 3, 4, {"x": 1}, {}, "fail", "skip-cascade", "f")

    def test_defaults(self, db):
        """core 3.5 and 3.5.1 [T]: a NULL type is single, options are inherited; generations QI-5 (queue)."""
        db.execute("select pgflow.create_flow('MyFlow')")
        found = db.execute(
            "select step_type, opt_max_attempts, opt_base_delay, opt_timeout, opt_start_delay, when_unmet, "
            "when_exhausted, queue_name from pgflow.add_step('MyFlow', 'a', step_type => null)"
        ).fetchone()
        assert found == ("single", None, None, None, None, "skip", "fail", "myflow")

    def test_a_map_step_has_one_parent_at_most(self, db):
        """core 3.5.2 [T]: exact text, before any write; a doubled parent counts twice here."""
        db.execute("select pgflow.create_flow('f')")
        for parents in ("a, b", "a, a"):
            listed = "{" + parents + "}"
            found = refusal(db, "select pgflow.add_step('f', 'm', %s, step_type => 'map')", listed)
            assert found == (
                "P0001",
                f'Map step "m" can have at most one dependency, but 2 were provided: {parents}',
            )
        assert steps(db, "f") == []

    def test_a_parent_named_twice_counts_once(self, db):
        """core A-7 instead of the defect of 3.5.4: such a step can become ready."""
        db.execute("select pgflow.create_flow('f')")
        db.execute("select pgflow.add_step('f', 'a')")
        db.execute("select pgflow.add_step('f', 'b', array['a', 'a'])")
        assert steps(db, "f") == [("a", 0, 0), ("b", 1, 1)]

    def test_an_existing_step_keeps_its_attributes_and_gets_its_parents(self, db):
        """core 3.5.5 [T]; generations SM-3 (its queue too)."""
        conn = db
        conn.execute("select pgflow.create_flow('f')")
        conn.execute("select pgflow.add_step('f', 'a')")
        first = rows(conn, "select * from pgflow.add_step('f', 'b', max_attempts => 9)")
        conn.execute("update pgflow.steps set queue_name = 'kept' where step_slug = 'b'")
        again = rows(conn, "select * from pgflow.add_step('f', 'b', array['a'], 1, 1, 1, 1, 'map')")
        assert [row[:-1] for row in again] == [row[:-1] for row in first]
        assert again[0][-1] == "kept"
        assert rows(conn, "select dep_slug, step_slug from pgflow.deps") == [("a", "b")]
        assert steps(conn, "f") == [("a", 0, 0), ("b", 1, 0)]

    def test_what_constraints_refuse(self, db):
        """core 3.5.6 [T]: exact texts for flow, parent, self and slug; names for the others."""
        conn = db
        conn.execute("select pgflow.create_flow('f')")
        missing = 'insert or update on table "{}" violates foreign key constraint "{}"'
        broken = 'new row for relation "{}" violates check constraint "{}"'
        for call, state, message in [
            ("'nope', 'a'", "23503", missing.format("steps", "steps_flow_slug_fkey")),
            ("'f', 'a', array['nope']", "23503", missing.format("deps", "deps_flow_slug_dep_slug_fkey")),
            ("'f', 'a', array['a']", "23514", broken.format("deps", "deps_check")),
            ("'f', 'bad-slug'", "23514", broken.format("steps", "steps_step_slug_check")),
            ("'f', 'a', step_type => 'many'", "23514", broken.format("steps", "steps_step_type_check")),
            ("'f', 'a', when_unmet => 'no'", "23514", broken.format("steps", "when_unmet_is_valid")),
            ("'f', 'a', when_exhausted => 'no'", "23514", broken.format("steps", "when_exhausted_is_valid")),
            (
                "'f', 'a', required_input_pattern => '[]'",
                "23514",
                broken.format("steps", "required_input_pattern_is_object"),
            ),
            (
                "'f', 'a', forbidden_input_pattern => '1'",
                "23514",
                broken.format("steps", "forbidden_input_pattern_is_object"),
            ),
            ("'f', 'a', start_delay => -1", "23514", broken.format("steps", "opt_start_delay_is_nonnegative")),
            ("'f', 'a', timeout => 0", "23514", broken.format("steps", "opt_timeout_is_positive")),
        ]:
            assert refusal(conn, f"select pgflow.add_step({call})") == (state, message), call
        assert steps(conn, "f") == []

    def test_an_explicit_null_mode_is_refused(self, db):
        """core 3.5.6: 23502."""
        db.execute("select pgflow.create_flow('f')")
        assert refusal(db, "select pgflow.add_step('f', 'a', when_unmet => null)")[0] == "23502"

    def test_an_empty_pattern_is_a_pattern(self, db):
        """core 3.5.7."""
        db.execute("select pgflow.create_flow('f')")
        db.execute("select pgflow.add_step('f', 'a', required_input_pattern => '{}')")
        assert rows(db, "select required_input_pattern from pgflow.steps") == [({},)]

    def test_step_slugs_that_differ_only_in_case_are_refused(self, db):
        """generations SL-2: idx_steps_normalized_slug."""
        db.execute("select pgflow.create_flow('f')")
        db.execute("select pgflow.add_step('f', 'load')")
        state, message = refusal(db, "select pgflow.add_step('f', 'Load')")
        assert (state, "idx_steps_normalized_slug" in message) == ("23505", True)

    def test_a_step_index_is_taken_once(self, db):
        """core 2.2 [T], 3.5.8: steps_flow_slug_step_index_key."""
        db.execute("select pgflow.create_flow('f')")
        db.execute("select pgflow.add_step('f', 'a')")
        state, message = refusal(db, "insert into pgflow.steps (flow_slug, step_slug, step_index) values ('f', 'b', 0)")
        assert (state, "steps_flow_slug_step_index_key" in message) == ("23505", True)

    def test_a_flow_with_step_queues_takes_no_further_steps(self, db):
        """generations SM-2."""
        make_step_mode_flow(db)
        for slug in ("a", "new"):
            assert refusal(db, "select pgflow.add_step('stepped', %s)", slug) == (
                "P0001",
                'Flow "stepped" uses per-step queues: steps cannot be added incrementally.',
            )
