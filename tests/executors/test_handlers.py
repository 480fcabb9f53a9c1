"""A handler reaches the child however it was written: imported where that leads to it, else sent by value."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import json
import logging
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from types import SimpleNamespace

import cloudpickle
import pytest

from pgflow_mp.definition import FlowDefinition, StepDefinition
from pgflow_mp.executors import Completed, Failed
from pgflow_mp.executors.process.handlers import HandlerError, Packer, is_findable
from pgflow_mp.flow import Flow, step

from . import flows
from .harness import PATIENCE, call_of, flow_of, play

OFFSET = 1000


class InTestModule(Flow):
    @step
    def work(flow_input):
        return flow_input + OFFSET


def helper(value):
    return value + OFFSET


def test_a_flow_that_can_be_imported_travels_by_reference():
    parcel = Packer().pack(flows.Importable.definition, flows.Importable.definition.steps[0])
    assert (parcel.key, parcel.blob) == ("tests.executors.flows:Importable", None)
    nested = flows.Outer.Nested.definition
    assert Packer().pack(nested, nested.steps[0]).key == "tests.executors.flows:Outer.Nested"

    async def scenario(crew):
        one, two = [await crew.output(flows.Importable.definition, 1) for _ in range(2)]
        assert one["in_sys_modules"]
        assert (one["module"], one["seen"], two["seen"]) == ("tests.executors.flows", 1, 2)
        assert one["pid"] == two["pid"] != os.getpid()
        assert await crew.output(nested, 1) == "nested"

    play(scenario, size=1)
    assert flows.SEEN == []


def test_a_flow_in_a_test_module_works():
    async def scenario(crew):
        assert await crew.output(InTestModule.definition, 5) == 1005

    play(scenario)


def test_a_flow_in_a_test_function_works_with_its_closure_and_its_modules_functions():
    factor = 7

    class Local(Flow):
        @step
        def work(flow_input):
            return helper(flow_input) * factor

    async def scenario(crew):
        assert await crew.output(Local.definition, 1) == 7007

    play(scenario)


@pytest.mark.parametrize(
    "handler",
    [lambda flow_input: flow_input, functools.partial(lambda extra, flow_input: flow_input + extra, 0)],
    ids=["lambda", "partial"],
)
def test_odd_callables_work(handler):
    definition = FlowDefinition("odd", (StepDefinition("work", handler=handler),))

    async def scenario(crew):
        assert await crew.output(definition, 3) == 3

    play(scenario)


def test_equal_definitions_with_other_handlers_are_not_confused():
    one, two = flow_of(lambda: "one"), flow_of(lambda: "two")
    assert one == two

    async def scenario(crew):
        assert [await crew.output(flow) for flow in (one, two, one)] == ["one", "two", "one"]

    play(scenario, size=1)


def test_a_redefined_class_runs_as_it_is_now_not_as_its_name_says():
    first = InTestModule.definition

    class InTestModule2(Flow, slug="in_test_module"):
        @step
        def work(flow_input):
            return "redefined"

    impostor = FlowDefinition("in_test_module", InTestModule2.definition.steps, source=first.source)
    assert Packer().pack(impostor, impostor.steps[0]).blob is not None

    async def scenario(crew):
        assert await crew.output(impostor, 1) == "redefined"
        assert await crew.output(first, 1) == 1001

    play(scenario)


def test_a_module_that_only_this_process_finds_travels_with_the_handler(tmp_path):
    """As in pytest's importlib mode: in sys.modules under a name that leads nowhere."""
    (tmp_path / "hidden.py").write_text(
        textwrap.dedent(
            """
            from pgflow_mp.flow import Flow, step
            TABLE = {"a": 1}
            def look_up(key):
                return TABLE[key]
            class Hidden(Flow):
                @step
                def work(flow_input):
                    return look_up(flow_input)
            """
        )
    )
    spec = importlib.util.spec_from_file_location("hidden_module_of_a_test", tmp_path / "hidden.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
        assert not is_findable(spec.name)

        def local(flow_input):
            return module.look_up(flow_input)

        async def scenario(crew):
            assert await crew.output(module.Hidden.definition, "a") == 1
            assert await crew.output(local, "a") == 1

        play(scenario)
        assert not cloudpickle.list_registry_pickle_by_value()
    finally:
        del sys.modules[spec.name]


def test_a_module_that_a_child_would_import_from_another_file_is_not_findable(tmp_path, monkeypatch):
    for folder in ("ours", "theirs"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "shadowed_module_of_a_test.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path / "ours")
    module = importlib.import_module("shadowed_module_of_a_test")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert is_findable(module.__name__)
    monkeypatch.syspath_prepend(tmp_path / "theirs")
    assert not is_findable(module.__name__)


def test_what_the_child_cannot_import_after_all_goes_by_value(tmp_path, monkeypatch):
    module_file = tmp_path / "vanishing_flow_module.py"
    module_file.write_text(
        "import os\n"
        "if os.environ.get('CHILD_CANNOT'): raise ImportError('no such thing in a child')\n"
        "from pgflow_mp.flow import Flow, step\n"
        "class Vanishing(Flow):\n    @step\n    def work(flow_input): return 'here'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import vanishing_flow_module

    flow = vanishing_flow_module.Vanishing.definition
    assert Packer().pack(flow, flow.steps[0]).blob is None
    monkeypatch.setenv("CHILD_CANNOT", "1")

    async def scenario(crew):
        assert await crew.output(flow) == "here"
        assert await crew.output(flow) == "here"

    started = []
    witness = SimpleNamespace(
        call_started=started.append, child_started=lambda child: None, child_lost=lambda *_: pytest.fail("lost")
    )
    try:
        play(scenario, witness=witness)
    finally:
        del sys.modules["vanishing_flow_module"]
    assert len(started) == 2, "a call that is sent again has started once"


def test_a_handler_that_cannot_be_sent_fails_its_task_for_good_and_says_why():
    lock = threading.Lock()

    async def scenario(crew):
        outcome = await crew.run_one(lambda: lock.locked())
        assert isinstance(outcome, Failed)
        assert (outcome.reason, outcome.retryable) == ("raised", False)
        assert "handler of step `work` cannot be sent to a child process" in outcome.error
        assert "lock" in outcome.error
        assert crew.pool.free == 2

    play(scenario)


def test_a_step_without_a_handler_fails_for_good():
    definition = FlowDefinition("elsewhere", (StepDefinition("work"),))
    with pytest.raises(HandlerError, match="step `work` has no handler"):
        Packer().pack(definition, definition.steps[0])


def test_a_handler_whose_loading_fails_fails_its_task():
    class Refuses:
        def __reduce__(self):
            return int, ("no number",)

    thing = Refuses()

    async def scenario(crew):
        outcome = await crew.run_one(lambda: thing)
        assert "the handler cannot be loaded: ValueError" in outcome.error
        assert isinstance(await crew.run_one(lambda: 1), Completed)

    play(scenario, size=1)


def test_a_large_capture_is_warned_about(caplog):
    table = list(range(200_000))

    async def scenario(crew):
        calls = [call_of(flow_of(lambda: len(table)))]
        calls += [call_of(calls[0].flow) for _ in range(3)]
        assert [json.loads(o.output) for o in await crew.run(*calls)] == [200_000] * 4

    with caplog.at_level(logging.WARNING, "pgflow_mp.pool"):
        play(scenario)
    assert [r.getMessage().partition(":")[0] for r in caplog.records] == [
        f"the handler of step `work` takes {caplog.records[0].args[1]} kB to send to each child"
    ]


@pytest.mark.parametrize("mode", ["prepend", "importlib"])
def test_flows_of_test_files_work_in_each_import_mode_of_pytest(pytester, mode):
    package = str(Path(__file__).parents[2])
    pytester.makeconftest(f"import sys\nsys.path.append({package!r})\n")
    pytester.mkdir("sub")
    pytester.path.joinpath("sub", "test_inner.py").write_text(
        textwrap.dedent(
            """
            from tests.executors.harness import play
            from pgflow_mp.flow import Flow, step
            def twice(value):
                return 2 * value
            class AtTop(Flow):
                @step
                def work(flow_input):
                    return twice(flow_input)
            def test_both():
                class Inside(Flow):
                    @step
                    def work(flow_input):
                        return twice(flow_input) + 1
                async def scenario(crew):
                    assert await crew.output(AtTop.definition, 1) == 2
                    assert await crew.output(Inside.definition, 1) == 3
                play(scenario)
            """
        )
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", f"--import-mode={mode}", "-p", "no:cacheprovider"],
        cwd=pytester.path,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
