"""``pgflow-mp plugins``: which plugins a worker would have, and their hooks; and how commands load them."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgflow_mp.cli.exits import OK
from pgflow_mp.cli.importing import put_first
from pgflow_mp.cli.output import Column, print_json, print_line, print_table
from pgflow_mp.hooks import specs
from pgflow_mp.hooks.manager import Plugins

if TYPE_CHECKING:
    import argparse

    from pgflow_mp.hooks.manager import Plugin

_PLUGINS = (Column("PLUGIN", style="bold"), Column("FROM"), Column("HOOKS"))
_HOOKS = (Column("HOOK", style="bold"), Column("WHEN", least=20))


def run(arguments: argparse.Namespace) -> int:
    """List the plugins, or the hooks that there are."""
    found = [_hook(name) for name in specs.NAMES] if arguments.hooks else _plugins(load(arguments))
    if arguments.json:
        print_json(found)
    elif arguments.hooks:
        print_table(_HOOKS, [(hook["hook"], hook["about"]) for hook in found])
    elif found:
        print_table(_PLUGINS, [(each["name"], each["origin"], "\n".join(each["hooks"])) for each in found])
    else:
        print_line("no plugins: none is installed, and none was named with --plugin")
    return OK


def load(arguments: argparse.Namespace) -> Plugins:
    """Load the installed plugins and those that ``--plugin`` names; modules in the current folder are found.

    Raises:
        PluginError: One cannot be loaded, or has what is no hook.
    """
    if arguments.plugin:
        put_first(Path.cwd())
    return Plugins.load(arguments.plugin)


def _plugins(plugins: Plugins) -> list[dict[str, Any]]:
    return [_plugin(plugin) for plugin in plugins.all]


def _plugin(plugin: Plugin) -> dict[str, Any]:
    return {
        "name": plugin.name,
        "origin": plugin.origin,
        "reference": plugin.reference,
        "hooks": list(plugin.hooks),
    }


def _hook(name: str) -> dict[str, Any]:
    spec = getattr(specs, name)
    about = (inspect.getdoc(spec) or "").split("\n\n", 1)[0].replace("\n", " ")
    return {"hook": name, "parameters": list(inspect.signature(spec).parameters), "about": about}
