"""FiftyOne's App serves the plugin's folder to whoever can reach it: nothing but what a browser needs may be there."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import pytest

ROOT = Path(__file__).resolve().parents[2]
LONG = 120  # seconds that nothing takes

SECRETS = {
    "CVAT_URL": "http://user-in-url:Geheim-0@127.0.0.1:9",
    "CVAT_TOKEN": "Geheim-1-personal-access-token",
    "CVAT_USERNAME": "Geheim-2-anna",
    "CVAT_PASSWORD": "Geheim-3-password",
    "CVAT_ORG": "Geheim-4-org",
    "CVAT_WEBHOOK_SECRET": "Geheim-5-webhook",
    "AWS_SECRET_ACCESS_KEY": "Geheim-6-cloud",
}
SECRET = re.compile(rb"Geheim-\d|BEGIN [A-Z ]*PRIVATE KEY")

SUSPECTS = """
.env .env.local .envrc .netrc .git/config .git/HEAD .git/index .gitignore .ssh/id_rsa .venv/pyvenv.cfg
setup.cfg pyproject.toml Makefile README.md CHANGELOG.md requirements.txt .ci/run .coverage
plugin/cli.py plugin/operators/base.py integrations/cvat/client.py integrations/fiftyone_/ledger.py engine/label.py
models/spam/weights/spam-1.safetensors models/spam/weights/spam-1.json tests/conftest.py benchmarks/speed.py docs/app.md
spam_plugin spam_plugin/__init__.py spam_plugin.egg-info/PKG-INFO spam_plugin.egg-info/SOURCES.txt
__pycache__ __pycache__/ __pycache__/__init__.cpython-{tag}.pyc nowhere
journal.json journal.db spam.db db/mongod.log mongo/WiredTiger storage.bson app-5151.log worker-5151.log
out/effort.jsonl assets assets/ assets/.env index.html fiftyone.yaml config.json
""".format(tag=f"{sys.version_info[0]}{sys.version_info[1]}").split()  # fmt: skip

OUT_OF_IT = [
    way + target
    for way in (
        "../", "../../", "../../../", "..%2f", "..%2f..%2f", "..%2F..%2F..%2f", "%2e%2e/%2e%2e/", "%2e%2e%2f%2e%2e%2f",
        "%252e%252e%252f", "..%5c..%5c", "....//....//", "assets/../../", "assets/..%2f..%2f", "__pycache__/../../",
        "..;/", "%00/../", "//", "/",
    )
    for target in (".env", "elsewhere/.env", "plugins/../.env", "etc/passwd", "../../../../../../etc/passwd")
]  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The App as ``spam-plugin app`` starts it, from a folder full of secrets, with secrets in its environment."""
    home = tmp_path_factory.mktemp("served")
    for folder in ("", "elsewhere"):
        (home / folder).mkdir(exist_ok=True)
        (home / folder / ".env").write_text("CVAT_PASSWORD=Geheim-7-in-a-file\n")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", "from spam_plugin.plugin.cli import main; main()"),
            *("app", "--json", "--no-worker", "--port", str(port)),
        ],
        cwd=home / "elsewhere", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={
            **os.environ, **SECRETS,
            "FIFTYONE_PLUGINS_DIR": str(home / "plugins"), "XDG_CACHE_HOME": str(home / "cache"),
        },
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    guard = threading.Timer(LONG, process.kill)
    guard.start()
    line = process.stdout.readline()
    assert line, process.stderr.read()
    guard.cancel()

    def ask(path: str, body: dict | None = None) -> tuple[int, bytes]:
        """One request, whose path no library mends."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LONG)
        try:
            sent = None if body is None else json.dumps(body)
            connection.request("GET" if body is None else "POST", path, sent, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    yield SimpleNamespace(ask=ask, plugins=home / "plugins", home=home)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=LONG)
    assert process.returncode == 0, said
    assert not SECRET.search(said.encode()), said


def test_what_the_browser_needs_is_served_as_it_is(served):
    assert served.ask("/operators", {})[0] == 200  # from here on the plugin has been loaded
    for path in ("fiftyone.yml", "assets/spam.svg", "assets/label.svg"):
        assert served.ask(f"/plugins/spam-plugin/{path}") == (200, (ROOT / path).read_bytes())


def test_nothing_else_of_the_plugin_is_served(served):
    """Every file that is there, however it came to be there, and every usual suspect."""
    served.ask("/operators", {})
    folder = served.plugins / "spam-plugin"
    there = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    got = {path for path in {*SUSPECTS, *there} if served.ask(f"/plugins/spam-plugin/{quote(path)}")[0] == 200}
    assets = {f"assets/{path.name}" for path in (ROOT / "assets").glob("*") if path.suffix in (".svg", ".js")}
    assert got == {"fiftyone.yml", "__init__.py"} | assets


@pytest.mark.parametrize("mount", ["/plugins/spam-plugin/", "/plugins/", "/"])
def test_no_way_leads_out_of_the_plugin(served, mount):
    for path in OUT_OF_IT:
        status, body = served.ask(mount + path)
        assert not SECRET.search(body), f"{mount}{path}: {status}"
        assert b"root:x:0:0" not in body, f"{mount}{path}: {status}"


def test_no_secret_of_the_environment_is_in_what_the_app_says(served):
    folder = served.plugins / "spam-plugin"
    paths = [f"/plugins/spam-plugin/{path.relative_to(folder)}" for path in folder.rglob("*") if path.is_file()]
    answers = [served.ask(path) for path in ["/", "/fiftyone", *paths]]
    answers.append(served.ask("/operators", {}))
    answers.append(served.ask("/operators/resolve-placements", {"view": []}))
    answers.append(served.ask("/events", {"initializer": {}, "events": [], "subscription": "x", "polling": True}))
    uris = [
        one["uri"] for one in json.loads(served.ask("/operators", {})[1])["operators"] if "spam-plugin" in one["uri"]
    ]
    assert uris
    for uri in uris:
        request = {"operator_uri": uri, "params": {}, "view": [], "target": "inputs"}
        answers.append(served.ask("/operators/resolve-type", request))
    assert sum(status == 200 for status, _ in answers) > len(paths) + 4
    for status, body in answers:
        assert not SECRET.search(body), (status, body[:200])


def test_no_secret_is_in_the_logs_or_in_the_plugin_s_folder(served):
    served.ask("/operators", {})
    logs = list((served.home / "cache").rglob("*.log"))
    assert logs
    for path in [*logs, *(path for path in (served.plugins / "spam-plugin").rglob("*") if path.is_file())]:
        assert not SECRET.search(path.read_bytes()), path
