"""Compiling. Rules: core 6.4, generations 3, 5.6, 9.1, 9.2, SU-3, SU-5, SU-8, D-17."""

import json
import threading

import psycopg
import pytest

from pgflow_mp.core.queries.definitions import Compiled, compile_flow
from pgflow_mp.core.statement import execute

from .ask import column, detail, refusal, rows, value
from .test_define_shapes import shape, step

LOCAL = "super-secret-jwt-token-with-at-least-32-characters-long"
A = shape(step("a"))
AB = shape(step("a"), step("b", "a"))
ROUTES = [{"stepSlug": "a", "queueName": "f"}]


def ensure(conn, flow_shape, *more):
    """Call pgflow.ensure_flow_compiled for flow f; `more` are SQL expressions."""
    arguments = ", ".join(["'f'", "%s::jsonb", *more])
    return value(conn, f"select pgflow.ensure_flow_compiled({arguments})", json.dumps(flow_shape))


def refuse_ensure(conn, flow_shape, *more):
    arguments = ", ".join(["'f'", "%s::jsonb", *more])
    return refusal(conn, f"select pgflow.ensure_flow_compiled({arguments})", json.dumps(flow_shape))


def be_local(conn):
    conn.execute("select set_config('app.settings.jwt_secret', %s, false)", [LOCAL])


def step_slugs(conn):
    return column(conn, "select step_slug from pgflow.steps order by step_index")


FORMS = {
    "two arguments": (),
    "three arguments": ("false",),
    "four arguments": ("'flow'", "null"),
    "an untyped flag": ("'false'",),
}


class TestEnsureFlowCompiled:
    @pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
    def test_every_form_compiles_verifies_and_reports(self, db, form):
        """core 6.4.2, 6.4.3, 6.4.5 [T]; generations 9.1 E2, E3, E4, 9.2 row 2; SU-5."""
        assert ensure(db, A, *form) == {"status": "compiled", "differences": [], "mismatchKind": None}
        assert ensure(db, A, *form) == {"status": "verified", "differences": [], "mismatchKind": None}
        found = ensure(db, AB, *form)
        assert (found["status"], found["mismatchKind"]) == ("mismatch", "shape")
        assert found["differences"][:2] == [
            "Step count differs: 2 vs 1",
            "Step at index 1: missing in second shape (first has 'b')",
        ]
        assert step_slugs(db) == ["a"]

    @pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
    def test_a_local_database_recompiles(self, db, form):
        """core 6.4.4 [T]; generations 3.2, 5.6.6."""
        be_local(db)
        ensure(db, A, *form)
        found = ensure(db, AB, *form)
        assert (found["status"], found["differences"][0]) == ("recompiled", "Step count differs: 2 vs 1")
        assert step_slugs(db) == ["a", "b"]

    @pytest.mark.parametrize("flag", ["true", "allow_data_loss => true", "'true'", "'t'", "'TRUE'"])
    def test_a_worker_of_0_14_may_allow_the_loss_of_data(self, db, flag):
        """core 6.4.4 [T]; generations 9.1 E3, 9.2 row 2."""
        ensure(db, A)
        assert ensure(db, AB, flag)["status"] == "recompiled"

    def test_step_queues_are_compiled_and_verified(self, db):
        """generations 5.6.3, 5.6.5."""
        routes = "'" + json.dumps([{"stepSlug": "a", "queueName": "f__a", "more": 1}]) + "'"
        assert ensure(db, A, "'step'", routes)["status"] == "compiled"
        assert ensure(db, A, "'step'")["status"] == "verified"
        assert ensure(db, A, "queue_mode => 'step'")["status"] == "verified"
        db.execute("select pgmq.drop_queue('f__a')")
        assert "is not listed" in refuse_ensure(db, A, "'step'")[1]

    def test_a_supplied_route_map_must_agree(self, db):
        """generations 5.6.2: length, then position; detail shows both pairs; only SQL NULL means not supplied."""
        assert refuse_ensure(db, A, "'flow'", "'[]'") == (
            "P0001",
            'supplied route map for flow "f" has 0 entries but 1 step(s) was derived',
        )
        wrong = "'" + json.dumps([{"stepSlug": "a", "queueName": "f"}, {"stepSlug": "b", "queueName": "g"}]) + "'"
        assert refuse_ensure(db, AB, "'flow'", wrong) == (
            "P0001",
            'supplied route map for flow "f" disagrees with the derived route at position 2',
        )
        call = f"select pgflow.ensure_flow_compiled('f', %s::jsonb, 'flow', {wrong})"
        assert detail(db, call, json.dumps(AB)) == "Supplied b -> g, derived b -> f."
        assert refuse_ensure(db, A, "'flow'", "'null'")[0] == "22023"
        assert ensure(db, A, "'flow'", "'" + json.dumps(ROUTES) + "'")["status"] == "compiled"

    def test_slugs_are_checked_before_anything_is_made(self, db):
        """generations R-3, R-5: P0001, not the 23514 of create_flow."""
        assert refuse_ensure(db, shape(step("a__b"))) == ("P0001", 'Step slug "a__b" in flow "f" is not valid.')
        assert refuse_ensure(db, A, "'many'") == ("P0001", 'Unknown queue mode "many".')
        assert ensure(db, A, "null")["status"] == "compiled"  # 5.6.1: NULL is flow

    def test_only_the_routing_differs(self, db):
        """generations 5.6.4, 5.6.6: texts; routing iff the shape is equal."""
        ensure(db, A, "'step'")
        assert ensure(db, A, "'flow'") == {
            "status": "mismatch",
            "differences": [
                "Queue mode differs: database has 'step', worker expects 'flow'",
                "Step routes differ: database has [a -> f__a], worker expects [a -> f]",
            ],
            "mismatchKind": "routing",
        }

    @pytest.mark.parametrize("form", [(), ("true",)])
    def test_an_old_worker_never_recompiles_a_flow_with_step_queues(self, db, form):
        """generations SU-3: not even when local, not with allow_data_loss."""
        be_local(db)
        ensure(db, A, "'step'")
        found = ensure(db, A, *form)
        assert (found["status"], found["mismatchKind"]) == ("mismatch", "routing")
        assert value(db, "select queue_mode from pgflow.flows") == "step"

    def test_a_worker_that_knows_step_queues_recompiles_when_local(self, db):
        """generations 5.6.6."""
        be_local(db)
        ensure(db, A, "'step'")
        assert ensure(db, A, "'flow'")["status"] == "recompiled"
        assert value(db, "select queue_mode from pgflow.flows") == "flow"
        assert column(db, "select queue_name from pgmq.list_queues()") == ["f"]

    def test_options_are_not_looked_at(self, db):
        """core 6.2.4, generations 5.6.7."""
        ensure(db, A)
        assert ensure(db, shape(step("a"), options={"timeout": 1}))["status"] == "verified"
        assert value(db, "select opt_timeout from pgflow.flows") == 60

    def test_the_forms_have_the_signatures_that_workers_look_for(self, db):
        """generations 7.2.1, 9.1 (exact identities, no default on a third parameter)."""
        for signature in ("text,jsonb", "text,jsonb,boolean", "text,jsonb,text,jsonb"):
            assert value(db, "select to_regprocedure(%s)", f"pgflow.ensure_flow_compiled({signature})")
        assert rows(
            db, "select pronargs, pronargdefaults from pg_proc where proname = 'ensure_flow_compiled' order by 1"
        ) == [(2, 0), (3, 0), (4, 1)]
        assert refusal(db, "select pgflow.ensure_flow_compiled('f', '{}', route_map => '[]')")[0] == "42883"

    def test_concurrent_workers_compile_once(self, pgflow_dsn):
        """core C-6; generations QI-7, SU-8."""
        statuses = []

        def work():
            with psycopg.connect(pgflow_dsn, autocommit=True) as conn:
                statuses.append(ensure(conn, AB)["status"])

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(statuses) == ["compiled"] + ["verified"] * 5

    def test_the_lock_is_that_of_every_other_definition_writer(self, pgflow_conn, pgflow_dsn):
        """generations QI-7: (1, hashtext(lower(slug)))."""
        with psycopg.connect(pgflow_dsn) as other:
            other.execute("select pgflow_mp.compile_flow('MyFlow', %s)", [json.dumps(A)])
            free = value(pgflow_conn, "select pg_try_advisory_lock(1, hashtext('myflow'))")
        assert free is False


class TestCompileFlow:
    def compile(self, conn, flow_shape, **more):
        return execute(conn, compile_flow("f", flow_shape, **more))

    def test_a_new_flow_then_the_same_again(self, pgflow_conn):
        """D-17: compiled, then verified; nothing is touched."""
        assert self.compile(pgflow_conn, A) == Compiled("compiled", (), ())
        before = rows(pgflow_conn, "select xmin::text from pgflow.flows union all select xmin::text from pgflow.steps")
        assert self.compile(pgflow_conn, A) == Compiled("verified", (), ())
        after = rows(pgflow_conn, "select xmin::text from pgflow.flows union all select xmin::text from pgflow.steps")
        assert after == before

    def test_a_changed_shape_is_refused_with_its_differences(self, db):
        """D-17: nothing is changed, options neither."""
        self.compile(db, A)
        found = self.compile(db, {**AB, "options": {"timeout": 1}})
        assert found == Compiled(
            "mismatch",
            ("Step count differs: 2 vs 1", "Step at index 1: missing in second shape (first has 'b')"),
            (),
        )
        assert value(db, "select opt_timeout from pgflow.flows") == 60

    def test_a_changed_shape_is_recompiled_when_asked(self, db):
        """D-17: definition and history are deleted first."""
        self.compile(db, A)
        db.execute("insert into pgflow.runs (flow_slug, input) values ('f', '{}')")
        found = self.compile(db, AB, recompile=True)
        assert (found.status, found.differences[0]) == ("recompiled", "Step count differs: 2 vs 1")
        assert step_slugs(db) == ["a", "b"]
        assert rows(db, "select * from pgflow.runs") == []

    @pytest.mark.parametrize("table", ["pgmq.q_f", "pgmq.a_f"])
    def test_a_queue_whose_table_is_gone_is_made_again_and_told(self, db, table):
        """core 3.4.3, for a queue that pgmq still lists."""
        self.compile(db, A)
        db.execute(f"drop table {table}")
        assert self.compile(db, A) == Compiled("verified", (), (), ("f",))
        assert self.compile(db, A) == Compiled("verified", (), ())
        assert value(db, "select count(*) from pgmq.list_queues()") == 1
        db.execute("select pgflow.start_flow('f', '{}')")
        assert value(db, "select count(*) from pgmq.q_f") == 1

    def test_a_queue_that_was_dropped_is_made_again_and_told(self, db):
        """core 3.4.3."""
        self.compile(db, A)
        db.execute("select pgmq.drop_queue('f')")
        assert self.compile(db, A).queues_restored == ("f",)
        assert value(db, "select count(*) from pgmq.list_queues()") == 1

    @pytest.mark.parametrize("table", ["pgmq.q_f", "pgmq.a_f", "pgmq.q_f, pgmq.a_f"])
    def test_a_flow_without_its_queue_is_recompiled_all_the_same(self, db, table):
        self.compile(db, A)
        db.execute(f"drop table {table}")
        assert self.compile(db, AB, recompile=True).status == "recompiled"
        assert value(db, "select count(*) from pgmq.q_f") == 0

    def test_the_queue_of_a_flow_that_differs_is_left_missing(self, db):
        self.compile(db, A)
        db.execute("drop table pgmq.q_f")
        assert self.compile(db, AB).status == "mismatch"
        assert value(db, "select to_regclass('pgmq.q_f') is null")

    def test_an_equal_shape_is_not_recompiled(self, db):
        """D-17."""
        self.compile(db, A)
        assert self.compile(db, A, recompile=True).status == "verified"

    def test_changed_options_are_updated_in_place_and_named(self, db):
        """D-17: flow and steps; an option that is set no longer is the default again."""
        conn = db
        first = {"maxAttempts": 1, "baseDelay": 1, "timeout": 1, "startDelay": 1}
        self.compile(conn, shape(step("a", options=first), step("b"), options={"timeout": 9}))
        found = self.compile(
            conn, shape(step("a", options={"timeout": 1, "startDelay": 2}), step("b", options={"maxAttempts": 4}))
        )
        assert found == Compiled(
            "verified",
            (),
            (
                "timeout of the flow: 9 -> 60",
                "max_attempts of step a: 1 -> default",
                "base_delay of step a: 1 -> default",
                "start_delay of step a: 1 -> 2",
                "max_attempts of step b: default -> 4",
            ),
        )
        assert rows(
            conn,
            "select opt_max_attempts, opt_base_delay, opt_timeout, opt_start_delay "
            "from pgflow.steps order by step_slug",
        ) == [(None, None, 1, 2), (4, None, None, None)]
        assert value(conn, "select opt_timeout from pgflow.flows") == 60

    def test_a_flow_with_step_queues_keeps_them(self, db):
        """D-17 with generations SU-3: verified as it is, recompiled in its mode."""
        ensure(db, A, "'step'")
        assert self.compile(db, A).status == "verified"
        assert self.compile(db, AB).status == "mismatch"
        assert self.compile(db, AB, recompile=True).status == "recompiled"
        assert rows(db, "select queue_name from pgflow.steps order by 1") == [("f__a",), ("f__b",)]

    def test_to_verify_takes_no_right_to_write(self, db):
        """D-11: serve under the worker role verifies shapes and does not create them."""
        conn = db
        self.compile(conn, A)
        conn.execute("create role pgflow_test_reader")
        conn.execute("grant usage on schema pgflow, pgflow_mp, pgmq to pgflow_test_reader")
        conn.execute("grant select on all tables in schema pgflow to pgflow_test_reader")
        conn.execute("set local role pgflow_test_reader")
        assert self.compile(conn, A).status == "verified"
        assert self.compile(conn, AB).status == "mismatch"
        with pytest.raises(psycopg.errors.InsufficientPrivilege), conn.transaction():
            execute(conn, compile_flow("g", A))

    def test_a_bad_slug_is_refused_with_a_sentence(self, db):
        with pytest.raises(psycopg.errors.RaiseException, match='Step slug "_a" in flow "f" is not valid'):
            self.compile(db, shape(step("_a")))
