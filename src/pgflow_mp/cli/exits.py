"""Exit codes, and how an error becomes one sentence on stderr.

Scripts tell "my flow failed" from "I typed it wrong" from "the database is away" by the code alone:

====  =============================================================================================
 0    done
 1    the run failed; there is no such flow or run; `doctor` found something that needs a person; `compile
      --check` found a difference; something is in the way of `adopt`; the database refused (a flow whose shape
      differs, rights that are missing); or the output could not be written
 2    usage or bad input: nothing was started, nothing in the database was touched
 3    the database cannot be used: unreachable, not installed, or no server to be had
 70   a defect of pgflow-mp itself (EX_SOFTWARE of sysexits.h)
 124  the run did not end within ``--timeout`` (the code of timeout(1))
 130  interrupted by Ctrl-C (128 + SIGINT, as shells report it)
 143  terminated (128 + SIGTERM)
====  =============================================================================================
"""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING, Final

import psycopg

from pgflow_mp import connecting, errors

if TYPE_CHECKING:
    from signal import Signals
    from typing import TypeGuard

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
NO_DATABASE: Final = 3
DEFECT: Final = 70
TIMED_OUT: Final = 124
INTERRUPTED: Final = 130


class UsageError(errors.PgflowError):
    """What was asked for cannot be done: check the command's arguments."""


class Interrupted(errors.PgflowError):
    """A signal ended the command before its work was done.

    Attributes:
        signal: Which one.
    """

    def __init__(self, signal: Signals, message: str) -> None:
        self.signal = signal
        super().__init__(f"interrupted by {signal.name}: {message}")


#: First match wins, so subclasses stand before their bases.
_CODES: Final[tuple[tuple[type[BaseException], int], ...]] = (
    (UsageError, USAGE),
    (errors.DefinitionError, USAGE),
    (errors.InvalidInput, USAGE),
    (errors.InvalidRunId, USAGE),
    (errors.InvalidCursor, USAGE),
    (errors.InvalidSchedule, USAGE),
    (errors.InvalidDsn, USAGE),
    (errors.PluginError, USAGE),
    (errors.DatabaseUnreachable, NO_DATABASE),
    (errors.NotInstalled, NO_DATABASE),
    (errors.ServerUnavailable, NO_DATABASE),
    (errors.InstallError, NO_DATABASE),
    (errors.RunTimeout, TIMED_OUT),
    (errors.PgflowError, FAILED),
    (psycopg.OperationalError, NO_DATABASE),
    (psycopg.Error, FAILED),
)

#: What the system answers when there is no room for what we write: a full disk, a quota, a broken device (write(2)).
_CANNOT_WRITE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def code_of(error: BaseException) -> int:
    """The exit code for an error; `DEFECT` for one that nobody expected."""
    if isinstance(error, Interrupted):
        return 128 + error.signal
    if _cannot_write(error):
        return FAILED
    return next((code for kind, code in _CODES if isinstance(error, kind)), DEFECT)


def sentence_of(error: BaseException) -> str:
    """What to tell a person about an error, without a traceback."""
    if isinstance(error, errors.PgflowError):
        return str(error)
    if isinstance(error, psycopg.Error):
        return _database_words(error)
    if _cannot_write(error):
        return f"the output cannot be written: {error.strerror}"
    return (
        f"{type(error).__name__}: {error}\n"
        "This is a defect of pgflow-mp; the same command with --traceback shows where it happened."
    )


def _database_words(error: psycopg.Error) -> str:
    """The server's own message and hint, or why no server spoke."""
    spoke = error.diag.message_primary is not None
    hint = f"\nHint: {error.diag.message_hint}" if error.diag.message_hint else ""
    return f"the database {'answered' if spoke else 'cannot be used'}: {connecting.sentence_of(error)}{hint}"


def _cannot_write(error: BaseException) -> TypeGuard[OSError]:
    return isinstance(error, OSError) and error.errno in _CANNOT_WRITE


def report(error: BaseException) -> int:
    """Write the sentence to stderr and give the exit code."""
    print(f"pgflow-mp: {sentence_of(error)}", file=sys.stderr, flush=True)
    return code_of(error)


def wants_traceback(flag: bool) -> bool:  # noqa: FBT001 - the value of --traceback as parsed
    """Whether errors are shown with their Python stack: ``--traceback`` or ``PGFLOW_DEBUG=1``."""
    return flag or os.environ.get("PGFLOW_DEBUG", "") not in {"", "0"}
