"""Which processes are provably dead (D-3)."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys

import pytest

from pgflow_mp.engine.host import _start_time, is_gone, this_process

HERE = this_process()

pytestmark = pytest.mark.skipif(HERE.started is None, reason="the system does not tell when a process started")


def test_this_process_is_not_gone():
    assert not is_gone(HERE, HERE)


def test_an_ended_process_is_gone():
    ended = subprocess.Popen([sys.executable, "-c", "pass"])
    ended.wait(timeout=30)
    assert is_gone(dataclasses.replace(HERE, pid=ended.pid), HERE)


def test_an_ended_process_that_nobody_has_noticed_is_gone():
    ended = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = _start_time(ended.pid)
    process = dataclasses.replace(HERE, pid=ended.pid, started=started)
    assert not is_gone(process, HERE)
    ended.kill()
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    assert is_gone(process, HERE)
    ended.communicate()


def test_a_process_id_that_somebody_else_has_now_is_gone():
    assert is_gone(dataclasses.replace(HERE, started=HERE.started + "0"), HERE)


@pytest.mark.parametrize("field", ["boot_id", "pid_namespace"])
def test_nobody_of_another_machine_or_container_is_declared_dead(field):
    foreign = dataclasses.replace(HERE, pid=2**22 - 1, **{field: "another"})
    assert not is_gone(foreign, HERE)


def test_nobody_is_declared_dead_where_the_system_does_not_tell():
    unknown = dataclasses.replace(HERE, pid=2**22 - 1, started=None)
    assert not is_gone(unknown, HERE)
