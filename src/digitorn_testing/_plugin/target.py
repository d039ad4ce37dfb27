"""The daemon that the tests of a run talk to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from . import options, real

if TYPE_CHECKING:
    from digitorn_testing._approvals.policies import ApprovalPolicy
    from digitorn_testing._client._async.client import AsyncDevClient
    from digitorn_testing._client._sync.client import DevClient
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
    """

    url: str
    token: str | None = field(repr=False)
    embedded: FakeDaemon | None = None
    is_real: bool = False

    def client(self, approvals: ApprovalPolicy) -> DevClient:
        """A new client of the daemon.

        Args:
            approvals: Decides the approvals.
        """
        from digitorn_testing._client._sync.client import DevClient

        return DevClient(self.url, token=self.token, approvals=approvals)

    def async_client(self, approvals: ApprovalPolicy) -> AsyncDevClient:
        """A new asynchronous client of the daemon.

        Args:
            approvals: Decides the approvals.
        """
        from digitorn_testing._client._async.client import AsyncDevClient

        return AsyncDevClient(self.url, token=self.token, approvals=approvals)


def given(config: pytest.Config) -> Target | None:
    """The daemon named by the options or the environment; None if there is none."""
    if (access := real.access(config)) is not None:
        return Target(access["url"], access["token"], is_real=True)
    url = options.url(config)
    return Target(url, options.token(config)) if url else None
