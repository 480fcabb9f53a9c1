"""How much waits in the queues."""

from pgflow_mp.core.queries.queues import queue_depths
from pgflow_mp.core.statement import execute

from .ask import value


def flow(conn, slug, *, start_delay=0):
    conn.execute("select pgflow.create_flow(%s)", (slug,))
    conn.execute("select pgflow.add_step(%s, 'a', start_delay => %s)", (slug, start_delay))


def test_ready_and_invisible_messages_are_counted_by_queue(db):
    flow(db, "now_flow")
    flow(db, "later", start_delay=3600)
    for slug in ("now_flow", "now_flow", "later"):
        db.execute("select pgflow.start_flow(%s, '{}')", (slug,))
    db.execute("update pgmq.q_now_flow set vt = now() - interval '90 seconds' where msg_id = 1")
    later, now = execute(db, queue_depths())
    assert (later.flow_slug, later.queue_name, later.ready, later.invisible) == ("later", "later", 0, 1)
    assert later.oldest_seconds is None
    assert (now.flow_slug, now.ready, now.invisible) == ("now_flow", 2, 0)
    assert 90 <= now.oldest_seconds < 100
    assert execute(db, queue_depths(["later"])) == [later]
    assert execute(db, queue_depths([])) == []


def test_a_flow_without_its_queue_is_left_out(db):
    flow(db, "gone")
    assert value(db, "select pgmq.drop_queue('gone')")
    assert execute(db, queue_depths()) == []
    db.execute("select pgmq.create('gone')")
