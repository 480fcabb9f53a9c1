"""What is preloaded into the children of a test session: assertions are rewritten here as pytest did in its process.

Importing this module does it, by the order that `pytest_pgflow._rewriting` left in the environment; only the fork
server of such children imports it.
"""

from __future__ import annotations

import ast
import io
import json
import os
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder, SourceFileLoader
from typing import TYPE_CHECKING, Any

from _pytest._io import TerminalWriter
from _pytest.assertion import pytest_assertrepr_compare, util
from _pytest.assertion.rewrite import rewrite_asserts

from pytest_pgflow._rewriting import VARIABLE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType

MOST_LINES = 40
"""The most lines that a child tells of a comparison: the error of a task is kept in the database."""


class _Finder(MetaPathFinder):
    """Finds the modules that are to be rewritten, and nothing else."""

    def __init__(self, modules: Sequence[str]) -> None:
        self._modules = frozenset(modules)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a module to rewrite."""
        if fullname not in self._modules:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(fullname, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    """Loads a module with its assertions rewritten."""

    def path_stats(self, path: str) -> Any:
        """Have no age, so that the code is neither taken from the cache of what is not rewritten, nor put there."""
        raise OSError(path)

    def source_to_code(  # type: ignore[override] # its base has it static in typeshed, and calls it on the loader
        self, data: Any, path: Any, *, _optimize: int = -1
    ) -> CodeType:
        """Compile what pytest makes of the source."""
        tree = ast.parse(data, filename=os.fsdecode(path))
        rewrite_asserts(tree, bytes(data), os.fsdecode(path))
        return compile(tree, path, "exec", dont_inherit=True, optimize=_optimize)


class _Config:
    """As much of pytest's config as the text of a comparison needs; none of the session's exists in a child."""

    def __init__(self, ini: dict[str, Any]) -> None:
        self._ini = ini
        self._writer = TerminalWriter(io.StringIO())
        self.pluginmanager = self

    def has_plugin(self, name: str) -> bool:  # noqa: ARG002 - the plugin manager's signature
        return False

    def getini(self, name: str) -> Any:
        return self._ini[name]

    def get_verbosity(self, kind: str | None = None) -> int:  # noqa: ARG002 - the config's signature
        return int(self._ini["verbosity"])

    def get_terminal_writer(self) -> Any:
        return self._writer


def rewrite(order: dict[str, Any]) -> None:
    """Rewrite these modules when they are imported in this process from now on."""
    config: Any = _Config(order["ini"])

    def compare(op: str, left: object, right: object) -> str | None:
        try:
            lines = pytest_assertrepr_compare(config, op, left, right)
        except Exception:  # noqa: BLE001 - whatever another version of pytest asks for: the values are told without it
            return None
        # As pytest joins them: `~` begins a line that goes on.
        told = [line.replace("\n", "\\n").replace("%", "%%") for line in (lines or ())[:MOST_LINES]]
        return "\n~".join(told) or None

    util._reprcompare = compare  # noqa: SLF001 - pytest sets it for the length of each test
    sys.meta_path.insert(0, _Finder(order["modules"]))


if VARIABLE in os.environ:
    rewrite(json.loads(os.environ[VARIABLE]))
