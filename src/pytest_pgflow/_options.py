"""What a test session was asked for, from every place that may say it.

Each setting has one name in four places: the option ``--pgflow-NAME``, the key ``NAME`` of the
``pgflow_settings`` fixture, the ini value ``pgflow_NAME``, and a default. Who is closest to this very
run wins: command line, then the environment (``PGFLOW_TEST_DSN`` only), then the fixture, then the ini
file. The ``pgflow`` marker and the arguments of a call are closer still; they are applied per test.

``dsn`` and ``server`` answer one question, so the closer of the two decides: ``--pgflow-server=embedded``
on the command line overrules a ``PGFLOW_TEST_DSN`` that happens to be exported.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from pgflow_mp.rules import did_you_mean
from pytest_pgflow._migrations import Migrations, read_migrations

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SERVERS = ("auto", "embedded", "system", "docker")
ISOLATIONS = ("clone", "delete", "none")
EXECUTORS = ("inline", "process")

DSN_VARIABLE = "PGFLOW_TEST_DSN"


@dataclass(frozen=True, slots=True)
class Settings:
    """The settled answer for one session.

    Attributes:
        dsn: Server to create databases on, beside the one that it names; None to start a server.
        server: Kind of server to start: ``auto``, ``embedded``, ``system`` or ``docker``.
        image: Image of the docker server; None for the default one.
        isolation: ``clone``: a database for each test; ``delete``: one database, emptied before each
            test; ``none``: one database, never emptied.
        executor: Where steps run: ``inline`` (the test's own thread) or ``process``.
        timeout: Seconds that one ``flow_runner.run`` may take.
        processes: Children of the process executor.
        keep: Whether the database of a failed test outlives the session.
        reuse: Whether server and template stay for the next session.
        migrations: What the template gets before pgflow-mp is installed into it, such as the schema pgflow of another
            language's tools; pgflow-mp is then installed beside that.
        setup: Called with the DSN of the template before it is cloned: the place for the tables of the
            application under test. Only ``pgflow_settings`` can give it.
    """

    # Not in the repr, which pytest shows of arguments: it may hold a password.
    dsn: str | None = field(default=None, repr=False)
    server: str = "auto"
    image: str | None = None
    isolation: str = "clone"
    executor: str = "inline"
    timeout: float = 10.0
    processes: int = 2
    keep: bool = False
    reuse: bool = False
    migrations: Migrations | None = None
    setup: Callable[[str], object] | None = None


def _one_of(*words: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value in words:
            return str(value)
        raise ValueError(f"is one of {', '.join(words)}{did_you_mean(str(value), words)}")

    return check


def _seconds(value: Any) -> float:
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        raise ValueError("is a number of seconds") from None
    if not 0 < seconds < float("inf"):
        raise ValueError("is a positive number of seconds")
    return seconds


def _count(value: Any) -> int:
    if not str(value).isdecimal() or int(value) < 1:
        raise ValueError("is a whole number from 1 on")
    return int(value)


def _flag(value: Any) -> bool:
    known = {
        True: True,
        False: False,
        "true": True,
        "1": True,
        "yes": True,
        "false": False,
        "0": False,
        "no": False,
    }
    try:
        return known[value.lower() if isinstance(value, str) else value]
    except (KeyError, TypeError):
        raise ValueError("is true or false") from None


def _callable(value: Any) -> Callable[[str], object]:
    if not callable(value):
        raise ValueError("is a function that takes the DSN of the template")  # noqa: TRY004 - one error type
    return value  # type: ignore[no-any-return]


CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "dsn": str,
    "server": _one_of(*SERVERS),
    "image": str,
    "isolation": _one_of(*ISOLATIONS),
    "executor": _one_of(*EXECUTORS),
    "timeout": _seconds,
    "processes": _count,
    "keep": _flag,
    "reuse": _flag,
    "migrations": read_migrations,
    "setup": _callable,
}


def checked(name: str, value: Any) -> Any:
    """Return the value of a setting as it was given in Python.

    Raises:
        ValueError: It means nothing; the sentence names the setting and the value.
    """
    try:
        return CHECKS[name](value)
    except ValueError as error:
        raise ValueError(f"{name}={value!r}: {name} {error}") from None


_COMMAND_LINE, _ENVIRONMENT, _FIXTURE, _INI, _DEFAULT = range(5)


class _Said(NamedTuple):
    """A value, how close to this run its place is (0 is closest), and how to name that place."""

    value: Any
    rank: int
    where: str


def settle(config: pytest.Config, given: Mapping[str, Any]) -> Settings:
    """Put together what the command line, the environment, the fixture and the ini file say.

    Args:
        config: The session's config.
        given: What the ``pgflow_settings`` fixture returned.

    Raises:
        pytest.UsageError: A key that does not exist or a value that means nothing; the text names the place.
    """
    _refuse_unknown(given)
    said = {name: _closest(config, given, name) for name in CHECKS}
    _choose_one(said)
    settings = Settings(**{name: _checked(name, item) for name, item in said.items() if item.rank != _DEFAULT})
    if settings.reuse and settings.server == "docker":
        raise pytest.UsageError(f"{said['reuse'].where}: a docker server goes with its session, none is left to reuse")
    return settings


def _refuse_unknown(given: Mapping[str, Any]) -> None:
    for key in given:
        if key not in CHECKS:
            raise pytest.UsageError(
                f"pgflow_settings has no key {key!r}{did_you_mean(str(key), CHECKS)}; known: {', '.join(CHECKS)}"
            )


def _closest(config: pytest.Config, given: Mapping[str, Any], name: str) -> _Said:
    if (value := config.getoption(f"pgflow_{name}", None)) is not None:
        return _Said(_placed(name, value, config.invocation_params.dir), _COMMAND_LINE, f"--pgflow-{name}")
    if name == "dsn" and (value := os.environ.get(DSN_VARIABLE)):
        return _Said(value, _ENVIRONMENT, DSN_VARIABLE)
    if (value := given.get(name)) is not None:
        return _Said(_placed(name, value, config.rootpath), _FIXTURE, f"pgflow_settings[{name!r}]")
    if name != "setup" and (value := config.getini(f"pgflow_{name}")):
        where = f"pgflow_{name} of {_ini_name(config.inipath)}"
        return _Said(_placed(name, value, config.rootpath), _INI, where)
    return _Said(None, _DEFAULT, "default")


def _placed(name: str, value: Any, folder: Path) -> Any:
    """Return the value; a path as it is from `folder`."""
    return folder / value if name == "migrations" and isinstance(value, str | Path) else value


def _choose_one(said: dict[str, _Said]) -> None:
    dsn, server = said["dsn"], said["server"]
    if _DEFAULT in (dsn.rank, server.rank) or server.value == "auto":
        return
    if dsn.rank == server.rank:
        raise pytest.UsageError(f"{dsn.where} and {server.where} contradict each other: give one of them")
    loser = "dsn" if server.rank < dsn.rank else "server"
    said[loser] = _Said(None, _DEFAULT, "default")


def _checked(name: str, item: _Said) -> Any:
    try:
        return CHECKS[name](item.value)
    except ValueError as error:
        raise pytest.UsageError(f"{item.where}={item.value!r}: {name} {error}") from None


def _ini_name(path: Path | None) -> str:
    return path.name if path else "the ini file"
