"""What needs a hosted platform: absent, and with stand-ins. Rules: core 1.5, 5.3, 5.4; generations 1.2.3."""

import uuid

import pytest

from .ask import column, refusal, rows, value

LOCAL = "super-secret-jwt-token-with-at-least-32-characters-long"


@pytest.fixture
def cron(db):
    """A stand-in for pg_cron."""
    conn = db
    conn.execute("create schema cron")
    conn.execute(
        "create table cron.job (jobid bigint generated always as identity, jobname text, schedule text, command text)"
    )
    conn.execute("create table cron.job_run_details (runid bigint, end_time timestamptz)")
    conn.execute(
        "create function cron.schedule(job_name text, schedule text, command text) returns bigint language sql as "
        "'insert into cron.job (jobname, schedule, command) values (job_name, schedule, command) returning jobid'"
    )
    conn.execute(
        "create function cron.unschedule(job_name text) returns boolean language plpgsql as $$ begin "
        "delete from cron.job where jobname = job_name; "
        "if not found then raise exception 'could not find valid entry for job'; end if; return true; end $$"
    )
    return conn


@pytest.fixture
def platform(db):
    """Stand-ins for vault and pg_net, with a project and a key."""
    conn = db
    conn.execute("create schema vault")
    conn.execute("create table vault.decrypted_secrets (name text, decrypted_secret text)")
    conn.execute("create schema net")
    conn.execute(
        "create table net.posted (id bigint generated always as identity, url text, body jsonb, headers jsonb)"
    )
    conn.execute(
        "create function net.http_post(url text, body jsonb default '{}', params jsonb default '{}', "
        "headers jsonb default '{}', timeout_milliseconds int default 5000) returns bigint language sql as "
        "'insert into net.posted (url, body, headers) values (url, body, headers) returning id'"
    )
    set_secrets(conn, supabase_project_id="proj", supabase_service_role_key="service")
    conn.execute("select pgflow.track_worker_function('fn')")
    return conn


def set_secrets(conn, **secrets):
    conn.execute("delete from vault.decrypted_secrets")
    for name, secret in secrets.items():
        conn.execute("insert into vault.decrypted_secrets values (%s, %s)", [name, secret])


def be_local(conn):
    conn.execute("select set_config('app.settings.jwt_secret', %s, false)", [LOCAL])


def ensure(conn):
    return rows(conn, "select * from pgflow.ensure_workers()")


def add_worker(conn, **columns):
    worker = uuid.uuid4()
    conn.execute("select pgflow.register_worker(%s, 'q', 'fn')", [worker])
    for name, expression in columns.items():
        conn.execute(f"update pgflow.workers set {name} = {expression} where worker_id = %s", [worker])


class TestAbsent:
    @pytest.mark.parametrize(
        ("call", "part"),
        [
            ("select pgflow.setup_requeue_stalled_tasks_cron()", "pg_cron"),
            ("select pgflow.setup_ensure_workers_cron()", "pg_cron"),
            ("select * from pgflow.cleanup_ensure_workers_logs()", "pg_cron"),
            ("select * from pgflow.ensure_workers()", "pg_net"),
        ],
    )
    def test_the_error_names_the_part(self, db, call, part):
        """core 1.5.3 (3F000), in words; issue 3 point 2."""
        state, message = refusal(db, call)
        assert state == "3F000"
        assert part in message
        assert "does not have" in message

    def test_without_vault(self, platform):
        """core 1.5.2, EW-1: production needs it, a local database does not."""
        platform.execute("drop schema vault cascade")
        assert "supabase_vault" in refusal(platform, "select * from pgflow.ensure_workers()")[1]
        be_local(platform)
        assert len(ensure(platform)) == 1


class TestCron:
    def test_the_recovery_is_scheduled_once(self, cron):
        """core CJ-1 [T]: default 15 seconds; replacing keeps a single job."""
        first = value(cron, "select pgflow.setup_requeue_stalled_tasks_cron()")
        assert first == "Scheduled pgflow_requeue_stalled_tasks (every 15 seconds, job_id=1)"
        second = value(cron, "select pgflow.setup_requeue_stalled_tasks_cron(cron_interval => '1 minute')")
        assert second == "Scheduled pgflow_requeue_stalled_tasks (every 1 minute, job_id=2)"
        assert rows(cron, "select jobname, schedule, command from cron.job") == [
            ("pgflow_requeue_stalled_tasks", "1 minute", "select pgflow.requeue_stalled_tasks()")
        ]

    def test_both_jobs_of_the_http_workers_are_scheduled(self, cron):
        """core CJ-2 [T]."""
        for expected in [
            "Scheduled pgflow_ensure_workers (every 1 second, job_id=1) and pgflow_cleanup_logs (hourly, job_id=2)",
            "Scheduled pgflow_ensure_workers (every 1 second, job_id=3) and pgflow_cleanup_logs (hourly, job_id=4)",
        ]:
            assert value(cron, "select pgflow.setup_ensure_workers_cron()") == expected
        assert rows(cron, "select jobname, schedule, command from cron.job order by jobid") == [
            ("pgflow_ensure_workers", "1 second", "select pgflow.ensure_workers()"),
            ("pgflow_cleanup_logs", "0 * * * *", "select pgflow.cleanup_ensure_workers_logs()"),
        ]

    def test_old_logs_are_deleted(self, cron):
        """core CJ-4 [T]: strictly older than so many hours, default 24; 0 when none."""
        clean = "select cron_deleted from pgflow.cleanup_ensure_workers_logs({})"
        assert value(cron, clean.format("")) == 0
        cron.execute(
            "insert into cron.job_run_details "
            "select n, now() - make_interval(hours => n, mins => -1) from generate_series(1, 30) n"
        )
        cron.execute("insert into cron.job_run_details values (99, null)")
        assert value(cron, clean.format("")) == 6
        assert value(cron, clean.format("retention_hours => 10")) == 14
        assert value(cron, "select count(*) from cron.job_run_details") == 11


class TestEnsureWorkers:
    def test_production_posts_with_the_key(self, platform):
        """core EW-1, EW-5 [T], EW-6 [T]."""
        assert ensure(platform) == [("fn", True, 1)]
        assert rows(platform, "select url, body, headers from net.posted") == [
            (
                "https://proj.supabase.co/functions/v1/fn",
                {},
                {"Content-Type": "application/json", "Authorization": "Bearer service"},
            )
        ]
        assert value(
            platform, "select clock_timestamp() - last_invoked_at < interval '1 minute' from pgflow.worker_functions"
        )

    def test_every_function_gets_its_own_request(self, platform):
        """core EW-6 [T]."""
        platform.execute("select pgflow.track_worker_function('fn2')")
        found = ensure(platform)
        assert sorted(row[0] for row in found) == ["fn", "fn2"]
        assert len({row[2] for row in found}) == 2

    def test_the_flow_secret_goes_before_the_service_key(self, platform):
        """core EW-2 [T]; an empty one counts as none."""
        set_secrets(platform, supabase_project_id="p", supabase_service_role_key="service", pgflow_auth_secret="own")
        ensure(platform)
        platform.execute("update pgflow.worker_functions set last_invoked_at = null")
        set_secrets(platform, supabase_project_id="p", supabase_service_role_key="service", pgflow_auth_secret="")
        ensure(platform)
        assert column(platform, "select headers ->> 'Authorization' from net.posted order by id") == [
            "Bearer own",
            "Bearer service",
        ]

    @pytest.mark.parametrize(
        "secrets",
        [
            {},
            {"supabase_service_role_key": "service"},
            {"supabase_project_id": "", "supabase_service_role_key": "service"},
            {"supabase_project_id": "proj"},
            {"supabase_project_id": "proj", "supabase_service_role_key": ""},
        ],
    )
    def test_without_project_or_key_nothing_happens(self, platform, secrets):
        """core EW-4 [T]: last_invoked_at unchanged."""
        set_secrets(platform, **secrets)
        assert ensure(platform) == []
        assert rows(platform, "select last_invoked_at from pgflow.worker_functions") == [(None,)]

    def test_a_local_database_asks_every_time(self, platform):
        """core EW-1, EW-3 [T], EW-5: no debounce, no liveness, no key."""
        be_local(platform)
        set_secrets(platform)
        add_worker(platform)
        assert len(ensure(platform)) == len(ensure(platform)) == 1
        assert rows(platform, "select distinct url, headers from net.posted") == [
            ("http://kong:8000/functions/v1/fn", {})
        ]

    @pytest.mark.parametrize("local", [False, True])
    def test_disabled_and_process_functions_are_left_alone(self, platform, local):
        """core EW-3 [T]; generations 1.2.3 [T]: in local mode too."""
        if local:
            be_local(platform)
        platform.execute("select pgflow.track_worker_function('fn', 'process')")
        platform.execute("select pgflow.track_worker_function('off')")
        platform.execute("update pgflow.worker_functions set enabled = false where function_name = 'off'")
        assert ensure(platform) == []

    def test_a_function_is_not_called_again_within_its_debounce(self, platform):
        """core EW-3 [T]."""
        assert len(ensure(platform)) == 1
        assert ensure(platform) == []
        platform.execute("update pgflow.worker_functions set last_invoked_at = now() - interval '7 s'")
        assert len(ensure(platform)) == 1

    def test_a_live_worker_is_enough(self, platform):
        """core EW-3 [T], WK-5."""
        add_worker(platform)
        assert ensure(platform) == []

    @pytest.mark.parametrize(
        "columns",
        [
            {"stopped_at": "now()"},
            {"deprecated_at": "now()"},
            {"last_heartbeat_at": "now() - interval '7 s'"},
            {"function_name": "'another'"},
        ],
    )
    def test_what_is_no_live_worker(self, platform, columns):
        """core WK-5: stopped, deprecated, silent for the debounce time, of another function."""
        add_worker(platform, **columns)
        assert len(ensure(platform)) == 1
