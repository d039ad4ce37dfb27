"""When a call is sent again, and how long to wait before."""

import itertools
import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digitorn_testing import (
    ContractViolation,
    DaemonUnreachable,
    DigitornError,
    Exchange,
    NotFound,
    RateLimited,
    RetryPolicy,
    ServerError,
    Unauthorized,
    UntrustedCertificate,
)
from digitorn_testing._generated._runtime import Call
from digitorn_testing._generated.operations import (
    CREATE_SESSION,
    DELETE_SESSION,
    FORK_SESSION,
    GET_LIVENESS,
    OPERATIONS,
    SEND_MESSAGE,
)
from digitorn_testing._transport.answers import _seconds
from digitorn_testing._transport.retry import (
    Attempts,
    identified,
    is_identified,
    may_be_sent_again,
    may_be_taken,
)

GET = GET_LIVENESS.call()
SESSION = {"app_id": "a", "session_id": "s"}
MESSAGE = SEND_MESSAGE.call(path=SESSION, body={"message": "hi"})
DELETE = DELETE_SESSION.call(path=SESSION)
CREATE = CREATE_SESSION.call(path={"app_id": "a"}, body={"message": "hi"})


FORK = FORK_SESSION.call(path=SESSION)


def answered(
    kind: type[Any], status: int, retry_after: float | None = None, reason: str = "no", data: object = None
) -> DigitornError:
    exchange = Exchange(operation="x", method="GET", path="/", status=status)
    if data is None and status == 503 and reason != "no":
        data = {"success": False, "error": reason}
    error: RateLimited | ServerError = kind(exchange, reason, data)
    if retry_after is not None:
        error.retry_after = retry_after
    return error


LOST = DaemonUnreachable("http://x", "the connection broke")
BUSY = answered(ServerError, 503)


def pauses(policy: RetryPolicy | None, call: Call[Any], *errors: DigitornError) -> list[float | None]:
    attempts = Attempts(policy, call, lambda: 0.0)
    return [attempts.pause(error, math.inf) for error in errors]


def test_pauses_grow_up_to_a_bound() -> None:
    policy = RetryPolicy(attempts=6, first_pause=0.1, growth=2, longest_pause=0.5)
    assert pauses(policy, GET, *[LOST] * 6) == [0.1, 0.2, 0.4, 0.5, 0.5, None]


def test_chance_makes_a_pause_shorter_and_never_longer() -> None:
    policy = RetryPolicy(first_pause=1, jitter=0.5)
    assert (policy.pause(1, 0.0), policy.pause(1, 0.5), policy.pause(1, 1.0)) == (1, 0.75, 0.5)
    assert RetryPolicy(first_pause=1, jitter=0).pause(1, 0.9) == 1


@given(made=st.integers(1, 10_000), chance=st.floats(0, 1), growth=st.floats(1, 1e6))
def test_every_pause_is_within_its_bounds(made: int, chance: float, growth: float) -> None:
    policy = RetryPolicy(attempts=10_001, growth=growth, longest_pause=3)
    assert 0 <= policy.pause(made, chance) <= 3


@pytest.mark.parametrize(
    ("error", "is_tried_again"),
    [
        (LOST, True),
        (BUSY, True),
        (answered(ServerError, 500), True),
        (answered(RateLimited, 429), True),
        (answered(ServerError, 501), False),
        (answered(Unauthorized, 401), False),
        (answered(NotFound, 404), False),
        (ContractViolation("an answer", ["it is none"]), False),
        (UntrustedCertificate("https://x", "self-signed"), False),
    ],
)
def test_what_may_pass_is_tried_again(error: DigitornError, is_tried_again: bool) -> None:
    assert (pauses(RetryPolicy(), GET, error)[0] is not None) == is_tried_again


def test_without_a_policy_nothing_is_sent_again() -> None:
    assert pauses(None, GET, LOST) == [None]
    assert pauses(RetryPolicy(attempts=1), GET, LOST) == [None]


def test_only_what_may_be_sent_twice_is() -> None:
    assert pauses(RetryPolicy(), identified(MESSAGE), LOST) != [None]
    assert pauses(RetryPolicy(), FORK, LOST) == [None]
    body = {"client_message_id": "cm-1"}
    posts = {
        one.id for one in OPERATIONS if may_be_sent_again(Call(one, "/", body=body)) and one.method == "POST"
    }
    assert posts == {"send_message", "create_session"}
    others = ("GET", "PUT", "DELETE")
    assert all(may_be_sent_again(Call(one, "/")) for one in OPERATIONS if one.method in others)


WARMING = answered(ServerError, 503, 2.0, "App 'a' not yet loaded - daemon is warming up. Retry in a few s")
STOPPING = answered(ServerError, 503, 5.0, "Server is shutting down")


@pytest.mark.parametrize("call", [GET, DELETE, MESSAGE, FORK])
def test_every_call_waits_for_a_daemon_that_starts_or_stops(call: Call[Any]) -> None:
    policy = RetryPolicy(attempts=2)
    assert pauses(policy, call, *[WARMING] * 40, STOPPING) == [2.0] * 40 + [5.0]
    assert Attempts(policy, call).pause(WARMING, 1.9) is None
    assert pauses(None, call, WARMING) == [None]


def sent_and_lost() -> DaemonUnreachable:
    error = DaemonUnreachable("http://x", "the connection broke")
    error.may_be_done = True
    return error


@pytest.mark.parametrize(
    ("error", "is_uncertain"),
    [
        (LOST, False),
        (sent_and_lost(), True),
        (answered(ServerError, 500), True),
        (answered(ServerError, 502), True),
        (answered(ServerError, 501), False),
        (answered(ServerError, 503), True),
        (answered(ServerError, 503, data={"success": False, "error": "degraded"}), False),
        (WARMING, False),
        (answered(RateLimited, 429), False),
        (answered(NotFound, 404), False),
    ],
)
def test_whether_the_daemon_may_have_taken_a_message(error: DigitornError, is_uncertain: bool) -> None:
    assert may_be_taken(MESSAGE, error) == is_uncertain


def test_a_turn_that_was_waited_for_and_failed_was_taken() -> None:
    waiting = SEND_MESSAGE.call(path=SESSION, body={"message": "hi", "queue_mode": "wait"})
    assert not may_be_taken(waiting, answered(ServerError, 500))
    assert may_be_taken(waiting, sent_and_lost())


def test_the_daemons_pause_is_kept_to() -> None:
    policy = RetryPolicy(attempts=9, first_pause=0.1, growth=1, longest_retry_after=3)
    asked = [
        answered(RateLimited, 429, 2.0),
        answered(ServerError, 503, 0.01),
        answered(RateLimited, 429, 3.1),
    ]
    assert pauses(policy, GET, *asked) == [2.0, 0.1, None]


def test_no_pause_goes_past_the_deadline() -> None:
    policy = RetryPolicy(first_pause=1, jitter=0)
    assert Attempts(policy, GET).pause(LOST, 1.01) == 1
    assert Attempts(policy, GET).pause(LOST, 1.0) is None
    assert Attempts(policy, GET).pause(LOST, 0.0) is None


def test_a_deletion_whose_answer_was_lost_may_be_done() -> None:
    for first, may_be_done in ((LOST, True), (BUSY, True), (answered(RateLimited, 429), False)):
        attempts, gone = Attempts(RetryPolicy(), DELETE), answered(NotFound, 404)
        attempts.pause(first, math.inf)
        assert attempts.pause(gone, math.inf) is None
        assert isinstance(gone, NotFound)
        assert gone.may_be_done == may_be_done
        assert hasattr(gone, "__notes__") == may_be_done
    at_once, get = answered(NotFound, 404), answered(NotFound, 404)
    Attempts(RetryPolicy(), DELETE).pause(at_once, math.inf)
    reading = Attempts(RetryPolicy(), GET)
    reading.pause(LOST, math.inf)
    reading.pause(get, math.inf)
    assert isinstance(at_once, NotFound)
    assert isinstance(get, NotFound)
    assert not at_once.may_be_done and not get.may_be_done


def test_a_message_gets_an_id_of_its_own() -> None:
    ids = {(identified(MESSAGE).body or {})["client_message_id"] for _ in range(3)}
    assert len(ids) == 3
    empty = SEND_MESSAGE.call(path=SESSION, body={"message": "hi", "client_message_id": None})
    assert (identified(empty).body or {})["client_message_id"]
    given = SEND_MESSAGE.call(path=SESSION, body={"message": "hi", "client_message_id": "mine"})
    assert identified(given).body == {"message": "hi", "client_message_id": "mine"}
    assert is_identified(identified(CREATE))
    assert identified(FORK) is FORK
    assert (identified(MESSAGE).body or {})["message"] == "hi"


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts": 0},
        {"first_pause": -1},
        {"growth": 0.5},
        {"jitter": 1.1},
        {"jitter": math.nan},
        {"longest_pause": -0.1},
        {"longest_retry_after": -1},
        {"attempt_timeout": 0},
        {"longest_search": -1},
    ],
)
def test_a_policy_that_cannot_be(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=f"^{name} must be"):
        RetryPolicy(**wrong)


def test_retry_after_in_its_two_forms() -> None:
    assert [_seconds(text) for text in ("2", "0.5", None, "", "soon")] == [2, 0.5, None, None, None]
    assert [_seconds(text) for text in ("-1", "nan", "inf", "1e999", "-inf")] == [None] * 5
    in_a_minute = format_datetime(datetime.now(UTC) + timedelta(minutes=1), usegmt=True)
    found = _seconds(in_a_minute)
    assert found is not None
    assert 50 < found <= 60
    assert _seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    for text in itertools.chain(
        ["Wed, 99 Foo 9999 99:99:99 GMT", "1 Jan 99999 0:0:0"], map(str, range(0, -3, -1))
    ):
        assert (_seconds(text) or 0) >= 0
