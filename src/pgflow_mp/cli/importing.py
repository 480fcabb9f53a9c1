"""Import a module or a file that a person named, and say in one sentence what is wrong when that fails.

A module is imported with the current folder first on the path, as ``python -m`` does; a file with its own
folder first, as ``python file.py`` does, under its stem, so that handlers travel to children by reference.
A file whose stem belongs to another module (``queue.py``) gets a private name instead and its folder goes to
the end of the path: nothing of the standard library is shadowed. No child can import that name, so its handlers
travel by value.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import pgflow_mp
from pgflow_mp.cli.exits import UsageError

if TYPE_CHECKING:
    from types import ModuleType

_OUR_FOLDER = str(Path(pgflow_mp.__file__).parent)


def import_module(name: str) -> ModuleType:
    """Import a module by its dotted name.

    Raises:
        UsageError: There is no such module, or its own code fails.
    """
    if not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(f"`{name}` is neither a module name like app.flows nor the path of a .py file")
    put_first(Path.cwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise UsageError(
                f"there is no module `{error.name}` in {Path.cwd()} or on Python's path ({sys.executable})"
            ) from error
        raise UsageError(f"cannot import {name}: {_what_and_where(error)}") from error
    except (Exception, SystemExit) as error:
        raise UsageError(f"cannot import {name}: {_what_and_where(error)}") from error


def import_file(source: str) -> ModuleType:
    """Import a ``.py`` file by its path.

    Raises:
        UsageError: There is no such file, it is none of Python's, or its own code fails.
    """
    path = Path(source).expanduser().resolve()
    if path.is_dir():
        raise UsageError(f"{source} is a folder: name a .py file in it, or the package as a module (app.flows)")
    if not path.is_file():
        guess = path.with_suffix(".py")
        meant = f"; did you mean {Path(source).with_suffix('.py')}?" if guess.is_file() else ""
        raise UsageError(f"there is no file {source}{meant}")
    if path.suffix != ".py":
        raise UsageError(f"{source} is no .py file")
    try:
        return _import_as_own_name(path) if _stem_is_free(path) else _import_as_private_name(path)
    except (Exception, SystemExit) as error:
        raise UsageError(f"cannot import {source}: {_what_and_where(error)}{_package_hint(path, error)}") from error


def _stem_is_free(path: Path) -> bool:
    """Whether importing the stem would give this file and no other module."""
    if "." in path.stem:
        return False
    try:
        spec = importlib.util.find_spec(path.stem)
    except (ImportError, ValueError):  # ValueError: a module like __main__ that has no spec
        return False
    return spec is None or (spec.origin is not None and Path(spec.origin).resolve() == path)


def _import_as_own_name(path: Path) -> ModuleType:
    put_first(path.parent)
    importlib.invalidate_caches()
    return importlib.import_module(path.stem)


def _import_as_private_name(path: Path) -> ModuleType:
    name = f"_pgflow_file_{hashlib.sha256(bytes(path)).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"Python has no loader for {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # annotations and dataclasses look their module up here
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def put_first(folder: Path) -> None:
    """Have modules of this folder found before all others."""
    if str(folder) in sys.path:
        sys.path.remove(str(folder))
    sys.path.insert(0, str(folder))


def _what_and_where(error: BaseException) -> str:
    """The error in one line, with the line of code that it comes from."""
    if isinstance(error, SystemExit):
        what = f"it ends the process (sys.exit({error.code!r})) while it is imported"
    else:
        what = f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError):  # its text already ends in (file, line n)
        return what
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_theirs(frame.filename)]
    return f"{what} ({frames[-1].filename}, line {frames[-1].lineno})" if frames else what


def _is_theirs(filename: str) -> bool:
    """Whether a frame is of a file that a person wrote: `<...>` is code made at run time (a dataclass's __init__)."""
    machinery = filename.startswith("<") or filename == importlib.__file__
    return not machinery and not filename.startswith(_OUR_FOLDER)


def _package_hint(path: Path, error: BaseException) -> str:
    """A file that belongs to a package uses relative imports, which need the package's name."""
    if not (isinstance(error, ImportError) and "relative import" in str(error)):
        return ""
    parts = [path.stem]
    for folder in path.parents:
        if not (folder / "__init__.py").exists():
            break
        parts.insert(0, folder.name)
    return f"; the file is part of a package: name the module {'.'.join(parts)} from the package's parent folder"
