"""Which plugins there are: found, imported, checked against the specifications.

Plugins come from three places: installed distributions (entry points of the group `pgflow_mp`), names
(`module` or `module:attribute`, what `--plugin` takes), and objects that somebody passes. What is wrong with one
is an error here, at the start, and not a hook that is silently never called: a name that no specification knows, a
parameter that the hook does not have, a coroutine function where nobody awaits.

As in pytest, a function whose name begins with `pgflow_` is a hook with or without `@hookimpl`; the marker is for its
options.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import pluggy

from pgflow_mp.errors import PluginError
from pgflow_mp.hooks import specs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pluggy import HookimplOpts

DISABLE = "PGFLOW_DISABLE_PLUGINS"
"""Environment: names of plugins to leave out, comma separated; `*` stands for all that are installed."""

_CALL_HANDLER = "pgflow_call_handler"


@dataclass(frozen=True, slots=True)
class Plugin:
    """One plugin.

    Attributes:
        name: What it is called in messages and in `PGFLOW_DISABLE_PLUGINS`.
        origin: Where it comes from, in words.
        reference: `module` or `module:attribute`, where another process can import it; None for an object.
        hooks: The hooks that it implements, in the order of the specifications.
        instance: The module or object.
    """

    name: str
    origin: str
    reference: str | None
    hooks: tuple[str, ...]
    instance: object


class Implementation(NamedTuple):
    """One plugin's function for one hook."""

    plugin: str
    function: Callable[..., Any]
    parameters: tuple[str, ...]

    def call(self, event: dict[str, Any]) -> Any:
        """Call it with those arguments of the event that it takes."""
        return self.function(**{name: event[name] for name in self.parameters})


class Plugins:
    """The plugins of one worker, client or child, as a whole.

    Attributes:
        all: Every plugin, in the order in which they were registered.
    """

    def __init__(self, found: Iterable[tuple[str, str, str | None, object]] = ()) -> None:
        self._manager = _Manager(specs.PROJECT)
        self._manager.add_hookspecs(specs)
        self.all = [self._register(*each) for each in found]
        self._implementations = {name: self._called(name) for name in specs.NAMES}

    @classmethod
    def load(cls, given: Sequence[object] = (), *, installed: bool = True) -> Plugins:
        """Find and check plugins: the installed ones, then those that are given.

        Args:
            given: Modules, objects, or names of either (`module`, `module:attribute`).
            installed: Whether to take those of installed distributions too.

        Raises:
            PluginError: One cannot be imported, or is no plugin as the specifications have it.
        """
        disabled = {name.strip() for name in os.environ.get(DISABLE, "").split(",")}
        found: list[tuple[str, str, str | None, object]] = []
        if installed and "*" not in disabled:
            found += [_installed(point) for point in _entry_points() if point.name not in disabled]
        found += [each for each in map(_given, given) if each[0] not in disabled]
        return cls(_without_repeats(found))

    def __bool__(self) -> bool:
        return bool(self.all)

    def implementations(self, hook: str) -> tuple[Implementation, ...]:
        """Return who implements a hook, in the order in which they are called."""
        return self._implementations[hook]

    @property
    def wants_carriers(self) -> bool:
        """Whether some plugin asks for what was passed along with a run and from a task's parents."""
        return any("carriers" in each.parameters for found in self._implementations.values() for each in found)

    @property
    def heard(self) -> frozenset[str]:
        """The hooks that some plugin implements."""
        return frozenset(name for name, found in self._implementations.items() if found)

    def _register(self, name: str, origin: str, reference: str | None, instance: object) -> Plugin:
        if isinstance(instance, type):
            raise PluginError(f"plugin `{name}` is a class; give an instance of it: {instance.__name__}()")
        hooks = {self._checked(name, instance, *found) for found in self._manager.hooks_of(instance)}
        if not hooks:
            raise PluginError(
                f"plugin `{name}` ({origin}) has no hook: no function of it has a name that begins with pgflow_"
            )
        try:
            self._manager.register(instance, name)
        except pluggy.PluginValidationError as error:
            raise PluginError(f"plugin `{name}` ({origin}) does not fit: {error}") from None
        return Plugin(name, origin, reference, tuple(hook for hook in specs.NAMES if hook in hooks), instance)

    @staticmethod
    def _checked(name: str, instance: object, attribute: str, opts: HookimplOpts) -> str:
        """Return the name of the hook that a function of a plugin is."""
        hook = opts["specname"] or attribute
        function = getattr(instance, attribute)
        where = f"plugin `{name}`, hook {attribute}"
        if hook not in specs.NAMES:
            raise PluginError(f"{where}: there is no such hook{_nearest(hook)}")
        known = inspect.signature(getattr(specs, hook)).parameters
        unknown = [each for each in _parameters(function) if each not in known]
        if unknown:
            raise PluginError(f"{where}: the hook has no argument {', '.join(unknown)}; it has {', '.join(known)}")
        is_wrapper = opts["wrapper"] or opts["hookwrapper"]
        if hook == _CALL_HANDLER:
            if not opts["wrapper"] or not inspect.isgeneratorfunction(function):
                raise PluginError(f"{where}: it is a wrapper: a generator under @hookimpl(wrapper=True)")
        elif is_wrapper or inspect.isgeneratorfunction(function):
            raise PluginError(f"{where}: it is called, not wrapped around anything; a generator would never run")
        elif inspect.iscoroutinefunction(function):
            raise PluginError(f"{where}: nobody awaits it; make it a plain function")
        return hook

    def _called(self, hook: str) -> tuple[Implementation, ...]:
        found = reversed(getattr(self._manager.hook, hook).get_hookimpls())  # pluggy calls the last one first
        return tuple(Implementation(each.plugin_name, each.function, each.argnames) for each in found)


@cache
def no_plugins() -> Plugins:
    """Return the plugins of somebody who has none."""
    return Plugins()


class _Manager(pluggy.PluginManager):
    """Takes a function as a hook for its name, as pytest does."""

    def parse_hookimpl_opts(self, plugin: object, name: str) -> HookimplOpts | None:
        opts = super().parse_hookimpl_opts(plugin, name)
        if opts is not None or not name.startswith("pgflow_"):
            return opts
        if not inspect.isroutine(inspect.getattr_static(plugin, name, None)):
            return None
        return {
            "wrapper": False,
            "hookwrapper": False,
            "optionalhook": False,
            "tryfirst": False,
            "trylast": False,
            "specname": None,
        }

    def hooks_of(self, plugin: object) -> list[tuple[str, HookimplOpts]]:
        """Return the names under which the plugin has hooks, with their options."""
        found = [(name, self.parse_hookimpl_opts(plugin, name)) for name in dir(plugin)]
        return [(name, opts) for name, opts in found if opts is not None]


def _nearest(hook: str) -> str:
    prefix = "pgflow_"  # all have it: it says nothing about how near they are
    bare = [name.removeprefix(prefix) for name in specs.NAMES]
    close = difflib.get_close_matches(hook.removeprefix(prefix), bare, n=1)
    return f" (did you mean `{prefix}{close[0]}`?)" if close else "; `pgflow-mp plugins --hooks` lists those there are"


def _parameters(function: Callable[..., Any]) -> list[str]:
    """Return the parameters that get an argument: those without a default."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.KEYWORD_ONLY)
    return [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind in kinds and parameter.default is parameter.empty
    ]


@cache
def _entry_points() -> tuple[EntryPoint, ...]:
    """Look once a process: it takes some milliseconds, and an application may make many clients."""
    return tuple(entry_points(group=specs.PROJECT))


def _installed(point: EntryPoint) -> tuple[str, str, str | None, object]:
    origin = f"{point.dist.name} {point.dist.version}" if point.dist else "installed"
    try:
        return point.name, origin, point.value, load(point.value)
    except PluginError as error:
        raise PluginError(f"{error}; {DISABLE}={point.name} leaves it out") from error.__cause__


def _given(plugin: object) -> tuple[str, str, str | None, object]:
    if isinstance(plugin, str):
        return plugin, "by name", plugin, load(plugin)
    if isinstance(plugin, ModuleType):
        return plugin.__name__, "module", None if plugin.__name__ == "__main__" else plugin.__name__, plugin
    return type(plugin).__name__, "object", None, plugin


def load(reference: str) -> object:
    """Import a plugin: a module, or an object of one; a class is called without arguments.

    Raises:
        PluginError: It cannot be imported.
    """
    module, _, path = reference.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for name in filter(None, path.split(".")):
            found = getattr(found, name)
        return found() if isinstance(found, type) else found
    except Exception as error:  # importing runs the plugin's own code
        raise PluginError(f"plugin `{reference}` cannot be loaded: {type(error).__name__}: {error}") from error


def _without_repeats(
    found: Iterable[tuple[str, str, str | None, object]],
) -> list[tuple[str, str, str | None, object]]:
    """Leave out what was found twice (installed, and named again); give equal names a number."""
    kept: list[tuple[str, str, str | None, object]] = []
    for name, origin, reference, instance in found:
        if any(instance is other or (reference is not None and reference == known) for _, _, known, other in kept):
            continue
        namesakes = sum(other == name or other.startswith(f"{name}#") for other, *_ in kept)
        kept.append((f"{name}#{namesakes + 1}" if namesakes else name, origin, reference, instance))
    return kept
