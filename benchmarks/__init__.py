"""Speed in ratios: every figure is compared with a yardstick measured in the same run (D-30).

`python -m benchmarks core` takes the SQL alone, `python -m benchmarks engine` the whole worker.
"""

from __future__ import annotations

import os
import tempfile

# A throw-away server has its data in memory where there is room, and a commit then waits for nothing.
os.environ.setdefault("TMPDIR", tempfile.gettempdir())
