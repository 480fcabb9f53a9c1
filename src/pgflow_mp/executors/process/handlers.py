"""How a step's handler travels: by reference when the child can import it, else by value.

By reference, `module:FlowClass` and the step's slug: the child imports the module, which is the fastest way and
gives the handler all that its module has. That holds only where the name really leads to this very step: not in
`__main__`, not in a function's locals, not in a module that only this process can find (pytest's importlib
mode, a deleted file), not after a class was redefined under its old name.

By value, `cloudpickle` of the step, once per child under the digest of its bytes. Functions in modules that a
child cannot find travel inside of it. Should a child fail to import what looked importable, it answers MISS and
the step goes by value: the child's import is the last word.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import logging
import pickle
import sys
import sysconfig
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pgflow_mp import checking
from pgflow_mp.definition import StepDefinition
from pgflow_mp.errors import PgflowError
from pgflow_mp.executors.process import wire
from pgflow_mp.flow import as_definition
from pgflow_mp.registry import NamedHandler

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from pgflow_mp.definition import FlowDefinition

logger = logging.getLogger("pgflow_mp.pool")

_DIGEST = 64  # characters of a sha256 in hexadecimal

_MOST_KEPT = 4096
"""Steps whose way is remembered; there are more only where flows are made at run time."""

_REGISTERED = "registered:"
"""What keys of registered handlers begin with: ``registered:TYPE:MODULE:QUALNAME``."""

LARGE = 256 * 1024
"""Bytes of a pickled handler above which something (a global table, a data frame) came along by mistake."""


class HandlerError(PgflowError):
    """The handler cannot be brought to a child process."""


class NotImportableError(PgflowError):
    """This process cannot import the flow; the parent may send the step by value."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A handler ready to travel.

    Attributes:
        key: "module:qualname" of the flow, or the digest of `blob`.
        blob: The pickled step, to LOAD before the first RUN; None by reference.
        head: What RUN frames call it.
    """

    key: str
    blob: bytes | None
    head: bytes


class Packer:
    """The parent's side: decides how each step travels, once."""

    def __init__(self) -> None:
        # By identity, not equality: equal definitions may have different handlers. The step is kept with its
        # parcel, so that its id stays its own.
        self._parcels: dict[int, tuple[StepDefinition, Parcel]] = {}
        self._there: dict[str, tuple[object, bool]] = {}

    def pack(self, flow: FlowDefinition, step: StepDefinition) -> Parcel:
        """Return how this step travels.

        Raises:
            HandlerError: It has no handler, or the handler holds something that cannot be sent.
        """
        known = self._parcels.get(id(step))
        if known is not None:
            return known[1]
        if step.source and self._is_there(step):
            key = f"{_REGISTERED}{step.step_type}:{step.source}"
            return self._keep(step, Parcel(key, None, wire.name_step(key, flow.slug, step.slug)))
        if flow.source and leads_to(flow.source, flow, step):
            return self._keep(step, Parcel(flow.source, None, wire.name_step(flow.source, flow.slug, step.slug)))
        return self.pack_by_value(flow, step)

    def pack_by_value(self, flow: FlowDefinition, step: StepDefinition) -> Parcel:
        """Have the step travel by value from now on, whatever its source says: a child could not import it.

        Raises:
            HandlerError: As for `pack`.
        """
        blob = _by_value(step)
        digest = hashlib.sha256(blob).hexdigest()
        return self._keep(step, Parcel(digest, blob, wire.name_step(digest, flow.slug, step.slug)))

    def _is_there(self, step: StepDefinition) -> bool:
        """Whether a child that follows the source of a registered handler finds it; looked up once for each handler."""
        assert step.source is not None
        known = self._there.get(step.source)
        if known is None or known[0] is not step.handler:
            known = self._there[step.source] = (step.handler, _leads_to_handler(step.source, step.handler))
        return known[1]

    def _keep(self, step: StepDefinition, parcel: Parcel) -> Parcel:
        if len(self._parcels) >= _MOST_KEPT:  # flows made on the fly, one after the other
            self._parcels.clear()
        self._parcels[id(step)] = (step, parcel)
        return parcel


class Shelf:
    """The child's side: the steps that it has imported or been sent."""

    def __init__(self) -> None:
        self._items: dict[bytes, Item] = {}
        self._blobs: dict[str, bytes] = {}

    def load(self, payload: bytes) -> None:
        """Keep a pickled step; it is unpickled by the task that needs it, which then has the error."""
        digest, blob = payload[:_DIGEST].decode(), payload[_DIGEST:]
        self._blobs[digest] = blob

    def find(self, head: bytes) -> Item:
        """Return what a RUN frame's head names.

        Raises:
            NotImportableError: It came by reference, and this process cannot import it.
            Exception: Unpickling it raised this.
        """
        item = self._items.get(head)
        if item is None:
            key, flow_slug, step_slug = head.decode().split("\n")
            if len(self._items) >= _MOST_KEPT:
                self._items.clear()
            # Unpickled once for each flow and slug that names it; the blob stays, for there may be another.
            step = pickle.loads(self._blobs[key]) if key in self._blobs else _follow(key, step_slug)  # noqa: S301
            item = self._items[head] = Item(flow_slug, step)
        return item


class Item(NamedTuple):
    """A step ready to run."""

    flow_slug: str
    step: StepDefinition


def load_payload(parcel: Parcel) -> bytes:
    """Return the payload of the LOAD frame for a parcel by value."""
    assert parcel.blob is not None
    return parcel.key.encode() + parcel.blob


# By reference ----------------------------------------------------------------------------------------------


def leads_to(source: str, flow: FlowDefinition, step: StepDefinition) -> bool:
    """Whether a child that follows `source` finds this very step."""
    module, _, qualname = source.partition(":")
    if module == "__main__" or "<locals>" in qualname or not is_findable(module):
        return False
    try:
        found = as_definition(_resolve(sys.modules[module], qualname))
    except Exception:  # noqa: BLE001 - whatever it is, it is not this flow
        return False
    return found is flow or any(other is step for other in found.steps)


def _leads_to_handler(source: str, handler: object) -> bool:
    module, _, qualname = source.partition(":")
    if not is_findable(module):
        return False
    try:
        found = _resolve(sys.modules[module], qualname)
    except AttributeError:
        return False
    return getattr(found, "function", found) is handler


def _follow_registered(key: str, slug: str) -> StepDefinition:
    step_type, module, qualname = key.removeprefix(_REGISTERED).split(":")
    try:
        found = _resolve(importlib.import_module(module), qualname)
    except Exception as error:
        raise NotImportableError(f"cannot import {module}:{qualname} here: {type(error).__name__}: {error}") from error
    named = found if isinstance(found, NamedHandler) else NamedHandler(slug, found)
    return StepDefinition(slug, step_type, (), named.function, retry_on=named.retry_on, is_registered=True)  # type: ignore[arg-type]


def _follow(source: str, slug: str) -> StepDefinition:
    if source.startswith(_REGISTERED):
        return _follow_registered(source, slug)
    module, _, qualname = source.partition(":")
    try:
        return as_definition(_resolve(importlib.import_module(module), qualname)).step(slug)
    except Exception as error:
        raise NotImportableError(f"cannot import {source} here: {type(error).__name__}: {error}") from error


def _resolve(holder: Any, qualname: str) -> Any:
    for name in qualname.split("."):
        holder = getattr(holder, name)
    return holder


def is_findable(name: str) -> bool:
    """Whether a process with our `sys.path` imports the module `name` from the file that we have it from.

    `importlib.util.find_spec` would not do: it trusts `sys.modules`, where pytest and others put modules under
    names that lead nowhere.
    """
    module = sys.modules.get(name)
    if module is None:
        return False
    path = None
    spec = None
    for part in _prefixes(name):
        spec = _find(part, path)
        if spec is None:
            return False
        path = spec.submodule_search_locations
    origin = getattr(module, "__file__", None)
    return origin is None or (spec is not None and spec.origin is not None and _same(spec.origin, origin))


def _prefixes(name: str) -> Iterator[str]:
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        yield ".".join(parts[:end])


def _find(name: str, path: Any) -> Any:
    """Ask the path, then the finders that every interpreter here has: built-ins and editable installs."""
    spec = PathFinder.find_spec(name, path)
    if spec is not None:
        return spec
    for finder in sys.meta_path:
        if getattr(finder, "__module__", "").startswith(("__editable__", "_frozen_importlib", "importlib")):
            spec = finder.find_spec(name, path)
            if spec is not None:
                return spec
    return None


def _same(one: str, other: str) -> bool:
    return one == other or Path(one).resolve() == Path(other).resolve()


# By value --------------------------------------------------------------------------------------------------


def _by_value(step: StepDefinition) -> bytes:
    if step.handler is None:
        raise HandlerError(f"step `{step.slug}` has no handler in this worker")
    try:
        blob = _pickle(step)
    except Exception as error:
        raise HandlerError(
            f"the handler of step `{step.slug}` cannot be sent to a child process: {type(error).__name__}: {error}. "
            f"It uses something that exists only in this process; create that inside of the handler, or move the "
            f"flow to a module that can be imported"
        ) from error
    if len(blob) > LARGE:
        logger.warning(
            "the handler of step `%s` takes %d kB to send to each child: it uses a large global or captured value; "
            "pass a reference to the data instead, or move the flow to a module that can be imported",
            step.slug,
            len(blob) // 1024,
        )
    return blob


def _pickle(step: StepDefinition) -> bytes:
    import cloudpickle

    checking.forget()
    strangers = [module for module in _own_modules() if not is_findable(module.__name__)]
    added = [module for module in strangers if module.__name__ not in cloudpickle.list_registry_pickle_by_value()]
    with contextlib.ExitStack() as stack:
        for module in added:
            cloudpickle.register_pickle_by_value(module)
            stack.callback(cloudpickle.unregister_pickle_by_value, module)
        blob: bytes = cloudpickle.dumps(step)
    return blob


def _own_modules() -> list[ModuleType]:
    """The loaded modules that are neither Python's nor installed: those that a child may not find."""
    paths = sysconfig.get_paths()
    installed = tuple({paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")})
    return [
        module
        for name, module in sys.modules.copy().items()
        if name not in ("__main__", "__mp_main__")
        and getattr(module, "__name__", None) == name
        and (file := getattr(module, "__file__", None)) is not None
        and not file.startswith(installed)
    ]
