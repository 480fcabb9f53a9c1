"""Send what handlers raise to Sentry: with its stack, in the process where it was raised, tagged with run and step.

    pip install sentry-sdk
    SENTRY_DSN=... pgflow-mp serve app.flows --plugin examples.sentry_errors

An attempt that is killed (a timeout, a crash) raises nothing; the worker tells of it when its task has failed for good.
"""

from __future__ import annotations

import sentry_sdk

from pgflow_mp import NonRetryable
from pgflow_mp.hooks import hookimpl


def tag(scope, task):
    for name in ("flow_slug", "run_id", "step_slug", "task_index", "attempt"):
        scope.set_tag(name, str(getattr(task, name)))


@hookimpl
def pgflow_child_init():
    """Runs in each child: a client of Sentry has a thread of its own and does not survive a fork."""
    sentry_sdk.init()


@hookimpl(wrapper=True)
def pgflow_call_handler(task):
    """Report an attempt's exception; the last attempt's, or `NonRetryable`, is told apart by its tag `attempt`."""
    with sentry_sdk.new_scope() as scope:
        tag(scope, task)
        try:
            return (yield)
        except Exception as error:
            scope.set_level("error" if isinstance(error, NonRetryable) else "warning")
            scope.capture_exception(error)
            sentry_sdk.flush(2)  # the child may be replaced before its next task
            raise


@hookimpl
def pgflow_worker_started():
    """Runs in the worker."""
    sentry_sdk.init()


@hookimpl
def pgflow_task_failed(task, error, reason):
    """Report what raised nothing anywhere."""
    if reason in ("timeout", "lost"):
        with sentry_sdk.new_scope() as scope:
            tag(scope, task)
            scope.capture_message(error.partition("\n")[0], level="error")
