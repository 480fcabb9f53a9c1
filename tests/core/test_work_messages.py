"""Visibility of messages, and the old way to poll. Rules: core 3.17, 3.18."""

import pytest

from .ask import column, refusal, rows, value

SET = "select * from pgflow.set_vt_batch(%s, %s::bigint[], %s::int[])"


@pytest.fixture
def queue(db):
    db.execute("select pgmq.create('MyQueue')")
    db.execute("""select pgmq.send_batch('MyQueue', array['{"n": 1}', '{"n": 2}', '{"n": 3}']::jsonb[])""")
    return db


def seconds_ahead(conn):
    ahead = "select extract(epoch from vt - clock_timestamp())::float8 from pgmq.q_myqueue order by msg_id"
    return [round(seconds) for seconds in column(conn, ahead)]


def test_each_message_moves_by_its_offset(queue):
    """core 3.17.1 [T]: clock time plus offset, which may be negative; read_ct stays; unknown ids are ignored."""
    assert len(rows(queue, SET, "MyQueue", [1, 3, 99], [100, -50, 1])) == 2
    assert seconds_ahead(queue) == [100, 0, -50]
    assert rows(queue, "select distinct read_ct from pgmq.q_myqueue") == [(0,)]


def test_it_returns_six_columns_by_name(queue):
    """core 3.0, 3.17.1 [T]."""
    cursor = queue.execute(SET, ["myqueue", [2], [7]])
    assert [c.name for c in cursor.description] == ["msg_id", "read_ct", "enqueued_at", "vt", "message", "headers"]
    (row,) = cursor.fetchall()
    assert (row[0], row[1], row[4], row[5]) == (2, 0, {"n": 2}, None)


def test_a_doubled_id_gets_one_of_its_offsets(queue):
    """core 3.17.1."""
    assert len(rows(queue, SET, "MyQueue", [1, 1], [100, 200])) == 1
    assert seconds_ahead(queue)[0] in (100, 200)


def test_nothing_to_do(queue):
    """core 3.17.2 [T]: NULL arrays and empty ones."""
    for ids, offsets in [(None, [1]), ([1], None), (None, None), ([], [])]:
        assert rows(queue, SET, "MyQueue", ids, offsets) == []
    assert seconds_ahead(queue) == [0, 0, 0]


def test_arrays_of_different_length(queue):
    """core 3.17.2 [T]: exact text; an empty array prints <NULL>."""
    assert refusal(queue, SET, "MyQueue", [1, 2], [1]) == (
        "P0001",
        "msg_ids length (2) must equal vt_offsets length (1)",
    )
    assert refusal(queue, SET, "MyQueue", [1], []) == (
        "P0001",
        "msg_ids length (1) must equal vt_offsets length (<NULL>)",
    )


def test_an_unknown_queue(queue):
    """core 3.17.3 [T]."""
    assert refusal(queue, SET, "nope", [1], [1]) == ("42P01", 'relation "pgmq.q_nope" does not exist')


def test_a_hostile_queue_name_is_no_sql(queue):
    """core 3.17.3: format_table_name, then quoting."""
    assert refusal(queue, SET, 'x" set vt = now(); --', [1], [1])[0] in ("P0001", "42P01")
    assert seconds_ahead(queue) == [0, 0, 0]


def test_poll_for_tasks_says_that_it_is_deprecated_and_returns_nothing(queue):
    """core 3.18."""
    notices = []
    queue.add_notice_handler(lambda d: notices.append(d.message_primary))
    assert rows(queue, "select * from pgflow.poll_for_tasks('MyQueue', 1, 1)") == []
    assert rows(queue, "select * from pgflow.poll_for_tasks('MyQueue', 1, 1, 5, 100)") == []
    assert len(notices) == 2
    assert "deprecated" in notices[0]
    assert value(queue, "select count(*) from pgmq.q_myqueue where read_ct > 0") == 0


def test_its_rows_are_claims(queue):
    """core 3.0: setof step_task_record."""
    cursor = queue.execute("select * from pgflow.poll_for_tasks('MyQueue', 1, 1)")
    assert [c.name for c in cursor.description][:3] == ["flow_slug", "run_id", "step_slug"]
