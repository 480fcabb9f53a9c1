"""Every call that workers and clients of other languages send, as their drivers send it.

One source for all tests of this folder: the statement with its ``$1``, what each parameter is to the driver that sends
it, and what must come back, columns and their order included. From generations 8.1, 8.2 and 9.1; where the statement
itself was not read, what is known of it (names or positions, casts, columns) is written out here. No sibling's own
program is involved: whoever runs these forms runs a replay, except where the driver itself is the real one.

A parameter is ``kind:value``. Kinds are those of the `postgres` driver for JavaScript: text, number, array and null go
without a type, boolean and json with theirs. Ecto's driver for Elixir gives no types at all and sends what the server
says in binary. Values and rows may name what is in the database: ``$run`` (see `world`).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FORMS", "Form"]

TASK = (
    "flow_slug text, run_id uuid, step_slug text, message_id bigint, task_index integer, status text, "
    "attempts_count integer, error_message text, output jsonb, queued_at timestamp with time zone, "
    "started_at timestamp with time zone, completed_at timestamp with time zone, failed_at timestamp with time zone, "
    "last_worker_id uuid, requeued_count integer, last_requeued_at timestamp with time zone, "
    "permanently_stalled_at timestamp with time zone, queue_name text"
)
RUN = (
    "run_id uuid, flow_slug text, status text, input jsonb, output jsonb, remaining_steps integer, "
    "started_at timestamp with time zone, completed_at timestamp with time zone, failed_at timestamp with time zone"
)
CLAIM = (
    "flow_slug text, run_id uuid, step_slug text, input jsonb, msg_id bigint, task_index integer, flow_input jsonb, "
    "attempts_count integer"
)
MESSAGE = "msg_id bigint, read_ct integer, enqueued_at timestamp with time zone, vt timestamp with time zone"
FLOW = (
    "flow_slug text, opt_max_attempts integer, opt_base_delay integer, opt_timeout integer, "
    "created_at timestamp with time zone, queue_mode text, flow_type text"
)
STEP = (
    "flow_slug text, step_slug text, step_type text, step_index integer, deps_count integer, opt_max_attempts integer, "
    "opt_base_delay integer, opt_timeout integer, opt_start_delay integer, required_input_pattern jsonb, "
    "forbidden_input_pattern jsonb, when_unmet text, when_exhausted text, created_at timestamp with time zone, "
    "queue_name text"
)

VERIFIED = '{"status": "verified", "differences": [], "mismatchKind": null}'
GREETED = (
    ("Greet", "$run", "upper", '"a"', "1", "0", None, "1"),
    ("Greet", "$run", "upper", '"b"', "2", "1", None, "1"),
)


@dataclass(frozen=True, slots=True)
class Form:
    """One call.

    Attributes:
        name: Who sends it and what for.
        sql: The statement.
        parameters: ``kind:value`` each.
        columns: The result's columns, ``name type`` each. One that ends in ``...`` lists some, which are read by name.
        rows: The result's rows as text: what begins them; ``None`` is NULL, ``*`` anything. Json is compared as such.
        resolves: Where there are several functions of one name: all those that must run, and no other (9.1).
        after: A query for one text, and what it must say then.
        typed: Whether a boolean has to be sent as such: untyped it is a text (generations 9.2 row 2).
    """

    name: str
    sql: str
    parameters: tuple[str, ...] = ()
    columns: str = ""
    rows: tuple[tuple[str | None, ...], ...] = ()
    resolves: str = ""
    after: tuple[str, str] | None = None
    typed: bool = False


def _claim(name: str, sql: str, *more: str, resolves: str, rows: tuple[tuple[str | None, ...], ...] = GREETED) -> Form:
    parameters = ("text:Greet", "array:$messages", "text:$worker", *more)
    return Form(name, f"select * from pgflow.start_tasks({sql})", parameters, CLAIM, rows, resolves)


# Which of the functions of one name run: the one that the call resolves to, and what that calls in turn.
F5 = "start_tasks(text,bigint[],uuid,text,text)"
F4 = f"start_tasks(text,bigint[],uuid,text) {F5}"
E3 = "ensure_flow_compiled(text,jsonb,boolean)"
E2 = f"ensure_flow_compiled(text,jsonb) {E3}"
E4 = "ensure_flow_compiled(text,jsonb,text,jsonb)"
E4_THEN_E3 = f"{E4} {E3}"
TRACK = "track_worker_function(text,text)"

CLAIMS = (
    _claim("TS 0.8-0.16 claim", "flow_slug => $1, msg_ids => $2::bigint[], worker_id => $3::uuid", resolves=F4),
    _claim("Elixir 0.3 claim", "$1, $2, $3", resolves=F4),
    _claim(
        "TS 94490709 claim",
        "flow_slug => $1, msg_ids => $2::bigint[], worker_id => $3::uuid, queue_name => $4::text",
        "text:greet",
        resolves=F4,
    ),
    _claim("Elixir claim", "$1::text, $2::bigint[], $3::uuid, $4::text", "text:greet", resolves=F4),
    _claim(
        "TS 0.17 claim",
        "flow_slug => $1, msg_ids => $2::bigint[], worker_id => $3::uuid, queue_name => $4::text, "
        "step_slug => NULL::text",
        "text:greet",
        resolves=F5,
    ),
    Form(
        "TS 0.17 claim of one step",
        "select * from pgflow.start_tasks(flow_slug => $1, msg_ids => $2::bigint[], worker_id => $3::uuid, "
        "queue_name => $4::text, step_slug => $5)",
        ("text:Routed", "array:$routed_messages", "text:$worker", "text:routed__only", "text:only"),
        CLAIM,
        (("Routed", "$routed_run", "only", "{}", "1", "0", "{}", "1"),),
        F5,
    ),
    _claim("five by position, untyped", "$1, $2, $3, $4, $5", "text:greet", "null:", resolves=F5),
    _claim("a queue in the case of the slug", "$1, $2, $3, $4", "text:GREET", resolves=F4),
)

READS = (
    Form(
        "TS poll",
        "select * from pgmq.read_with_poll(queue_name => $1, vt => $2, qty => $3, max_poll_seconds => $4, "
        "poll_interval_ms => $5)",
        ("text:greet", "number:2", "number:10", "number:1", "number:50"),
        MESSAGE + ", ...",
        (("1", "1"), ("2", "1")),
    ),
    Form(
        "TS poll of a queue by the slug as written",
        "select * from pgmq.read_with_poll(queue_name => $1, vt => $2, qty => $3, max_poll_seconds => $4, "
        "poll_interval_ms => $5)",
        ("text:Greet", "number:2", "number:1", "number:1", "number:50"),
        MESSAGE + ", ...",
        (("1", "1"),),
    ),
    Form(
        "Elixir poll",
        "select msg_id, read_ct, enqueued_at, vt, message from pgmq.read(queue_name => $1, vt => $2, qty => $3)",
        ("text:greet", "number:30", "number:10"),
        MESSAGE + ", message jsonb",
        (("1", "1"), ("2", "1")),
    ),
    Form(
        "the poll of before 0.4.0",
        "select * from pgflow.poll_for_tasks(queue_name => $1, vt => $2, qty => $3, max_poll_seconds => $4, "
        "poll_interval_ms => $5)",
        ("text:greet", "number:2", "number:10", "number:1", "number:50"),
        CLAIM,
    ),
)

DONE = ("Solo", "$solo_run", "only", "1", "0", "completed", "1", None)
SETTLES = (
    Form(
        "TS complete",
        "select pgflow.complete_task(run_id => $1::uuid, step_slug => $2::text, task_index => $3::int, "
        "output => $4::jsonb)",
        ("text:$solo_run", "text:only", "number:0", 'json:{"n": [1, "x", null]}'),
        "complete_task pgflow.step_tasks",
        (("*",),),
        after=("select output::text from pgflow.runs where run_id = '$solo_run'", '{"only": {"n": [1, "x", null]}}'),
    ),
    Form(
        "TS complete with a falsy result",
        "select pgflow.complete_task(run_id => $1::uuid, step_slug => $2::text, task_index => $3::int, "
        "output => $4::jsonb)",
        ("text:$solo_run", "text:only", "number:0", "json:null"),
        "complete_task pgflow.step_tasks",
        (("*",),),
        after=("select output::text from pgflow.runs where run_id = '$solo_run'", '{"only": null}'),
    ),
    Form(
        "TS fail",
        "select pgflow.fail_task(run_id => $1::uuid, step_slug => $2::text, task_index => $3::int, "
        "error_message => $4::text)",
        ("text:$solo_run", "text:only", "number:0", "text:it broke"),
        "fail_task pgflow.step_tasks",
        (("*",),),
        after=(
            "select status || ' ' || error_message from pgflow.step_tasks where run_id = '$solo_run'",
            "queued it broke",
        ),
    ),
    Form(
        "Elixir complete",
        "select * from pgflow.complete_task($1::uuid, $2::text, $3::int, $4::jsonb)",
        ("text:$solo_run", "text:only", "number:0", "json:{}"),
        TASK,
        ((*DONE, "{}"),),
    ),
    Form(
        "Elixir fail",
        "select * from pgflow.fail_task($1::uuid, $2::text, $3::int, $4::text)",
        ("text:$solo_run", "text:only", "number:0", "text:it broke"),
        TASK,
        (("Solo", "$solo_run", "only", "1", "0", "queued", "1", "it broke", None),),
    ),
    Form(
        "Elixir delay",
        "select msg_id, read_ct from pgflow.set_vt_batch($1, $2, $3)",
        ("text:greet", "array:$messages", "array:[30, 60]"),
        "msg_id bigint, read_ct integer",
        (("1", "0"), ("2", "0")),
    ),
)

STARTS = (
    Form(
        "TS start",
        "select * from pgflow.start_flow(flow_slug => $1, input => $2)",
        ("text:Greet", 'json:["x"]'),
        RUN,
        (("*", "Greet", "started", '["x"]', None, "2"),),
    ),
    Form(
        "TS start with types",
        "select * from pgflow.start_flow(flow_slug => $1::text, input => $2::jsonb)",
        ("text:Greet", 'json:["x"]'),
        RUN,
        (("*", "Greet", "started", '["x"]', None, "2"),),
    ),
    Form(
        "TS start of a run that is named",
        "select * from pgflow.start_flow(flow_slug => $1::text, input => $2::jsonb, run_id => $3::uuid)",
        ("text:Greet", 'json:["x"]', "text:$fresh"),
        RUN,
        (("$fresh", "Greet", "started", '["x"]', None, "2"),),
    ),
    Form(
        "client start",
        "select pgflow.start_flow_with_states(flow_slug => $1, input => $2, run_id => $3)",
        ("text:Greet", 'json:["x"]', "text:$fresh"),
        "start_flow_with_states jsonb",
        (("*",),),
        after=("select count(*)::text from pgflow.runs where run_id = '$fresh'", "1"),
    ),
    Form(
        "client read",
        "select pgflow.get_run_with_states(run_id => $1)",
        ("text:$run",),
        "get_run_with_states jsonb",
        (("*",),),
    ),
    Form(
        "client select of a flow",
        "select * from pgflow.flows where flow_slug = $1",
        ("text:Greet",),
        FLOW,
        (("Greet", "3", "5", "60"),),
    ),
    Form(
        "client select of its steps",
        "select * from pgflow.steps where flow_slug = $1 order by step_index",
        ("text:Greet",),
        STEP,
        (("Greet", "upper", "map", "0", "0"), ("Greet", "join", "single", "1", "1")),
    ),
    Form(
        "TS flow input on demand",
        "select input from pgflow.runs where run_id = $1",
        ("text:$run",),
        "input jsonb",
        (('["a", "b"]',),),
    ),
    Form(
        "Elixir flow input",
        "select pgflow.get_flow_input($1)",
        ("text:$run",),
        "get_flow_input jsonb",
        (('["a", "b"]',),),
    ),
    Form(
        "Elixir step output",
        "select pgflow.get_step_output($1, $2)",
        ("text:$run", "text:upper"),
        "get_step_output jsonb",
        ((None,),),
    ),
    Form("Elixir flow exists", "select pgflow.flow_exists($1)", ("text:Greet",), "flow_exists boolean", (("t",),)),
)


def _compile(name: str, sql: str, *more: str, resolves: str, typed: bool = False) -> Form:
    return Form(
        name,
        f"select pgflow.ensure_flow_compiled({sql})",
        ("text:Greet", "json:$shape", *more),
        "ensure_flow_compiled jsonb",
        ((VERIFIED,),),
        resolves,
        typed=typed,
    )


DEFINITIONS = (
    _compile("TS 0.14, 0.15 compile", "$1, $2::jsonb, $3", "boolean:false", resolves=E3, typed=True),
    _compile(
        "compile with the old flag by name",
        "flow_slug => $1, shape => $2::jsonb, allow_data_loss => $3",
        "boolean:false",
        resolves=E3,
    ),
    _compile("compile with the old flag as literal", "$1, $2::jsonb, false", resolves=E3),
    _compile("TS 0.16 compile", "$1, $2::jsonb", resolves=E2),
    _compile("Elixir compile", "$1::text, $2::jsonb", resolves=E2),
    _compile("TS 0.17 compile", "$1, $2::jsonb, $3::text, $4::jsonb", "text:flow", "json:$routes", resolves=E4),
    _compile("compile with the mode by name", "$1, $2::jsonb, queue_mode => $3", "text:flow", resolves=E4),
    _compile("compile with an untyped third", "$1, $2::jsonb, $3", "text:flow", resolves=E4),
    _compile("compile with the old flag untyped", "$1, $2::jsonb, $3", "text:f", resolves=E4_THEN_E3),
    Form(
        "TS 0.17 compile of a flow with step queues",
        "select pgflow.ensure_flow_compiled($1, $2::jsonb, $3::text, $4::jsonb)",
        ("text:Routed", "json:$routed_shape", "text:step", "json:$routed_routes"),
        "ensure_flow_compiled jsonb",
        ((VERIFIED,),),
        E4,
    ),
    Form(
        "create a flow by position",
        "select * from pgflow.create_flow($1, $2, $3, $4)",
        ("text:made", "number:4", "number:2", "number:30"),
        FLOW,
        (("made", "4", "2", "30", "*", "flow", "flow"),),
    ),
    Form(
        "Elixir step of eight",
        "select * from pgflow.add_step($1, $2, $3, $4, $5, $6, $7, $8)",
        ("text:Solo", "text:more", 'array:["only"]', "number:2", "null:", "null:", "number:1", "text:map"),
        STEP,
        (("Solo", "more", "map", "1", "1", "2", None, None, "1", None, None, "skip", "fail", "*", "solo"),),
    ),
    Form(
        "Elixir step of twelve",
        "select * from pgflow.add_step($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        (
            "text:Solo",
            "text:more",
            "array:[]",
            "null:",
            "null:",
            "null:",
            "null:",
            "text:single",
            'json:{"a": 1}',
            "null:",
            "text:skip-cascade",
            "text:skip",
        ),
        STEP,
        (("Solo", "more", "single", "1", "0", None, None, None, None, '{"a": 1}', None, "skip-cascade", "skip"),),
    ),
    Form(
        "Elixir flow type",
        "update pgflow.flows set flow_type = $2 where flow_slug = $1",
        ("text:Solo", "text:job"),
        after=("select flow_type from pgflow.flows where flow_slug = 'Solo'", "job"),
    ),
    Form(
        "Elixir effective options",
        "select coalesce(s.opt_max_attempts, f.opt_max_attempts), coalesce(s.opt_base_delay, f.opt_base_delay), "
        "coalesce(s.opt_timeout, f.opt_timeout) from pgflow.steps as s join pgflow.flows as f using (flow_slug) "
        "where s.flow_slug = $1 and s.step_slug = any ($2)",
        ("text:Solo", 'array:["only"]'),
        "coalesce integer, coalesce integer, coalesce integer",
        (("3", "5", "60"),),
    ),
    Form(
        "Elixir deletion",
        "select pgflow.delete_flow_and_data($1)",
        ("text:Solo",),
        "delete_flow_and_data void",
        (("",),),
        after=("select count(*)::text from pgflow.flows where flow_slug = 'Solo'", "0"),
    ),
)

WORKERS = (
    Form(
        "TS 0.14 track",
        "select pgflow.track_worker_function($1)",
        ("text:edge",),
        "track_worker_function void",
        (("",),),
        TRACK,
        ("select start_mode from pgflow.worker_functions where function_name = 'edge'", "http"),
    ),
    Form(
        "TS 0.15 process track",
        "select pgflow.track_worker_function($1, $2)",
        ("text:node", "text:process"),
        "track_worker_function void",
        (("",),),
        TRACK,
        ("select start_mode from pgflow.worker_functions where function_name = 'node'", "process"),
    ),
    Form(
        "Elixir track",
        "select pgflow.track_worker_function($1::text, 'process')",
        ("text:elixir:Greet",),
        "track_worker_function void",
        (("",),),
        TRACK,
        ("select start_mode from pgflow.worker_functions where function_name = 'elixir:Greet'", "process"),
    ),
    Form(
        "TS worker row",
        "insert into pgflow.workers (queue_name, worker_id, function_name) values ($1, $2, $3)",
        ("text:Greet", "text:$fresh", "text:edge"),
        after=("select queue_name from pgflow.workers where worker_id = '$fresh'", "Greet"),
    ),
    Form(
        "TS 0.17.1 worker row",
        "insert into pgflow.workers (queue_name, worker_id, function_name, pgflow_version) values ($1, $2, $3, $4)",
        ("text:greet", "text:$fresh", "text:edge", "text:0.17.1"),
        after=("select pgflow_version from pgflow.workers where worker_id = '$fresh'", "0.17.1"),
    ),
    Form(
        "Elixir worker row",
        "select * from pgflow.register_worker($1, $2, $3)",
        ("text:$fresh", "text:greet", "text:elixir:Greet"),
        "register_worker void",
        (("",),),
        after=("select function_name from pgflow.workers where worker_id = '$fresh'", "elixir:Greet"),
    ),
    Form(
        "TS heartbeat",
        "update pgflow.workers set last_heartbeat_at = clock_timestamp() where worker_id = $1 "
        "returning (deprecated_at is not null) as is_deprecated",
        ("text:$worker",),
        "is_deprecated boolean",
        (("f",),),
    ),
    Form(
        "Elixir heartbeat",
        "update pgflow.workers set last_heartbeat_at = now() where worker_id = $1 returning deprecated_at",
        ("text:$worker",),
        "deprecated_at timestamp with time zone",
        ((None,),),
    ),
    Form(
        "heartbeat without a row",
        "update pgflow.workers set last_heartbeat_at = clock_timestamp() where worker_id = $1 "
        "returning (deprecated_at is not null) as is_deprecated",
        ("text:$fresh",),
        "is_deprecated boolean",
    ),
    Form(
        "stop",
        "select pgflow.mark_worker_stopped($1::uuid)",
        ("text:$worker",),
        "mark_worker_stopped void",
        (("",),),
        after=("select (stopped_at is not null)::text from pgflow.workers where worker_id = '$worker'", "true"),
    ),
    Form(
        "Elixir recovery",
        "select * from pgflow.recover_stalled_tasks($1)",
        ("number:30",),
        "recovered_count bigint, vt_batches bigint",
        (("0", "0"),),
    ),
    Form("TS recovery", "select pgflow.requeue_stalled_tasks()", (), "requeue_stalled_tasks integer", (("0",),)),
    Form(
        "Elixir orphans",
        "select q.msg_id from pgmq.q_greet as q join pgflow.step_tasks as t "
        "on t.queue_name = $1 and t.message_id = q.msg_id "
        "join pgflow.step_states as s on (s.run_id, s.step_slug) = (t.run_id, t.step_slug) "
        "where s.status in ('completed', 'failed', 'skipped')",
        ("text:greet",),
        "msg_id bigint",
    ),
    Form(
        "Elixir archive",
        "select pgmq.archive($1, $2::bigint[])",
        ("text:greet", "array:$messages"),
        "archive bigint",
        (("1",), ("2",)),
    ),
    Form(
        "Elixir pruning",
        "select * from pgflow.prune_data_older_than($1, $2)",
        ("text:30 days", "null:"),
        "workers_deleted bigint, tasks_deleted bigint, states_deleted bigint, runs_deleted bigint",
        (("0", "0", "0", "0"),),
    ),
    Form(
        "Elixir's lock",
        "select pg_advisory_xact_lock(1, hashtext(lower($1)))",
        ("text:Greet",),
        "pg_advisory_xact_lock void",
        (("",),),
    ),
    Form(
        "Elixir's demands",
        "select to_regprocedure('pgflow.ensure_flow_compiled(text,jsonb)') is not null, "
        "to_regprocedure('pgflow.track_worker_function(text,text)') is not null, "
        "to_regprocedure('pgflow.start_tasks(text,bigint[],uuid,text)') is not null, "
        "to_regprocedure('pgflow.start_tasks(text,bigint[],uuid)') is null",
        (),
        "?column? boolean, ?column? boolean, ?column? boolean, ?column? boolean",
        (("t", "t", "t", "t"),),
    ),
)

FORMS = CLAIMS + READS + SETTLES + STARTS + DEFINITIONS + WORKERS
