"""Deleting flows and pruning history. Rules: core 6.5; generations QI-6, SM-4, 7.1, 9.2 row 6, SU-7."""

import json
import uuid

import pytest

from pgflow_mp.core.queries.definitions import delete_flow
from pgflow_mp.core.statement import execute

from .ask import column, refusal, rows, value
from .test_define_shapes import shape, step


def queues(conn):
    return sorted(column(conn, "select queue_name from pgmq.list_queues()"))


def count(conn, table):
    return value(conn, f"select count(*) from {table}")


def make_run(conn, flow, *, ended=None, column_of_end="completed_at", queue=None):
    """A run of one step with one task and its message; `ended` is an interval ago."""
    queue = queue or flow.lower()
    run_id = value(conn, "insert into pgflow.runs (flow_slug, input) values (%s, '{}') returning run_id", flow)
    conn.execute("insert into pgflow.step_states (flow_slug, run_id, step_slug) values (%s, %s, 'a')", [flow, run_id])
    conn.execute(
        "insert into pgflow.step_tasks (flow_slug, run_id, step_slug, message_id, queue_name) "
        "select %s, %s, 'a', m, %s from pgmq.send(%s, '{}') as m",
        [flow, run_id, queue, queue],
    )
    if ended:
        conn.execute(
            f"update pgflow.runs set status = 'failed', started_at = now() - interval '1 year', "
            f"{column_of_end} = now() - %s::interval where run_id = %s",
            [ended, run_id],
        )
    return run_id


@pytest.fixture
def two_flows(db):
    for slug in ("f", "Other"):
        db.execute("select pgflow.create_flow(%s)", [slug])
        db.execute("select pgflow.add_step(%s, 'a')", [slug])
        db.execute("select pgflow.add_step(%s, 'b', array['a'])", [slug])
    return db


class TestDelete:
    def test_everything_of_the_flow_goes_and_nothing_else(self, two_flows):
        """core 6.5.1 [T], 6.5.2 (running runs too); workers stay."""
        conn = two_flows
        for flow in ("f", "Other"):
            make_run(conn, flow)
        conn.execute("select pgflow.register_worker(gen_random_uuid(), 'f', 'fn')")
        execute(conn, delete_flow("f"))
        for table in ("flows", "runs", "step_states", "step_tasks"):
            assert column(conn, f"select distinct flow_slug from pgflow.{table}") == ["Other"], table
        assert column(conn, "select distinct flow_slug from pgflow.steps") == ["Other"]
        assert column(conn, "select distinct flow_slug from pgflow.deps") == ["Other"]
        assert queues(conn) == ["other"]
        assert count(conn, "pgflow.workers") == 1

    @pytest.mark.parametrize("slug", ["nope", "OTHER", "F", None])
    def test_an_unknown_slug_deletes_nothing(self, two_flows, slug):
        """core 6.5.1; generations QI-6 [T]: exactly this slug, or nothing."""
        two_flows.execute("select pgmq.create('nope')")
        two_flows.execute("select pgflow.delete_flow_and_data(%s)", [slug])
        assert queues(two_flows) == ["f", "nope", "other"]
        assert count(two_flows, "pgflow.flows") == 2

    def test_the_queue_is_found_by_its_listed_spelling(self, two_flows):
        """generations QI-6."""
        two_flows.execute("update pgmq.meta set queue_name = 'F' where queue_name = 'f'")
        two_flows.execute("select pgflow.delete_flow_and_data('f')")
        assert queues(two_flows) == ["other"]

    def test_an_ambiguous_queue_stops_the_deletion(self, two_flows):
        """generations QI-6 [T]: 42P09, nothing is deleted."""
        two_flows.execute("select pgmq.create('F')")
        assert refusal(two_flows, "select pgflow.delete_flow_and_data('f')")[0] == "42P09"
        assert queues(two_flows) == ["F", "f", "other"]
        assert value(two_flows, "select pgflow.flow_exists('f')")

    def test_a_missing_queue_is_no_error(self, two_flows):
        """core 6.5.1."""
        two_flows.execute("select pgmq.drop_queue('f')")
        two_flows.execute("select pgflow.delete_flow_and_data('f')")
        assert value(two_flows, "select pgflow.flow_exists('f')") is False

    def test_step_queues_go_and_a_queue_named_like_the_flow_stays(self, db):
        """generations SM-4."""
        conn = db
        conn.execute(
            "select pgflow._create_flow_from_shape('f', %s, 'step')", [json.dumps(shape(step("a"), step("b")))]
        )
        conn.execute("select pgmq.create('f')")
        conn.execute("select pgflow.delete_flow_and_data('f')")
        assert queues(conn) == ["f"]

    def test_flow_mode_drops_every_route_of_its_steps(self, two_flows):
        """generations SM-4: the union of routes and lower(slug)."""
        two_flows.execute("select pgmq.create('odd')")
        two_flows.execute("update pgflow.steps set queue_name = 'odd' where flow_slug = 'f' and step_slug = 'a'")
        two_flows.execute("select pgflow.delete_flow_and_data('f')")
        assert queues(two_flows) == ["other"]


class TestPrune:
    PRUNE = "select * from pgflow.prune_data_older_than(%s::interval, %s::text[])"

    def test_what_ended_before_the_cutoff_goes(self, two_flows):
        """core 6.5.3: runs completed or failed before it, with states, tasks, messages; running ones stay."""
        conn = two_flows
        kept = {make_run(conn, "f"), make_run(conn, "f", ended="1 day")}
        make_run(conn, "f", ended="8 days")
        make_run(conn, "Other", ended="8 days", column_of_end="failed_at")
        assert rows(conn, self.PRUNE, "7 days", None) == [(0, 2, 2, 2)]
        assert set(column(conn, "select run_id from pgflow.runs")) == kept
        assert set(column(conn, "select run_id from pgflow.step_tasks")) == kept
        assert (count(conn, "pgmq.q_f"), count(conn, "pgmq.q_other")) == (2, 0)

    def test_only_the_flows_named(self, two_flows):
        """generations 7.1: p_flow_slugs; workers of their queues, in any case (SU-2)."""
        conn = two_flows
        for flow in ("f", "Other"):
            make_run(conn, flow, ended="8 days")
            conn.execute("select pgflow.register_worker(gen_random_uuid(), %s, 'fn')", [flow])
        conn.execute("update pgflow.workers set last_heartbeat_at = now() - interval '8 days'")
        assert rows(conn, self.PRUNE, "7 days", ["Other"]) == [(1, 1, 1, 1)]
        assert column(conn, "select queue_name from pgflow.workers") == ["f"]
        assert column(conn, "select flow_slug from pgflow.runs") == ["f"]

    def test_old_archived_messages_go(self, two_flows):
        """core 6.5.3: archived before the cutoff."""
        conn = two_flows
        for _ in range(2):
            conn.execute("select pgmq.archive('f', pgmq.send('f', '{}'))")
        conn.execute("update pgmq.a_f set archived_at = now() - interval '8 days' where msg_id = 1")
        conn.execute(self.PRUNE, ["7 days", None])
        assert column(conn, "select msg_id from pgmq.a_f") == [2]

    def test_a_flow_whose_queue_is_gone_is_pruned_too(self, two_flows):
        make_run(two_flows, "f", ended="8 days")
        two_flows.execute("select pgmq.drop_queue('f')")
        assert rows(two_flows, self.PRUNE, "7 days", None) == [(0, 1, 1, 1)]

    def test_workers_not_heard_of_since_the_cutoff_go(self, db):
        """core 6.5.3: strictly older."""
        conn = db
        ids = [uuid.uuid4() for _ in range(3)]
        with conn.transaction():
            for worker, ago in zip(ids, ["6 days", "7 days", "8 days"], strict=True):
                conn.execute("select pgflow.register_worker(%s, 'f', 'fn')", [worker])
                conn.execute(
                    "update pgflow.workers set last_heartbeat_at = now() - %s::interval where worker_id = %s",
                    [ago, worker],
                )
            assert rows(conn, self.PRUNE, "7 days", None) == [(1, 0, 0, 0)]
        assert set(column(conn, "select worker_id from pgflow.workers")) == set(ids[:2])

    def test_a_worker_that_may_be_alive_keeps_its_row(self, db):
        """generations SU-7: it would take the loss for an order to stop; one that stopped may go."""
        conn = db
        alive, stopped = uuid.uuid4(), uuid.uuid4()
        for worker in (alive, stopped):
            conn.execute("select pgflow.register_worker(%s, 'f', 'fn')", [worker])
        conn.execute("update pgflow.workers set last_heartbeat_at = now() - interval '1 s'")
        conn.execute("select pgflow.mark_worker_stopped(%s)", [stopped])
        conn.execute(self.PRUNE, ["0 s", None])
        assert column(conn, "select worker_id from pgflow.workers") == [alive]

    def test_it_takes_two_arguments(self, db):
        """generations 9.2 row 6: no default, so that the documented one-argument snippet can live beside it."""
        assert refusal(db, "select pgflow.prune_data_older_than(interval '1 day')")[0] == "42883"
        assert value(db, "select to_regprocedure('pgflow.prune_data_older_than(interval,text[])')")
