"""Errors travel: between the processes of a parallel test run, and as copies."""

import copy
import importlib
import inspect
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeVar

import pytest

import digitorn_testing
from digitorn_codegen._errors import ContractError
from digitorn_codegen._parse import Malformed
from digitorn_testing import EventLog, SessionHandle, ToolDenied, ToolFailed, builders, fakes
from digitorn_testing import _errors as errors
from digitorn_testing._base_error import PUBLISHED
from digitorn_testing._errors import DigitornError
from digitorn_testing._exchanges import Exchange
from digitorn_testing._generated._runtime import Refused, Undecodable
from digitorn_testing._real.errors import RealDaemonNotRunning, RealDaemonUnavailable
from digitorn_testing._turns.collect import collect
from digitorn_testing.builders import SessionBuilder, TurnBuilder
from digitorn_testing.fakes import ModelRequest
from digitorn_testing.fakes._model import failures
from digitorn_testing.fakes._store.apps import DefinitionInvalid

HANDLE: Final = SessionHandle(session_id="s-1", app_id="app", daemon_url="http://x")
EXCHANGE: Final = Exchange(operation="get_app", method="GET", path="/api/apps/a", status=404, retry=2)


E = TypeVar("E", bound=Exception)


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
    return error


def turn_failed() -> digitorn_testing.TurnFailed:
    turn = TurnBuilder().user("hi").error("rate_limited", "slow down")
    log = EventLog.of(SessionBuilder().turn(turn).events())
    return digitorn_testing.TurnFailed(log.turn_result())


def changes_found() -> digitorn_testing.ChangesFound:
    before, after = (
        EventLog.of(SessionBuilder().turn(TurnBuilder().user("hi").text(text)).events())
        for text in ("a", "b")
    )
    return digitorn_testing.ChangesFound(digitorn_testing.compare(before, after))


def rate_limited() -> errors.RateLimited:
    error = errors.RateLimited(EXCHANGE, "slow down")
    error.retry_after = 1.5
    return error


def refused(kind: type[errors.ApiError]) -> Callable[[], DigitornError]:
    return lambda: api_error(kind)


def plain(kind: type[E]) -> Callable[[], E]:
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


def asked() -> ModelRequest:
    return ModelRequest(system_prompt="", messages=(), tools=(), app_id="a", session_id="s")


OTHERS: Final[dict[type[Exception], Callable[[], Exception]]] = {
    **{kind: plain(kind) for kind in (ToolDenied, ToolFailed, fakes.ExampleAnswer)},
    fakes.DaemonNotStarted: lambda: fakes.DaemonNotStarted("start it"),
    fakes.ModelServerNotStarted: lambda: fakes.ModelServerNotStarted("start it"),
    fakes.ModelRequestTimeout: lambda: fakes.ModelRequestTimeout("too late", (asked(),)),
    fakes.NameTaken: lambda: fakes.NameTaken("me is taken"),
    fakes.ScriptMismatch: lambda: fakes.ScriptMismatch("unscripted", (asked(),), ("a text",)),
    RealDaemonNotRunning: lambda: RealDaemonNotRunning("start it"),
    RealDaemonUnavailable: lambda: RealDaemonUnavailable("not here"),
    # Those that are no `DigitornError`, and are made from something else than their text.
    ContractError: lambda: ContractError(Path("openapi.yaml"), "/paths", "what is this"),
    Malformed: lambda: Malformed("/a", "no JSON"),
    DefinitionInvalid: lambda: DefinitionInvalid(["app_id: missing", "agents: missing"]),
    Refused: lambda: Refused("no", {"a": 1}),
    digitorn_testing.ChangesFound: changes_found,
    digitorn_testing.TurnFailed: turn_failed,
    failures.TurnFailed: lambda: failures.TurnFailed("rate_limited", "slow down"),
    Undecodable: lambda: Undecodable(("a: missing", "b: null")),
}

ALL: Final[Mapping[type[Exception], Callable[[], Exception]]] = dict([*SAMPLES.items(), *OTHERS.items()])

CLASSES: Final = [
    one
    for _, one in inspect.getmembers(errors, inspect.isclass)
    if issubclass(one, DigitornError) and one.__module__ in (PUBLISHED, errors.__name__)
]

WAYS: Final[list[Callable[[Exception], Exception]]] = [
    lambda one: pickle.loads(pickle.dumps(one)),
    copy.copy,
    copy.deepcopy,
]


def told(error: Exception) -> dict[str, str]:
    """What an error tells; not all of it can be compared for equality."""
    return {name: repr(value) for name, value in vars(error).items()}


@pytest.mark.parametrize("kind", [*CLASSES, *OTHERS], ids=lambda one: one.__name__)
@pytest.mark.parametrize("again", WAYS, ids=["pickled", "copied", "copied deeply"])
def test_an_error_comes_out_as_it_went_in(
    kind: type[Exception], again: Callable[[Exception], Exception]
) -> None:
    error = ALL[kind]()
    error.add_note("seen by a test")
    same = again(error)
    assert type(same) is kind
    assert same is not error
    assert (str(same), same.args, told(same)) == (str(error), error.args, told(error))


@pytest.mark.parametrize("kind", [*CLASSES, digitorn_testing.TurnFailed, fakes.ScriptMismatch])
def test_an_error_names_the_module_that_tests_import(kind: type[DigitornError]) -> None:
    module = importlib.import_module(kind.__module__)
    assert kind.__module__ in (PUBLISHED, f"{PUBLISHED}.fakes")
    assert getattr(module, kind.__name__) is kind
    # That module may be the daemon's own library, so that pickles do not need it.
    assert PUBLISHED.encode() not in pickle.dumps(ALL[kind]())


def test_every_published_error_is_among_them() -> None:
    published = {
        one
        for module in (digitorn_testing, fakes)
        for name in module.__all__
        if inspect.isclass(one := getattr(module, name)) and issubclass(one, BaseException)
    }
    assert published <= ALL.keys()


def test_a_copy_has_attributes_of_its_own() -> None:
    error = errors.NotFound(EXCHANGE, "no")
    same = copy.copy(error)
    same.reason = "another"
    assert error.reason == "no"
    assert (same.status, same.attempts) == (404, 3)
