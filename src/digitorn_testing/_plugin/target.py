"""The daemon that the tests of a run talk to."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from . import options, real

if TYPE_CHECKING:
    from digitorn_testing._approvals.policies import ApprovalPolicy
    from digitorn_testing._client._async.client import AsyncDevClient
    from digitorn_testing._client._sync.client import DevClient
    from digitorn_testing._recordings.recording import Recording
    from digitorn_testing.fakes import FakeDaemon

NO_DAEMON = "needs a daemon: pass --digitorn-url or --digitorn-real, or set $DIGITORN_DAEMON_URL"


@dataclass(frozen=True, slots=True)
class Target:
    """A daemon, and the token for it.

    Attributes:
        url: Its base URL.
        token: Access token; None if there is none.
        embedded: The daemon itself, if it is an embedded one.
        is_real: Whether the plugin has started it as a process of its own.
        replayed: What it serves, if it replays a recording.
        recording: Where its clients record; None if they do not.
    """

    url: str
    token: str | None = field(repr=False)
    embedded: FakeDaemon | None = None
    is_real: bool = False
    replayed: Recording | None = None
    recording: Path | None = None

    def client(self, approvals: ApprovalPolicy) -> DevClient:
        """A new client of the daemon.

        Args:
            approvals: Decides the approvals.
        """
        from digitorn_testing._client._sync.client import DevClient

        client = DevClient(self.url, token=self.token, approvals=approvals)
        if self.recording is not None:
            client.record(self.recording)
        return client

    def async_client(self, approvals: ApprovalPolicy) -> AsyncDevClient:
        """A new asynchronous client of the daemon.

        Args:
            approvals: Decides the approvals.
        """
        from digitorn_testing._client._async.client import AsyncDevClient

        client = AsyncDevClient(self.url, token=self.token, approvals=approvals)
        if self.recording is not None:
            client.record(self.recording)
        return client


def given(config: pytest.Config) -> Target | None:
    """The daemon named by the options or the environment; None if there is none."""
    if (access := real.access(config)) is not None:
        return Target(access["url"], access["token"], is_real=True)
    url = options.url(config)
    return Target(url, options.token(config)) if url else None
