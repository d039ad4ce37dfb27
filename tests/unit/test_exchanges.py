"""What is kept of a call, without any IO."""

import json
import threading
from datetime import UTC, datetime
from typing import TypeVar

import pytest

from digitorn_testing import Exchange, Exchanges
from digitorn_testing._exchanges import LARGEST_BODY, sending
from digitorn_testing._generated._runtime import Call
from digitorn_testing._generated.operations import (
    COMPLETE_MCP_OAUTH,
    CREATE_SESSION,
    GET_METRICS,
    LIST_SESSIONS,
    SEND_MESSAGE,
    SET_SECRET,
    UPSERT_USER_CREDENTIAL,
)

T = TypeVar("T")


def exchanged(call: Call[T], content: bytes, *, status: int = 200, keep: int = 5) -> Exchange:
    """A call as it is kept with its answer."""
    exchanges = Exchanges(keep)
    under_way = sending(exchanges, call)
    if (encoded := call.encoded()) is not None:
        under_way.sends(encoded[0])
    under_way.answered(status, content)
    answered = under_way.exchange
    assert list(exchanges) == ([answered] if keep else [])
    return answered


LIST = LIST_SESSIONS.call(path={"app_id": "a"}, query={"limit": 3})


def test_bodies_that_are_no_json() -> None:
    text = exchanged(GET_METRICS.call(), b"# TYPE up gauge\nup 1\n")
    assert text.response == "# TYPE up gauge\nup 1\n"
    for content in (b"\x89PNG\x0d\x0a\x1a\x0a\x00", b"a\0b", b""):
        other = exchanged(LIST, content)
        assert (other.response, other.response_size) == (None, len(content))


def test_the_largest_body_that_is_kept() -> None:
    fits = json.dumps("a" * (LARGEST_BODY - 2)).encode()
    assert exchanged(LIST, fits).response == "a" * (LARGEST_BODY - 2)
    too_large = exchanged(LIST, fits + b" ")
    assert (too_large.response, too_large.response_size) == (None, LARGEST_BODY + 1)


def test_what_was_sent_as_a_credential_is_hidden_in_its_answer() -> None:
    call = UPSERT_USER_CREDENTIAL.call(
        path={"app_id": "a", "provider_name": "p"},
        body={"fields": {"anything": "s3cr3t-value"}, "scope": "anthropic-api"},
    )
    kept = exchanged(call, b'{"success": false, "error": "anthropic-api refuses s3cr3t-value"}', status=400)
    assert kept.request == {"fields": {"anything": "***"}, "scope": "***"}
    assert kept.response == {"success": False, "error": "anthropic-api refuses ***"}


def test_a_secret_is_hidden_from_then_on() -> None:
    exchanges = Exchanges(5)
    under_way = sending(
        exchanges, SET_SECRET.call(path={"app_id": "a", "key": "KEY"}, body={"value": "s3cr3t-value"})
    )
    under_way.sends(b'{"value": "s3cr3t-value"}')
    under_way.answered(200, b"{}")
    sending(exchanges, LIST_SESSIONS.call(path={"app_id": "s3cr3t-value"})).failed("no s3cr3t-value")
    shown = "".join(repr(one) + one.to_json() for one in exchanges)
    assert "s3cr3t" not in shown
    assert exchanges[-1].path == "/api/apps/***/sessions"
    assert exchanges[-1].error == "no ***"


def test_a_secret_is_hidden_although_it_was_forgotten_before_somebody_looked() -> None:
    exchanges = Exchanges(5)
    exchanges.redactor.learn("s3cr3t-value")
    under_way = sending(exchanges, LIST)
    under_way.answered(200, b'{"words": "s3cr3t-value"}')
    exchanges.redactor.learn(*(f"another secret {number}" for number in range(1000)))
    assert "s3cr3t-value" not in exchanges.redactor.known
    assert exchanges[0].response == {"words": "***"}
    assert under_way.exchange is exchanges[0]


def test_a_secret_in_an_answer_is_hidden_before_somebody_looks_at_it() -> None:
    exchanges = Exchanges(5)
    sending(exchanges, LIST).answered(200, b'{"deep": [{"apiKey": "s3cr3t-value"}]}')
    assert exchanges.redactor.text("s3cr3t-value") == "***"


def test_only_listeners_are_given_larger_bodies() -> None:
    exchanges = Exchanges(5)
    heard: list[Exchange] = []
    exchanges.listen(heard.append)
    call = UPSERT_USER_CREDENTIAL.call(
        path={"app_id": "a", "provider_name": "p"}, body={"fields": {"anything": "s3cr3t-value"}}
    )
    under_way = sending(exchanges, call)
    request = json.dumps({"fields": {"anything": "s3cr3t-value"}, "more": "a" * LARGEST_BODY}).encode()
    under_way.sends(request)
    under_way.answered(400, b'{"error": "refuses s3cr3t-value"}')
    assert heard[0].request == {"fields": {"anything": "***"}, "more": "***"}
    assert (exchanges[0].request, exchanges[0].request_size) == (None, len(request))
    # Secrets of a request that is not kept are hidden in its answer all the same.
    assert heard[0].response == exchanges[0].response == {"error": "refuses ***"}


def test_a_code_in_a_query_is_hidden() -> None:
    call = COMPLETE_MCP_OAUTH.call(path={"app_id": "a"}, query={"code": "abc", "state": "xyz"})
    assert exchanged(call, b"{}").query == (("code", "***"), ("state", "***"))


def test_the_turn_that_an_answer_names() -> None:
    accepted = {"session_id": "s", "status": "accepted", "correlation_id": "c-1"}
    sent = SEND_MESSAGE.call(path={"app_id": "a", "session_id": "s"}, body={"message": "hi"})
    body = json.dumps({"success": True, "data": accepted}).encode()
    assert exchanged(sent, body).correlation_id == "c-1"
    # Nor an answer that cannot be read, nor a refusal, names one.
    for content, status in ((b"nonsense", 200), (body, 409), (b'{"success": false, "error": "no"}', 200)):
        assert exchanged(sent, content, status=status).correlation_id is None
    assert exchanged(CREATE_SESSION.call(path={"app_id": "a"}, body={}), body).correlation_id is None


def test_without_room_nothing_but_the_call_is_known() -> None:
    kept = exchanged(LIST, b'{"success": true}', keep=0)
    assert (kept.operation, kept.status, kept.response) == ("list_sessions", 200, None)
    assert kept.query == (("limit", "3"),)


def test_it_is_a_sequence() -> None:
    exchanges = Exchanges(3)
    made = [
        Exchange(operation=f"op-{number}", method="GET", path="/", status=200, started=datetime.now(UTC))
        for number in range(5)
    ]
    for one in made:
        exchanges.add(one)
    assert list(exchanges) == made[2:]
    assert (len(exchanges), exchanges.keep, exchanges.dropped) == (3, 3, 2)
    assert (exchanges[0], exchanges[-1], exchanges[1:]) == (made[2], made[4], made[3:])
    assert made[3] in exchanges
    assert repr(exchanges) == "<3 exchanges, 2 dropped>"
    with pytest.raises(IndexError):
        exchanges[3]


def test_those_of_an_operation() -> None:
    exchanges = Exchanges(3)
    for operation in ("send_message", "", "list_sessions"):
        exchanges.add(Exchange(operation=operation, method="GET", path="/", status=200))
    assert [one.operation for one in exchanges.of("list_sessions")] == ["list_sessions"]
    assert exchanges.of("get_session") == []
    assert len(exchanges.of("")) == 1
    with pytest.raises(ValueError, match="no operation 'send_mesage'; there is send_message"):
        exchanges.of("send_mesage")
    with pytest.raises(ValueError, match=r"no operation 'zzzz'$"):
        exchanges.of("zzzz")


def test_threads_may_read_while_it_grows() -> None:
    exchanges = Exchanges(10)
    one = Exchange(operation="op", method="GET", path="/", status=200)

    def grow() -> None:
        for _ in range(2000):
            exchanges.add(one)

    threads = [threading.Thread(target=grow) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert len(list(exchanges)) <= 10
    assert exchanges.dropped + len(exchanges) == 8000
