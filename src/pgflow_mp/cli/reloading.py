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
from pgflow_mp.cli.loading import load_all, modules_of

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

    Attributes:
        flows: What was loaded last.

    Raises:
        UsageError: As in `load_all`.
    """

    def __init__(self, targets: Sequence[str]) -> None:
        self._targets = targets
        before = set(sys.modules)
        self.flows = load_all(targets)
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
            brought = set(sys.modules) - before
            yield flows
        except BaseException:
            self._take_out()
            sys.modules.update(old)
            raise
        self.flows, self._brought = flows, self._brought | brought

    def _take_out(self) -> dict[str, ModuleType]:
        """Remove the user's modules from the table of modules; return them."""
        packages = {module.partition(".")[0] for module in modules_of(flow.definition for flow in self.flows)}
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
