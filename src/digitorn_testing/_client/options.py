"""The arguments of a client, for functions that make one and pass them on."""

from typing import TypedDict

from digitorn_testing._approvals.policies import ApprovalPolicy
from digitorn_testing._transport.options import ConnectionOptions
from digitorn_testing._transport.retry import RetryPolicy


class ClientOptions(TypedDict, total=False):
    """Arguments of `DevClient` and `AsyncDevClient`, for functions that pass them on; see those classes.

    Attributes:
        daemon_url: Base URL of the daemon.
        auto_approve: Approve every tool call that needs approval in turns of this client.
        timeout: Seconds for one call, and for one turn.
        token: Access token.
        approvals: Decides the approvals in turns of this client.
        keep_exchanges: How many of the latest REST calls the client keeps.
        retries: When to send a REST call again; None for never.
        connection_options: Certificates, plain HTTP and size limits.
    """

    daemon_url: str | None
    auto_approve: bool
    timeout: float
    token: str | None
    approvals: ApprovalPolicy | None
    keep_exchanges: int
    retries: RetryPolicy | None
    connection_options: ConnectionOptions | None
