"""The databases of the core's tests."""

from tests.core.conftest import _silent_dsn, db

__all__ = ["_silent_dsn", "db"]
