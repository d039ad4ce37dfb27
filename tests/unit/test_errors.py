"""Errors travel: between the processes of a parallel test run, and as copies."""

import copy
import inspect
import pickle
from collections.abc import Callable
from typing import Final

import pytest

from digitorn_testing import SessionHandle, builders
from digitorn_testing import _errors as errors
from digitorn_testing._errors import DigitornError
from digitorn_testing._exchanges import Exchange
from digitorn_testing._turns.collect import collect
from digitorn_testing.builders import SessionBuilder, TurnBuilder

HANDLE: Final = SessionHandle(session_id="s-1", app_id="app", daemon_url="http://x")
EXCHANGE: Final = Exchange(operation="get_app", method="GET", path="/api/apps/a", status=404, retry=2)


def api_error(kind: type[errors.ApiError]) -> errors.ApiError:
    error = kind(EXCHANGE, "no", {"why": ["not"]}, "Try again")
    error.may_be_done = True
    return error


def event_timeout() -> errors.EventTimeout:
    turn = TurnBuilder().user("hi").tool("Bash", {"command": "ls"}).pending_approval()
    session = SessionBuilder().turn(turn)
    events = [*session.events(), builders.event(builders.payloads.preview_custom(), seq=99)]
    error = errors.EventTimeout("nothing came", events, session.pending_approvals())
    error.result = collect(events, session=HANDLE, correlation_id=turn.correlation_id)
    error.add_note("seen by a test")
    return error


def rate_limited() -> errors.RateLimited:
    error = errors.RateLimited(EXCHANGE, "slow down")
    error.retry_after = 1.5
    return error


def refused(kind: type[errors.ApiError]) -> Callable[[], DigitornError]:
    return lambda: api_error(kind)


def plain(kind: type[DigitornError]) -> Callable[[], DigitornError]:
    return lambda: kind("what happened")


SAMPLES: Final[dict[type[DigitornError], Callable[[], DigitornError]]] = {
    errors.DaemonUnreachable: lambda: errors.DaemonUnreachable("http://x", "refused", 3),
    errors.UnconfirmedMessage: lambda: errors.UnconfirmedMessage(
        "http://x",
        errors.DaemonUnreachable("http://x", "cut off"),
        client_message_id="cm-1",
        session_id="s",
        attempts=1,
    ),
    errors.UntrustedCertificate: lambda: errors.UntrustedCertificate("https://x", "expired"),
    errors.InsecureConnection: lambda: errors.InsecureConnection("http://x"),
    **{
        kind: refused(kind)
        for kind in (
            errors.ApiError,
            errors.Unauthorized,
            errors.Forbidden,
            errors.NotFound,
            errors.Conflict,
            errors.InvalidRequest,
            errors.ServerError,
        )
    },
    errors.RateLimited: rate_limited,
    errors.ContractViolation: lambda: errors.ContractViolation("an answer", ["a: missing", "b: null"]),
    errors.TooLarge: lambda: errors.TooLarge("an answer", ["1 byte too much"]),
    errors.EventTimeout: event_timeout,
    errors.AbortFailed: lambda: errors.AbortFailed("fp-1", "it waits"),
    errors.JoinRefused: lambda: errors.JoinRefused("s-1", "not found", hint="Look again"),
    errors.RecordingError: lambda: errors.RecordingError("a.jsonl", "empty"),
    errors.RecordingDamaged: lambda: errors.RecordingDamaged(
        "a.jsonl", line=3, offset=40, lost=7, reason="cut off"
    ),
    errors.AppNotPortable: lambda: errors.AppNotPortable("a", {"t": "is a function"}),
    **{
        kind: plain(kind)
        for kind in (
            DigitornError,
            errors.StreamClosed,
            errors.ClientClosed,
            errors.WrongEventLoop,
            errors.CallbackFailed,
            errors.UnexpectedApproval,
        )
    },
}

CLASSES: Final = [
    one
    for _, one in inspect.getmembers(errors, inspect.isclass)
    if issubclass(one, DigitornError) and one.__module__ == errors.__name__
]

WAYS: Final[list[Callable[[DigitornError], DigitornError]]] = [
    lambda one: pickle.loads(pickle.dumps(one)),
    copy.copy,
    copy.deepcopy,
]


def told(error: DigitornError) -> dict[str, str]:
    """What an error tells; not all of it can be compared for equality."""
    return {name: repr(value) for name, value in vars(error).items()}


@pytest.mark.parametrize("kind", CLASSES, ids=lambda one: one.__name__)
@pytest.mark.parametrize("again", WAYS, ids=["pickled", "copied", "copied deeply"])
def test_an_error_comes_out_as_it_went_in(
    kind: type[DigitornError], again: Callable[[DigitornError], DigitornError]
) -> None:
    error = SAMPLES[kind]()
    same = again(error)
    assert type(same) is kind
    assert same is not error
    assert (str(same), same.args, told(same)) == (str(error), error.args, told(error))


def test_a_copy_has_attributes_of_its_own() -> None:
    error = errors.NotFound(EXCHANGE, "no")
    same = copy.copy(error)
    same.reason = "another"
    assert error.reason == "no"
    assert (same.status, same.attempts) == (404, 3)
