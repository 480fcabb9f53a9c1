"""Import the served modules again, after a deployment: all or nothing.

A module is imported again with everything of the user's that it has brought along, for a flow is defined by its
helpers too; libraries and pgflow-mp itself stay as they are. If the new code cannot be imported, or is not accepted,
the modules of before are put back, and whoever looks one up finds the code that is running.
"""

from __future__ import annotations

import importlib
import sys
import sysconfig
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pgflow_mp
from pgflow_mp.cli.loading import load_all, load_handlers, modules_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from types import ModuleType

    from pgflow_mp.cli.loading import NamedFlow

_LIBRARIES = tuple(
    {
        str(Path(folder).resolve())
        for kind in ("stdlib", "platstdlib", "purelib", "platlib")
        if (folder := sysconfig.get_path(kind))
    }
)
_OURS = pgflow_mp.__name__


class Code:
    """The served targets and the modules that they brought along.

    Args:
        targets: As typed: ``app.flows``, ``flows.py:Greet``.
        handler_modules: As typed: ``app.handlers``, ``handlers.py``; for flows that are made at run time.

    Attributes:
        flows: What was loaded last.
        handlers: The same, by name.

    Raises:
        UsageError: As in `load_all`.
    """

    def __init__(self, targets: Sequence[str], handler_modules: Sequence[str] = ()) -> None:
        self._targets = targets
        self._handler_modules = handler_modules
        before = set(sys.modules)
        self.flows = load_all(targets)
        self.handlers = load_handlers(handler_modules)
        self._brought = set(sys.modules) - before

    @contextmanager
    def again(self) -> Iterator[list[NamedFlow]]:
        """Load anew and yield the flows; an error in the block puts the modules of before back.

        Raises:
            UsageError: The new code cannot be imported; the sentence says why.
        """
        old = self._take_out()
        try:
            before = set(sys.modules)
            flows = load_all(self._targets)
            handlers = load_handlers(self._handler_modules)
            brought = set(sys.modules) - before
            yield flows
        except BaseException:
            self._take_out()
            sys.modules.update(old)
            raise
        self.flows, self.handlers, self._brought = flows, handlers, self._brought | brought

    def _take_out(self) -> dict[str, ModuleType]:
        """Remove the user's modules from the table of modules; return them."""
        modules = modules_of(flow.definition for flow in self.flows)
        modules += [named.source.partition(":")[0] for named in self.handlers.values() if named.source]
        packages = {module.partition(".")[0] for module in modules}
        theirs = {
            name: module
            for name, module in sys.modules.copy().items()
            if name in self._brought and _is_theirs(name, module, packages)
        }
        for name in theirs:
            del sys.modules[name]
        importlib.invalidate_caches()
        return theirs


def _is_theirs(name: str, module: ModuleType, packages: Collection[str]) -> bool:
    """Whether a deployment may have changed it: of a flow's package, or of no library."""
    package = name.partition(".")[0]
    if package == _OURS:
        return False
    if package in packages:
        return True
    file = getattr(module, "__file__", None)
    return file is not None and not str(Path(file).resolve()).startswith(_LIBRARIES)
