"""Which account a server runs as.

Postgres refuses to run as root, for good reason. As root (most containers, many CI machines) the
server therefore runs as an account that exists already: ``postgres``, else ``nobody``. No account is
made and no permission outside our own folders is changed. Any other user runs the server as itself.
"""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from pgflow_mp.postgres.unavailable import Unavailable

if TYPE_CHECKING:
    from pathlib import Path

CANDIDATES = ("postgres", "nobody")


class RunAs(TypedDict, total=False):
    """The arguments of `subprocess.Popen` that make a program run as an account."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True, slots=True)
class Account:
    """An unprivileged account that root lends to a server.

    Attributes:
        name: Its login name.
        uid: Its user id, never 0.
        gid: Its primary group.
    """

    name: str
    uid: int
    gid: int


def server_account() -> Account | None:
    """Choose the account for a new server: None means the current user itself.

    Raises:
        Unavailable: We are root and neither candidate exists.
    """
    if os.geteuid() != 0:
        return None
    for name in CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(name, entry.pw_uid, entry.pw_gid)
    raise Unavailable(
        f"Postgres does not run as root, and there is no account {' or '.join(CANDIDATES)} to run it as; "
        "create one (`useradd --system postgres`) or run as another user"
    )


def owner_of(folder: Path) -> Account | None:
    """Return the account that existing data in `folder` belong to, as `server_account` would.

    Raises:
        Unavailable: We are root and the data are root's, or belong to an id without an account.
    """
    if os.geteuid() != 0:
        return None
    uid = folder.stat().st_uid
    if uid == 0:
        raise Unavailable(f"the data in {folder} belong to root, which Postgres does not run as; chown them")
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        raise Unavailable(f"the data in {folder} belong to user id {uid}, which has no account") from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def run_as(account: Account | None) -> RunAs:
    """Return what `subprocess` needs to run a program as `account`, without our own groups."""
    if account is None:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


def give(folder: Path, account: Account | None) -> None:
    """Make `folder`, which is ours, the account's own."""
    if account is not None:
        os.chown(folder, account.uid, account.gid)


def can_enter(folder: Path, account: Account | None) -> bool:
    """Say whether every existing folder on the way to (and including) `folder` lets the account through.

    Judged by the permission bits; access lists are not asked.
    """
    if account is None:
        return True
    path = folder.resolve()
    return all(_lets_through(each.stat(), account) for each in (path, *path.parents) if each.exists())


def _lets_through(status: os.stat_result, account: Account) -> bool:
    if status.st_uid == account.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == account.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)
