"""``python -m pgflow_mp`` is ``pgflow-mp``."""

from __future__ import annotations

import sys

from pgflow_mp.cli import main

if __name__ == "__main__":  # children of the pool import the main module too
    sys.exit(main())
