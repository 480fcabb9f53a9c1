"""Speed in ratios: every figure is compared with a yardstick measured in the same run (D-30).

`python -m benchmarks core` takes the SQL alone, `python -m benchmarks engine` the whole worker.
"""
