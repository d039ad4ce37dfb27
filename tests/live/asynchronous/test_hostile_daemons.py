"""A daemon that is broken or hostile gets a typed error, in bounded time and memory."""

import gzip
import json
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from digitorn_testing import (
    ApiError,
    AsyncDevClient,
    AsyncLiveEventStream,
    ConnectionOptions,
    ContractViolation,
    DaemonUnreachable,
    DigitornError,
    EventTimeout,
    InvalidPayload,
    SessionHandle,
    StreamClosed,
    TooLarge,
    UnknownPayload,
)
from digitorn_testing.events import Token
from support.hostile import OK, OPEN, Caller, HostileSocket, hostile, hostile_socket, says, whole

LIMITS = ConnectionOptions(max_response_bytes=100_000, max_frame_bytes=100_000, max_json_values=1_000)
SECONDS = 0.4
"""Deadline of a call that a daemon would draw out."""
SLACK = 6.0
"""Seconds more that a machine under load may take."""


def deadline(kind: type[DigitornError]) -> float:
    """Seconds for a call: few where nothing else would end it, else more than it can need."""
    return SECONDS if kind is DaemonUnreachable else SECONDS + SLACK


APPS: bytes = b'{"success":true,"data":['


def repeats(first: bytes, then: bytes, pause: float = 0.0) -> Callable[[Caller], None]:
    def answer(caller: Caller) -> None:
        caller.send(first)
        caller.send_endlessly(then, pause=pause)

    return answer


ANSWERS: dict[str, tuple[Callable[[Caller], None], type[DigitornError]]] = {
    # without an end
    "endless headers": (repeats(OK, b"x-a: b\r\n"), DaemonUnreachable),
    "an endless header": (repeats(OK + b"x-a: ", b"b" * 1000), DaemonUnreachable),
    "an endless status line": (repeats(b"HTTP/1.1 200 ", b"O" * 1000), DaemonUnreachable),
    "endless informational answers": (
        repeats(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.001),
        DaemonUnreachable,
    ),
    "headers in drops": (repeats(OK, b"x", 0.02), DaemonUnreachable),
    "a body in drops": (repeats(OK + b"content-length: 9999\r\n\r\n", b" ", 0.02), DaemonUnreachable),
    "chunks in drops": (
        repeats(OK + b"transfer-encoding: chunked\r\n\r\n", b"1\r\n \r\n", 0.02),
        DaemonUnreachable,
    ),
    "nothing": (lambda caller: caller.hold(), DaemonUnreachable),
    # too much
    "an endless body": (
        repeats(OK + b"transfer-encoding: chunked\r\n\r\n", b"400\r\n" + b" " * 1024 + b"\r\n"),
        TooLarge,
    ),
    "a body until the end": (repeats(OK + b"\r\n", b" " * 1024), TooLarge),
    "a body that is announced": (
        repeats(OK + b"content-length: 999999999999\r\n\r\n", b"[" * 1024),
        TooLarge,
    ),
    "a huge error": (
        repeats(b"HTTP/1.1 500 No\r\ntransfer-encoding: chunked\r\n\r\n", b"400\r\n" + b" " * 1024 + b"\r\n"),
        TooLarge,
    ),
    "a bomb": (says(whole(gzip.compress(b" " * 10_000_000), OK + b"content-encoding: gzip\r\n")), TooLarge),
    "many values": (says(whole(APPS + b"[]," * 20_000 + b"[]]}")), TooLarge),
    "many members": (says(whole(b'{"success":true,"data":{' + b'"a":1,' * 5_000 + b'"b":1}}')), TooLarge),
    # not what it should be
    "deep lists": (says(whole(APPS + b"[" * 900 + b"]" * 900 + b"]}")), ContractViolation),
    "deep objects": (
        says(whole(b'{"success":true,"data":' + b'{"a":' * 900 + b"1" + b"}" * 901)),
        ContractViolation,
    ),
    "a long number": (says(whole(APPS + b"9" * 90_000 + b"]}")), ContractViolation),
    "an infinite number": (says(whole(APPS + b"1e999999]}")), ContractViolation),
    "wrong types": (says(whole(APPS + b"1," * 900 + b"1]}")), ContractViolation),
    "half a text": (says(whole(APPS + b'"\\ud800', OK)), ContractViolation),
    "no UTF-8": (says(whole(b'{"success":true,"data":"\xff\xfe"}')), ContractViolation),
    "another encoding": (says(whole(b"x", OK + b"content-encoding: br\r\n")), ContractViolation),
    "success that is a huge text": (says(whole(b'{"success":"' + b"x" * 90_000 + b'"}')), ContractViolation),
    "no HTTP": (says(b"\0" * 1000), DaemonUnreachable),
    "another version": (says(b"HTTP/9.9 200 OK\r\n\r\n"), ContractViolation),
    "a negative length": (says(OK + b"content-length: -1\r\n\r\n{}"), DaemonUnreachable),
    "two lengths": (says(OK + b"content-length: 1\r\ncontent-length: 2\r\n\r\n{}"), DaemonUnreachable),
    "an unknown transfer": (says(OK + b"transfer-encoding: magic\r\n\r\n{}"), DaemonUnreachable),
    "chunks that are none": (says(OK + b"transfer-encoding: chunked\r\n\r\nzz\r\n"), DaemonUnreachable),
    "a body that breaks off": (says(OK + b"content-length: 100\r\n\r\n{}"), DaemonUnreachable),
    "switching protocols": (says(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n"), DigitornError),
    "an unknown status": (says(whole(b"{}", b"HTTP/1.1 799 What\r\n")), ApiError),
    "a refusal without an end": (
        says(whole(b'{"detail":"' + b"x" * 90_000 + b'"}', b"HTTP/1.1 400 No\r\n")),
        ApiError,
    ),
    "a redirect to nowhere": (says(whole(b"", b"HTTP/1.1 302 No\r\nlocation: http://[\r\n")), ApiError),
    "a redirect to itself": (says(whole(b"", b"HTTP/1.1 302 No\r\nlocation: /\r\n")), ApiError),
    "a pause that is no number": (says(whole(b"{}", b"HTTP/1.1 429 No\r\nretry-after: nan\r\n")), ApiError),
    "a pause without an end": (says(whole(b"{}", b"HTTP/1.1 503 No\r\nretry-after: 1e999\r\n")), ApiError),
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_that_is_hostile(name: str) -> None:
    answer, kind = ANSWERS[name]
    with hostile(answer) as url:
        async with AsyncDevClient(
            url, token="t" * 9, timeout=deadline(kind), connection_options=LIMITS, retries=None
        ) as client:
            started = time.monotonic()
            with pytest.raises(kind) as caught:
                await client.api.apps.list_apps()
            assert time.monotonic() - started < SECONDS + SLACK
            assert isinstance(caught.value, TooLarge) == (kind is TooLarge)
            # The error is for a person to read.
            assert len(str(caught.value)) < 20_000
            (exchange,) = client.exchanges
            assert (exchange.status is None) == bool(exchange.error)
            assert exchange.duration < SECONDS + SLACK


async def test_many_errors_are_told_briefly() -> None:
    options = ConnectionOptions(max_json_values=100_000)
    body = whole(APPS + b'{"name":1},' * 20_000 + b"1]}")
    with hostile(says(body)) as url:
        async with AsyncDevClient(url, token="t" * 9, connection_options=options) as client:
            with pytest.raises(ContractViolation) as caught:
                await client.api.apps.list_apps()
    first, *_, last = caught.value.reasons
    assert first.startswith("data.0.")
    assert last.endswith("places do not fit")
    assert len(caught.value.reasons) < 150


async def test_memory_is_bounded() -> None:
    for name in ("an endless body", "a bomb", "an endless header", "many values"):
        with hostile(ANSWERS[name][0]) as url:
            async with AsyncDevClient(url, token="t" * 9, connection_options=LIMITS, retries=None) as client:
                # What is made once is not counted.
                with pytest.raises(DigitornError):
                    await client.api.apps.list_apps()
                tracemalloc.start()
                try:
                    with pytest.raises(DigitornError):
                        await client.api.apps.list_apps()
                    _, most = tracemalloc.get_traced_memory()
                finally:
                    tracemalloc.stop()
                assert most < 3_000_000, name


# --- the event socket


def opens_with(*messages: str | bytes) -> Callable[[HostileSocket], None]:
    def speak(socket: HostileSocket) -> None:
        for message in messages:
            socket.send(message)
        socket.hold()

    return speak


HANDSHAKES: dict[str, tuple[Callable[[HostileSocket], None], type[DigitornError]]] = {
    "nothing": (opens_with(), DaemonUnreachable),
    "no engine": (opens_with("hello"), DaemonUnreachable),
    "an empty message": (opens_with(""), DaemonUnreachable),
    "bytes": (opens_with(b"\0" * 100), DaemonUnreachable),
    "no object": (opens_with("0[]"), DaemonUnreachable),
    "missing members": (opens_with('0{"sid":"x"}'), DaemonUnreachable),
    "an infinite interval": (
        opens_with('0{"sid":"x","upgrades":[],"pingInterval":1e999,"pingTimeout":1}'),
        DaemonUnreachable,
    ),
    "deep nesting": (opens_with("0" + "[" * 900 + "]" * 900), DaemonUnreachable),
    "very deep nesting": (opens_with("0" + '{"a":' * 900 + "1" + "}" * 900), DaemonUnreachable),
    "a huge opening": (opens_with("0" + " " * 100_001), TooLarge),
    "many values": (opens_with("0[" + "[]," * 2000 + "[]]"), TooLarge),
    "a namespace that is no object": (opens_with(OPEN, "40/events,[1]"), DaemonUnreachable),
    "another namespace": (opens_with(OPEN, '40/other,{"sid":"y"}'), DaemonUnreachable),
    "deep nesting in the namespace": (
        opens_with(OPEN, "40/events," + "[" * 900 + "]" * 900),
        DaemonUnreachable,
    ),
    "a huge refusal": (opens_with(OPEN, '44/events,{"message":"' + "x" * 100_001 + '"}'), TooLarge),
    "frames that are none": (lambda socket: socket.send_raw(b"\xff" * 1000), DaemonUnreachable),
    "a frame that is announced": (
        lambda socket: socket.send_raw(b"\x81\x7f" + (2**62).to_bytes(8) + b"0"),
        TooLarge,
    ),
}


@pytest.mark.parametrize("name", HANDSHAKES)
async def test_a_handshake_that_is_hostile(name: str) -> None:
    speak, kind = HANDSHAKES[name]
    with hostile_socket(speak) as url:
        session = SessionHandle(session_id="s", app_id="a", daemon_url=url)
        async with AsyncDevClient(url, token="t" * 9, connection_options=LIMITS) as client:
            started = time.monotonic()
            with pytest.raises((kind, EventTimeout)) as caught:
                await client.send_live(session, "hi", deadline(kind))
            if isinstance(caught.value, EventTimeout):
                # It was still waited for when the time of the whole was over.
                assert kind is DaemonUnreachable
                assert isinstance(caught.value.__cause__, DaemonUnreachable)
            assert time.monotonic() - started < SECONDS + SLACK
            assert len(str(caught.value)) < 1000


def pieces() -> Iterator[str]:
    while True:
        yield "x" * 1000


def deep(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


OVERSIZE: dict[str, Callable[[HostileSocket], None]] = {
    "a huge event": lambda socket: socket.event({"type": "token", "payload": {"delta": "x" * 100_001}}),
    "an endless event": lambda socket: socket.send_in_pieces(pieces()),
    "an event of many values": lambda socket: socket.event({"type": "x", "payload": {"a": [[1]] * 2000}}),
    "many values outside of an event": lambda socket: socket.send("4" + json.dumps([[1]] * 2000)),
    "an announcement": lambda socket: socket.send_raw(b"\x81\x7f" + (2**62).to_bytes(8)),
}


@pytest.mark.parametrize("name", OVERSIZE)
async def test_an_event_that_is_too_large_closes_the_stream(name: str) -> None:
    def speak(socket: HostileSocket) -> None:
        socket.let_in()
        OVERSIZE[name](socket)
        socket.hold()

    with hostile_socket(speak) as url:
        stream = AsyncLiveEventStream(
            daemon_url=url, token="t" * 9, app_id="a", session_id="s", connection_options=LIMITS
        )
        async with stream:
            started = time.monotonic()
            # Another connection would bring the same again.
            with pytest.raises(TooLarge, match=r"max_(frame_bytes|json_values)"):
                await stream.wait_for(Token, timeout=10)
            assert time.monotonic() - started < SLACK
            with pytest.raises((StreamClosed, TooLarge)):
                await stream.wait_for(Token, timeout=10)


async def test_a_token_that_is_the_type_of_an_event_is_not_shown() -> None:
    token = "tok-" + "s" * 20

    def speak(socket: HostileSocket) -> None:
        socket.let_in()
        socket.event({"type": token, "seq": 1, "session_id": "s", "kind": "session", "payload": {}})
        socket.hold()

    for strict in (False, True):
        with hostile_socket(speak) as url:
            stream = AsyncLiveEventStream(
                daemon_url=url, token=token, app_id="a", session_id="s", strict=strict
            )
            async with stream:
                await stream.wait_for(UnknownPayload, timeout=10)
                with pytest.raises((EventTimeout, ContractViolation)) as caught:
                    await stream.wait_for(Token, timeout=0.05)
            assert isinstance(caught.value, ContractViolation) == strict
            assert "***" in str(caught.value)
            assert token not in str(caught.value)


UNREADABLE: dict[str, str | bytes] = {
    "deep nesting": '42/events,["event",' + "[" * 200 + "]" * 200 + "]",
    "very deep nesting": '42/events,["event",' + '{"a":' * 900 + "1" + "}" * 900 + "]",
    "no list": "42/events,1",
    "an empty list": "42/events,[]",
    "a name that is none": '42/events,[{"a":1},{}]',
    "a number for a name": "42/events,[5,{}]",
    "an unknown packet": "49/events,[]",
    "an acknowledgement of nothing": "43/events,7[1]",
    "an acknowledgement that is no list": "43/events,8{}",
    "binary attachments": '452-/events,["event",{"_placeholder":true,"num":0}]',
    "bytes": b"\0\1\2",
    "no JSON": '42/events,["event",{]',
    "half a frame": '42/events,["event",{"type":"token","payload":{"delta":"it is cut o',
    "a long number": '42/events,["event",' + "9" * 5000 + "]",
}


@pytest.mark.parametrize("name", UNREADABLE)
async def test_what_cannot_be_read_does_not_stop_the_stream(name: str) -> None:
    def speak(socket: HostileSocket) -> None:
        socket.let_in()
        socket.send(UNREADABLE[name])
        socket.event({"type": "token", "seq": 5, "session_id": "s", "payload": {"delta": "still here"}})
        socket.hold()

    with hostile_socket(speak) as url:
        stream = AsyncLiveEventStream(
            daemon_url=url, token="t" * 9, app_id="a", session_id="s", connection_options=LIMITS
        )
        async with stream:
            event = await stream.wait_for(Token, timeout=5)
            assert event.payload.delta == "still here"
            unreadable = [one for one in stream.events() if isinstance(one.payload, InvalidPayload)]
            # An acknowledgement that nobody waits for says nothing.
            assert len(unreadable) == (0 if "acknowledgement" in name else 1)


EVENT = {"type": "token", "session_id": "s", "payload": {"delta": "x", "size": 1}}
FORMS: dict[str, str] = {
    "plain": '42/events,["event",EVENT]',
    "with spaces": '42/events,[ "event" , EVENT ]',
    "with spaces at the end": '42/events,["event",EVENT ] ',
    "with an appended argument": '42/events,["event",EVENT,{"a":["]"]}]',
    "with an acknowledgement": '42/events,7["event",EVENT]',
    "with no number": '42/events,["event",EVENT]'.replace("EVENT", json.dumps(EVENT).replace("1", "NaN")),
    "with half a character": '42/events,["event",EVENT]'.replace(
        "EVENT", json.dumps(EVENT).replace('"x"', r'"x\ud800"')
    ),
    "with a member twice": '42/events,["event",EVENT]'.replace(
        "EVENT", json.dumps(EVENT).replace('"type"', '"type": "result", "type"')
    ),
    "under its own name": '42/events,["token",{"delta":"x"}]',
}


async def test_an_event_is_read_in_whatever_form_it_comes() -> None:
    def speak(socket: HostileSocket) -> None:
        socket.let_in()
        for form in FORMS.values():
            socket.send(form.replace("EVENT", json.dumps(EVENT)))
        socket.event({"type": "result", "session_id": "s", "payload": {"content": "all"}})
        socket.hold()

    with hostile_socket(speak) as url:
        stream = AsyncLiveEventStream(
            daemon_url=url, token="t" * 9, app_id="a", session_id="s", connection_options=LIMITS
        )
        async with stream:
            await stream.wait_for("result", timeout=5)
            tokens = [one.payload for one in stream.events() if isinstance(one.payload, Token)]
            assert dict(zip(FORMS, [one.delta[0] for one in tokens], strict=True)) == dict.fromkeys(
                FORMS, "x"
            )


async def test_events_are_signs_of_life_on_a_connection_without_pings() -> None:
    """The client waits two seconds for a ping. Events come for longer than that."""

    def speak(socket: HostileSocket) -> None:
        socket.let_in(opening='0{"sid":"x","upgrades":[],"pingInterval":1000,"pingTimeout":1000}')
        for number in range(1, 41):
            delta = {"delta": str(number)}
            socket.event({"type": "token", "seq": number, "session_id": "s", "payload": delta})
            if socket.ending.wait(0.1):
                return
        socket.event({"type": "result", "seq": 41, "session_id": "s", "payload": {"content": "all"}})
        socket.hold()

    with hostile_socket(speak) as url:
        stream = AsyncLiveEventStream(
            daemon_url=url, token="t" * 9, app_id="a", session_id="s", connection_options=LIMITS
        )
        async with stream:
            await stream.wait_for("result", timeout=20)
            assert len(stream.events_of(Token)) == 40
            assert not stream.connection.was_lost


async def test_wrong_types_in_an_event_are_kept_as_they_came() -> None:
    envelopes: list[object] = [
        None,
        1,
        "x" * 1000,
        [],
        {},
        {"type": 1, "payload": 2, "seq": "3", "session_id": []},
        {"type": "token", "payload": []},
        {"type": "token", "payload": {"delta": {"a": deep(90)}}, "seq": 2**70},
        {"type": "x" * 10_000, "payload": {}, "seq": -1},
        {"type": "token", "payload": {"delta": "x"}, "seq": 1, "event_id": 5, "op_state": "no such"},
    ]

    def speak(socket: HostileSocket) -> None:
        socket.let_in()
        for envelope in envelopes:
            socket.event(envelope)
        socket.event({"type": "token", "seq": 5, "session_id": "s", "payload": {"delta": "still here"}})
        socket.hold()

    with hostile_socket(speak) as url:
        stream = AsyncLiveEventStream(daemon_url=url, token="t" * 9, app_id="a", session_id="s")
        async with stream:
            await stream.wait_for(Token, where=lambda e: e.payload.delta == "still here", timeout=5)
            assert len(stream.events()) == len(envelopes) + 1
            assert len(repr(stream.events())) < 100_000
