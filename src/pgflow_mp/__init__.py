"""pgflow for Python: flows in Postgres, steps in real processes."""

from __future__ import annotations

__version__ = "0.1.0"
