"""The sample plugin package: built, installed, found by its entry point, and heard by a webhook."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.cli.command import pgflow_mp
from tests.docs.documents import ROOT

HOPELESS = """
from pgflow_mp import Flow, step


class Hopeless(Flow, max_attempts=1):
    @step
    def pay(flow_input):
        raise ValueError("no money")
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the package as installers leave it."""
    folder = tmp_path_factory.mktemp("webhook")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(build, cwd=ROOT / "examples/webhook", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


@pytest.fixture
def webhook():
    """An address, and what was posted there."""
    posted = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(404 if self.path == "/refuse" else 204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", posted
    server.shutdown()
    thread.join()
    server.server_close()


def run(folder, installed, dsn, url):
    (folder / "hopeless.py").write_text(HOPELESS)
    env = {"PYTHONPATH": str(installed), "PGFLOW_WEBHOOK_URL": url}
    return pgflow_mp("run", "hopeless.py", "--dsn", dsn, "--processes", "1", cwd=folder, env=env)


def test_the_installed_package_is_listed(installed, tmp_path):
    told = pgflow_mp("plugins", "--json", cwd=tmp_path, env={"PYTHONPATH": str(installed)})
    assert json.loads(told.stdout) == [
        {
            "name": "webhook",
            "origin": "pgflow-webhook 1.0.0",
            "reference": "pgflow_webhook",
            "hooks": ["pgflow_run_failed", "pgflow_events_dropped"],
        }
    ]


def test_an_installed_plugin_can_be_switched_off(installed, tmp_path):
    env = {"PYTHONPATH": str(installed), "PGFLOW_DISABLE_PLUGINS": "webhook"}
    assert "no plugins" in pgflow_mp("plugins", cwd=tmp_path, env=env).stdout


def test_a_failed_run_is_posted(installed, webhook, tmp_path, pgflow_dsn):
    url, posted = webhook
    assert run(tmp_path, installed, pgflow_dsn, url).returncode == 1
    (message,) = posted
    assert (message["event"], message["flow"]) == ("run_failed", "hopeless")
    assert message["error"].startswith("ValueError: no money")
    assert message["seconds"] > 0


@pytest.mark.slow
def test_a_post_that_is_refused_is_logged_with_the_name_of_the_plugin_and_harms_nothing(
    installed, webhook, tmp_path, pgflow_dsn
):
    url, posted = webhook
    done = run(tmp_path, installed, pgflow_dsn, f"{url}/refuse")
    assert len(posted) == 1
    assert "plugin `webhook` failed in pgflow_run_failed (1 so far); the work goes on" in done.stderr
    assert "HTTP Error 404" in done.stderr
    assert "ValueError: no money" in done.stderr
