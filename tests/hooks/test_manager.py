"""Plugins are found, checked and named; what is wrong with one is said at the start."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from pgflow_mp import PluginError
from pgflow_mp.hooks import hookimpl, manager
from pgflow_mp.hooks.manager import DISABLE, Plugins


class Quiet:
    def pgflow_run_failed(self, run):
        pass


@pytest.fixture
def module(monkeypatch):
    """A module that can be imported, with what a test puts into it."""
    made = ModuleType("a_plugin")
    monkeypatch.setitem(sys.modules, "a_plugin", made)
    return made


def load(*given, **options):
    return Plugins.load(given, installed=False, **options)


def test_a_function_is_a_hook_by_its_name_and_a_marker_gives_options(module):
    def pgflow_run_failed(run):
        pass

    @hookimpl(specname="pgflow_run_completed")
    def completed(run):
        pass

    module.pgflow_run_failed, module.completed = pgflow_run_failed, completed
    (plugin,) = load("a_plugin").all
    assert plugin.hooks == ("pgflow_run_completed", "pgflow_run_failed")
    assert (plugin.name, plugin.origin, plugin.reference) == ("a_plugin", "by name", "a_plugin")


def test_modules_objects_and_names_of_either_are_plugins(module):
    module.pgflow_run_failed = lambda run: None
    module.Quiet = Quiet
    assert [each.reference for each in load(module, Quiet(), "a_plugin:Quiet").all] == [
        "a_plugin",
        None,
        "a_plugin:Quiet",
    ]
    assert isinstance(load("a_plugin:Quiet").all[0].instance, Quiet), "a class by name is made an object"


def test_the_plugin_registered_last_is_asked_first_unless_it_says_otherwise():
    class First:
        def pgflow_run_failed(self):
            return "first"

    class Last:
        @hookimpl(trylast=True)
        def pgflow_run_failed(self):
            return "last"

    class Second:
        def pgflow_run_failed(self):
            return "second"

    plugins = load(First(), Last(), Second())
    assert [each.call({}) for each in plugins.implementations("pgflow_run_failed")] == ["second", "first", "last"]


def test_a_hook_takes_the_arguments_that_it_wants():
    class Some:
        def pgflow_task_failed(self, error, unit="s"):
            return error, unit

    (implementation,) = load(Some()).implementations("pgflow_task_failed")
    assert implementation.call({"task": 1, "error": "boom", "reason": "raised", "seconds": 1.0}) == ("boom", "s")


async def awaited(self, run): ...


def generated(self, run):
    yield


def flat(self, task):
    return 1


@pytest.mark.parametrize(
    ("name", "function", "said"),
    [
        ("pgflow_run_fail", lambda self: None, "there is no such hook (did you mean `pgflow_run_failed`?)"),
        ("pgflow_x", lambda self: None, "there is no such hook; `pgflow-mp plugins --hooks` lists those there are"),
        ("pgflow_run_failed", lambda self, rum: None, "the hook has no argument rum; it has run, error"),
        ("pgflow_run_failed", awaited, "nobody awaits it; make it a plain function"),
        ("pgflow_run_failed", generated, "it is called, not wrapped around anything; a generator would never run"),
        ("pgflow_run_failed", hookimpl(wrapper=True)(generated), "a generator would never run"),
        ("pgflow_call_handler", flat, "it is a wrapper: a generator under @hookimpl(wrapper=True)"),
        ("pgflow_call_handler", generated, "it is a wrapper: a generator under @hookimpl(wrapper=True)"),
    ],
)
def test_what_would_never_be_called_right_is_an_error(name, function, said):
    if function is generated and name == "pgflow_call_handler":
        function = lambda self, task: (yield)  # noqa: E731 - another generator, without a marker
    plugin = type("Odd", (), {name: function})()
    with pytest.raises(PluginError) as error:
        load(plugin)
    assert str(error.value).startswith(f"plugin `Odd`, hook {name}: ")
    assert said in str(error.value)


def test_a_plugin_without_hooks_is_an_error():
    with pytest.raises(PluginError, match=r"plugin `object` \(object\) has no hook"):
        load(object())


def test_a_class_is_no_plugin():
    with pytest.raises(PluginError, match=r"plugin `type` is a class; give an instance of it: Quiet\(\)"):
        load(Quiet)


def test_a_plugin_that_cannot_be_imported_says_why(module):
    with pytest.raises(PluginError, match=r"plugin `no\.where` cannot be loaded: ModuleNotFoundError"):
        load("no.where")
    with pytest.raises(PluginError, match="plugin `a_plugin:missing` cannot be loaded: AttributeError"):
        load("a_plugin:missing")


def test_one_plugin_given_twice_counts_once_and_namesakes_get_numbers(module):
    module.pgflow_run_failed = lambda run: None
    both = load(module, "a_plugin", Quiet(), Quiet())
    assert [each.name for each in both.all] == ["a_plugin", "Quiet", "Quiet#2"]


def test_installed_plugins_are_loaded_and_can_be_switched_off(module, monkeypatch):
    module.pgflow_run_failed = lambda run: None
    points = (EntryPoint("alerts", "a_plugin", "pgflow_mp"), EntryPoint("broken", "no.where", "pgflow_mp"))
    monkeypatch.setattr(manager, "_entry_points", lambda: points)
    with pytest.raises(PluginError, match=f"plugin `no.where` cannot be loaded: .*; {DISABLE}=broken leaves it out"):
        Plugins.load()
    monkeypatch.setenv(DISABLE, "broken, other")
    assert [(each.name, each.reference) for each in Plugins.load().all] == [("alerts", "a_plugin")]
    assert [each.name for each in Plugins.load(["a_plugin"]).all] == ["alerts"], "named again, it is the same one"
    monkeypatch.setenv(DISABLE, "*")
    assert not Plugins.load()
    assert [each.name for each in Plugins.load(["a_plugin"]).all] == ["a_plugin"]
    monkeypatch.setenv(DISABLE, "*,a_plugin")
    assert not Plugins.load(["a_plugin"])
