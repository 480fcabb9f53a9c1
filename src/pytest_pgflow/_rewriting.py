"""Assertions in child processes tell what they compared, as they do inline.

pytest rewrites the assertions of test modules when it imports them. A child that is given a flow by its name imports
the module by itself, so it has to rewrite too: exactly the modules that pytest has rewritten in the test's process,
which says so in the environment. What travels by value is rewritten already.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

VARIABLE = "PGFLOW_PYTEST_REWRITTEN"

PRELOAD = ("pytest", "pytest_pgflow._rewritten")
"""What children find imported: what takes longest of importing a test module, and what rewrites its assertions."""


def tell_children() -> None:
    """Say to children that start from now on which modules to rewrite; nothing where pytest rewrites none."""
    hook: Any = next((each for each in sys.meta_path if type(each).__name__ == "AssertionRewritingHook"), None)
    if hook is None:
        os.environ.pop(VARIABLE, None)
        return
    modules = sorted(getattr(hook, "_rewritten_names", ()))
    os.environ[VARIABLE] = json.dumps({"modules": modules, "ini": _ini_of(hook.config)})


def _ini_of(config: Any) -> dict[str, Any]:
    """Return what was configured for the texts of failed comparisons; which names there are depends on the version."""
    names = [name for name in getattr(config._parser, "_inidict", ()) if name.startswith(("assertion_", "truncation_"))]  # noqa: SLF001
    return {name: config.getini(name) for name in names} | {"verbosity": config.get_verbosity()}
