"""The demo, and the examples of the README and of the page on messages, on the released daemon."""

import os
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Self
from uuid import uuid4

import pytest

from digitorn_testing import DevClient
from digitorn_testing._plugin import real
from digitorn_testing.fakes import FakeModel, FakeModelServer
from support.documents import Example, examples

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(150)
def test_the_demo(dev_client: DevClient) -> None:
    outside = {name: value for name, value in os.environ.items() if not name.startswith("DIGITORN_")}
    token = dev_client._get_auth_token()
    assert token is not None
    ran = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "docs" / "examples" / "demo.py")],
        env={**outside, "DIGITORN_DAEMON_URL": dev_client.daemon_url, "DIGITORN_TOKEN": token},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    print(ran.stdout)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"daemon: {dev_client.daemon_url}" in ran.stdout
    assert "answer: There are three: README.md, schema and src." in ran.stdout
    assert ran.stdout.count("PASS") == 4


class RealDaemonOfTheRun:
    """Takes the place of `FakeDaemon` in a page, so that the page's code talks to the released daemon.

    Its apps are deployed there, and the models of their scripts serve as providers.
    """

    access: ClassVar[tuple[str, str]]
    started: ClassVar[list["RealDaemonOfTheRun"]] = []

    def __init__(self, *, model: FakeModel | None = None) -> None:
        self.url, self._token = self.access
        self._model = model
        self._client = DevClient(self.url, token=self._token)
        self._servers = ExitStack()
        self._apps: list[str] = []
        self.started.append(self)

    def start(self) -> Self:
        """Does nothing: it runs."""
        return self

    def stop(self) -> None:
        """Removes what the page has added. May be called again."""
        if self not in self.started:
            return
        self.started.remove(self)
        for app_id in self._apps:
            self._client.delete_app(app_id)
        self._client.close()
        self._servers.close()

    def token(self) -> str:
        """Token of the run's administrator."""
        return self._token

    def client(self) -> DevClient:
        """A client of the page's own."""
        return DevClient(self.url, token=self._token)

    def add_app(self, app_id: str, *, model: FakeModel | None = None) -> None:
        """Deploys an app whose tools ask."""
        found = model or self._model
        assert found is not None
        server = self._servers.enter_context(FakeModelServer(found))
        app = real.app_of(app_id, server).with_default_policy("approve").with_questions()
        self._client.deploy_app(app, force=True, secrets={real.KEY_SECRET: server.api_key})
        self._apps.append(app_id)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


PAGES = [ROOT / "README.md", ROOT / "docs" / "messages.md"]


def with_app(example: Example, app_id: str) -> Example:
    """The example with an app of its own: the daemon is slow to replace one (docs/real-daemon.md)."""
    return replace(
        example,
        source=example.source.replace("my-app", app_id),
        printed=example.printed and example.printed.replace("my-app", app_id),
        needs=example.needs and with_app(example.needs, app_id),
    )


@pytest.mark.timeout(240)
@pytest.mark.parametrize("example", [one for page in PAGES for one in examples(page)], ids=str)
def test_an_example_runs(example: Example, dev_client: DevClient, monkeypatch: pytest.MonkeyPatch) -> None:
    token = dev_client._get_auth_token()
    assert token is not None
    monkeypatch.setattr(RealDaemonOfTheRun, "access", (dev_client.daemon_url, token), raising=False)
    monkeypatch.setattr("digitorn.testing.fakes.FakeDaemon", RealDaemonOfTheRun)
    try:
        with_app(example, f"my-app-{uuid4().hex[:8]}").run()
    finally:
        for daemon in list(RealDaemonOfTheRun.started):
            daemon.stop()
