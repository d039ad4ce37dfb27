"""The arguments of a client, where something else makes it."""

from typing import TypedDict

from digitorn_testing._approvals.policies import ApprovalPolicy
from digitorn_testing._transport.options import ConnectionOptions
from digitorn_testing._transport.retry import RetryPolicy


class ClientOptions(TypedDict, total=False):
    """Arguments of `DevClient` and `AsyncDevClient`, where something else makes them; see there.

    Attributes:
        daemon_url: Base URL of the daemon.
        auto_approve: Approve tool calls that ask in turns of this client.
        timeout: Seconds for one call, and for a turn.
        token: Access token.
        approvals: Decides what asks in turns of this client.
        keep_exchanges: How many of the last REST calls the client keeps.
        retries: When a REST call is sent again; None for never.
        connection_options: Whom to trust, what to send in clear, how much to take.
    """

    daemon_url: str | None
    auto_approve: bool
    timeout: float
    token: str | None
    approvals: ApprovalPolicy | None
    keep_exchanges: int
    retries: RetryPolicy | None
    connection_options: ConnectionOptions | None
