"""Every error that the library raises on purpose."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ._base_error import PUBLISHED
from ._base_error import DigitornError as DigitornError

if TYPE_CHECKING:
    from ._events.event import LiveEvent
    from ._exchanges import Exchange
    from ._generated.events import EventPayload
    from ._generated.models import PendingApproval
    from ._turns.results import TurnResult


class DaemonUnreachable(DigitornError):
    """No daemon answered: nothing listens at the URL, the connection broke, or the answer came too late.

    Attributes:
        url: The daemon's URL.
        attempts: How many attempts were made.
        reason: What happened, without advice.
        may_be_done: Whether the last attempt reached a daemon, which may have executed it.
    """

    hint = "Start one, or pass daemon_url= or set $DIGITORN_DAEMON_URL"
    may_be_done = False

    def __init__(self, url: str, what: str, attempts: int = 1, *, hint: str | None = None) -> None:
        tried = f" ({attempts} attempts)" if attempts > 1 else ""
        said = (
            f"no daemon answered at {url}: {what}"
            if hint is None
            else f"no answer to {what} from {url}: timed out"
        )
        super().__init__(f"{said}{tried}. {hint or self.hint}")
        self.url = url
        self.attempts = attempts
        self.reason = what


class UntrustedCertificate(DaemonUnreachable):
    """The server cannot prove that it is the daemon: its certificate is not trusted."""

    hint = "If it is signed by a CA of yours, pass ConnectionOptions(ca_file=...) or set $DIGITORN_CA_FILE"


class UnconfirmedMessage(DaemonUnreachable):
    """A message was sent, and the daemon did not tell whether it took it.

    It was not found in the session's log, or the log could not be read. It was not sent again, since it could
    run twice. It may still arrive.

    Attributes:
        client_message_id: The message's id, as in its `user_message` event.
        session_id: The session; None if the message was to create one.
    """

    may_be_done = True

    def __init__(
        self,
        url: str,
        failure: DigitornError,
        *,
        client_message_id: str,
        session_id: str | None,
        attempts: int,
        was_read: bool = True,
    ) -> None:
        place = "its session's log" if session_id else "a new session"
        if was_read:
            why = f"it was not found in {place}, and was not sent again because it could run twice"
        else:
            why = f"{place if session_id else 'the list of sessions'} could not be read either"
        said = f"It is unknown whether the daemon took message {client_message_id!r}: {why}"
        DigitornError.__init__(self, f"{failure}. {said}")
        self.url = url
        self.attempts = attempts
        self.reason = said
        self.client_message_id = client_message_id
        self.session_id = session_id


class InsecureConnection(DigitornError, ValueError):
    """A token or a password would go over plain HTTP to another machine. Nothing was sent.

    Attributes:
        url: The daemon.
    """

    def __init__(self, url: str) -> None:
        super().__init__(
            f"{url} is plain HTTP and another machine: whoever is on the way could read the token. "
            "Use https://, or allow it with ConnectionOptions(allow_plain_http=True) "
            "or $DIGITORN_ALLOW_PLAIN_HTTP=1"
        )
        self.url = url


class ApiError(DigitornError):
    """The daemon refused a call. Under HTTP 200 this is the envelope's `success: false`.

    Attributes:
        exchange: The call, as in `client.exchanges`.
        reason: The daemon's own words; empty if it gave no reason.
        data: The data that the daemon sent with its refusal.
        may_be_done: Whether an earlier attempt of this call got no answer and may have been executed.
    """

    hint = ""
    may_be_done = False

    def __init__(
        self, exchange: "Exchange", reason: str, data: object = None, hint: str | None = None
    ) -> None:
        advice = self.hint if hint is None else hint
        said = f"{reason}: {exchange}" if reason else f"{exchange} and gave no reason"
        if reason.startswith("<"):
            # A page, which does not come from a daemon.
            said = f"{exchange}: {reason}"
        super().__init__(said + (f". {advice}" if advice else ""))
        self.exchange = exchange
        self.reason = reason
        self.data = data

    @property
    def status(self) -> int:
        """HTTP status of the answer."""
        # A refused call was answered, so it always has a status.
        return self.exchange.status or 0

    @property
    def attempts(self) -> int:
        """How many times the call was sent."""
        return self.exchange.retry + 1


class Unauthorized(ApiError):
    """401: the token is missing, wrong or expired."""

    hint = "Log in again, or pass a fresh token"


class Forbidden(ApiError):
    """403: this user may not do that."""

    hint = "The user of this token lacks the permission"


class NotFound(ApiError):
    """404: the resource does not exist or belongs to another user. The daemon does not say which."""

    hint = (
        "Check the ids; an app must be deployed; a session exists from its first message on, "
        "and belongs to the user who sent it"
    )


class Conflict(ApiError):
    """409: the request conflicts with the current state of the resource."""


class InvalidRequest(ApiError):
    """400, 413, 415 or 422: the daemon does not accept the request."""


class RateLimited(ApiError):
    """429: too many requests, or the session's queue is full.

    Attributes:
        retry_after: Seconds to wait before the next try, if the daemon said so.
    """

    hint = "Wait and send again"
    retry_after: float | None = None


class ServerError(ApiError):
    """5xx: the daemon failed, or is not ready yet.

    Attributes:
        retry_after: Seconds to wait before the next try, if the daemon said so.
    """

    retry_after: float | None = None


class ContractViolation(DigitornError):
    """Something arrived that does not match the contract.

    Attributes:
        reasons: What breaks the contract, each with its location.
    """

    verb = "breaks the contract"

    def __init__(self, what: str, reasons: Sequence[str]) -> None:
        super().__init__(f"{what} {self.verb}: " + "; ".join(reasons))
        self.reasons = tuple(reasons)


class TooLarge(ContractViolation):
    """An answer or an event is larger than `ConnectionOptions` allows; the rest of it was not read."""

    verb = "is too large"


class EventTimeout(DigitornError, TimeoutError):
    """The awaited event did not arrive in time.

    Attributes:
        events: The events that did arrive, in order.
        pending_approvals: Approvals that were requested and not resolved.
        result: The turn's result so far, if the wait was for the end of a turn.
    """

    result: "TurnResult | None" = None

    def __init__(
        self,
        message: str,
        events: "Sequence[LiveEvent[EventPayload]]" = (),
        pending_approvals: "Sequence[PendingApproval]" = (),
    ) -> None:
        super().__init__(message)
        self.events = tuple(events)
        self.pending_approvals = tuple(pending_approvals)


class JoinRefused(DigitornError):
    """The daemon did not let the socket into the session.

    Attributes:
        session_id: The session.
        reason: The daemon's own words.
    """

    def __init__(
        self,
        session_id: str,
        reason: str,
        *,
        hint: str = "A session exists from its first message on, and only for the user who sent it",
    ) -> None:
        super().__init__(f"the daemon refused to join session {session_id!r}: {reason}. {hint}")
        self.session_id = session_id
        self.reason = reason


class AbortFailed(DigitornError):
    """A turn was not aborted, and goes on.

    Attributes:
        correlation_id: The turn.
        reason: Why.
    """

    def __init__(self, correlation_id: str, reason: str) -> None:
        super().__init__(f"turn {correlation_id} was not aborted: {reason}")
        self.correlation_id = correlation_id
        self.reason = reason


class StreamClosed(DigitornError):
    """The stream is not open: it was stopped, never started, or lost its connection for good."""


class ClientClosed(DigitornError):
    """The client was closed, and does nothing more. Make a new one."""


class WrongEventLoop(DigitornError, RuntimeError):
    """A client or stream was used on an event loop other than its own, which is still open."""


class RecordingError(DigitornError):
    """A file is not a recording, or does not contain what was requested.

    Attributes:
        path: The file.
    """

    def __init__(self, path: str, what: str) -> None:
        super().__init__(f"{path}: {what}")
        self.path = path


class RecordingDamaged(RecordingError, UserWarning):
    """A recording is cut off or damaged. Everything before the damage can be read.

    Attributes:
        line: The first line that cannot be read, counted from 1.
        offset: Where that line begins, in bytes.
        lost: Bytes from there to the end of the file.
        reason: What is wrong with it.
    """

    def __init__(self, path: str, *, line: int, offset: int, lost: int, reason: str) -> None:
        super().__init__(
            path, f"damaged at line {line}, byte {offset}: {reason}; the last {lost} bytes are not read"
        )
        self.line = line
        self.offset = offset
        self.lost = lost
        self.reason = reason


class CallbackFailed(DigitornError):
    """A callback that was registered with `on` raised; the cause is its exception."""


class UnexpectedApproval(DigitornError):
    """`RecordingApprovals` was asked for more decisions than it has."""


class AppNotPortable(DigitornError):
    """An app has parts that only the embedded daemon can run, so it cannot be written as YAML.

    Attributes:
        app_id: The app.
        tools: The tools that cannot be written as YAML.
    """

    def __init__(self, app_id: str, reasons: Mapping[str, str]) -> None:
        why = "; ".join(f"tool {name!r} {reason}" for name, reason in reasons.items())
        super().__init__(
            f"app {app_id!r} cannot be written as YAML: {why}. Deploy it with FakeDaemon.deploy(), "
            "or name tools of the daemon's modules, such as 'Bash' or 'shell.bash'"
        )
        self.app_id = app_id
        self.tools = tuple(reasons)


def _publish() -> None:
    """Gives every error of this module the name under which tests import it."""
    for kind in globals().values():
        if isinstance(kind, type) and issubclass(kind, DigitornError):
            kind.__module__ = PUBLISHED


_publish()
