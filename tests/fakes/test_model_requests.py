"""Which requests of a daemon the script answers: not those that are repeated, nor those for a title."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import httpx
import openai
import pytest

from digitorn_testing import DigitornError
from digitorn_testing.fakes import (
    FakeModel,
    FakeModelServer,
    ModelRequestTimeout,
    ModelServerNotStarted,
)

SECONDS = 10.0
TITLE: dict[str, Any] = {
    "messages": [
        {
            "role": "system",
            "content": "You are a title generator. Given the first exchange",
        },
        {"role": "user", "content": "User's first message:\nhi"},
    ],
    "max_tokens": 32,
}


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


@pytest.fixture
def server(model: FakeModel) -> Iterator[FakeModelServer]:
    with FakeModelServer(model) as running:
        yield running


def post(
    server: FakeModelServer, text: str = "hi", *, retry_count: int = 0, timeout: float = SECONDS, **more: Any
) -> httpx.Response:
    """The answer to a request, which says how often it was sent before."""
    body = {"model": "m", "messages": [{"role": "user", "content": text}], **more}
    return httpx.post(
        f"{server.base_url}/chat/completions",
        json=body,
        headers={"x-stainless-retry-count": str(retry_count)},
        timeout=timeout,
        trust_env=False,
    )


def content(answer: httpx.Response) -> str:
    return str(answer.raise_for_status().json()["choices"][0]["message"]["content"])


def test_a_function_answers_over_http(server: FakeModelServer, model: FakeModel) -> None:
    model.will_answer(lambda request: request.last_text.upper(), times=None)
    assert content(post(server, "one")) == "ONE"
    assert content(post(server, "two", retry_count=1)) == "TWO"
    assert content(post(server, "two", retry_count=2)) == "TWO"
    assert model.request_count == 2


# --- repeats


def test_a_repeated_request_gets_the_first_answer_again(server: FakeModelServer, model: FakeModel) -> None:
    model.will_respond_with_text("first").will_respond_with_text("second")
    assert [content(post(server, retry_count=count)) for count in (0, 1, 2)] == ["first"] * 3
    assert content(post(server)) == "second"
    assert content(post(server, retry_count=1)) == "second"
    assert len(server.requests) == model.request_count == 2
    assert len(server.repeated_requests) == 3
    model.assert_exhausted()


def test_a_stream_is_repeated_too(server: FakeModelServer, model: FakeModel) -> None:
    model.will_stream_text(["one ", "two"]).will_respond_with_text("next")
    first, again = (post(server, retry_count=count, stream=True).text for count in (0, 1))
    for stream in (first, again):
        pieces = [json.loads(line[6:]) for line in stream.split("\n\n") if line.startswith("data: {")]
        assert "".join(one["choices"][0]["delta"].get("content", "") for one in pieces) == "one two"
    assert model.request_count == 1


def test_only_the_same_body_makes_a_repeat(server: FakeModelServer, model: FakeModel) -> None:
    model.will_respond_with_text("to one").will_respond_with_text("to two")
    assert content(post(server, "one")) == "to one"
    assert content(post(server, "two", retry_count=1)) == "to two"
    assert content(post(server, "one", retry_count=1)) == "to one"


FAILURES_THAT_CLIENTS_RETRY: list[Callable[[FakeModel], FakeModel]] = [
    lambda model: model.will_fail("provider_error"),
    lambda model: model.will_fail("rate_limited"),
    lambda model: model.will_fail("auth_error", status=409),
    lambda model: model.will_fail("network_error"),
    lambda model: model.will_never_answer(),
]


@pytest.mark.parametrize("script", FAILURES_THAT_CLIENTS_RETRY)
def test_a_failure_that_clients_retry_counts_each_request(
    server: FakeModelServer, model: FakeModel, script: Callable[[FakeModel], FakeModel]
) -> None:
    # An earlier answer to the same body must not come back either.
    model.will_respond_with_text("before")
    script(model).will_respond_with_text("after")
    assert content(post(server)) == "before"
    # The connection may break, or nothing may come.
    with suppress(httpx.TransportError):
        assert post(server, timeout=0.5).is_error
    assert content(post(server, retry_count=1)) == "after"
    assert model.request_count == 3


@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_failure_that_ends_a_request_is_repeated(
    server: FakeModelServer, model: FakeModel, is_streamed: bool
) -> None:
    if is_streamed:
        model.will_fail("provider_error", "overloaded", after=["Hel", "lo"])
    else:
        model.will_fail("auth_error", "overloaded")
    model.will_respond_with_text("next")
    answers = [post(server, retry_count=count, stream=is_streamed) for count in (0, 1)]
    assert all("overloaded" in one.text for one in answers)
    assert content(post(server)) == "next"
    assert model.request_count == 2


def test_the_client_of_openai_says_that_it_repeats(server: FakeModelServer, model: FakeModel) -> None:
    """A client whose connection breaks before the answer gets the answer all the same."""
    model.will_wait(0.5).will_respond_with_text("once").will_respond_with_text("twice")

    def drop() -> None:
        server.wait_for_requests(1, timeout=SECONDS)
        server.drop_connections()

    dropping = threading.Thread(target=drop)
    dropping.start()
    # Certificates, which nobody looks at here, take seconds to load.
    http = openai.DefaultHttpxClient(verify=False)
    with openai.OpenAI(
        base_url=server.base_url, api_key=server.api_key, max_retries=1, http_client=http
    ) as client:
        answer = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
    dropping.join(SECONDS)
    assert answer.choices[0].message.content == "once"
    assert (model.request_count, len(server.repeated_requests)) == (1, 1)


# --- titles


def test_a_title_does_not_come_from_the_script(server: FakeModelServer, model: FakeModel) -> None:
    model.will_respond_with_text("Hello.")
    assert content(post(server, **TITLE)) == "A test"
    assert content(post(server)) == "Hello."
    assert [one.last_text for one in model.requests] == ["hi"]
    assert (len(server.requests), len(server.title_requests)) == (1, 1)


def test_a_title_may_be_chosen_or_left_to_the_script(model: FakeModel) -> None:
    with FakeModelServer(model, title="Greetings") as server:
        assert content(post(server, **TITLE)) == "Greetings"
    model.will_respond_with_text("From the script")
    with FakeModelServer(model, title=None) as server:
        assert content(post(server, **TITLE)) == "From the script"
        assert (len(server.requests), server.title_requests) == (1, [])


@pytest.mark.parametrize(
    "changed",
    [
        {"stream": True},
        {"max_tokens": 33},
        {"tools": [{"type": "function", "function": {"name": "Bash"}}]},
        {"messages": [{"role": "user", "content": "You are a title generator"}]},
    ],
)
def test_what_only_resembles_a_request_for_a_title_goes_to_the_script(
    server: FakeModelServer, model: FakeModel, changed: dict[str, Any]
) -> None:
    model.will_respond_with_text("From the script")
    assert "From the script" in post(server, **{**TITLE, **changed}).text
    assert server.title_requests == []


# --- connections


@pytest.mark.parametrize("is_kept", [False, True])
def test_connections_are_kept_on_request(model: FakeModel, is_kept: bool) -> None:
    model.will_respond_with_text("hi", times=None)
    with FakeModelServer(model, keep_alive=is_kept) as server:
        assert post(server).headers.get("connection") == (None if is_kept else "close")
        assert post(server, stream=True).headers.get("connection") == (None if is_kept else "close")


def test_the_port_may_be_chosen(model: FakeModel) -> None:
    model.will_respond_with_text("hi")
    with FakeModelServer(model) as first:
        port = first.port
        with pytest.raises(ModelServerNotStarted, match=f"port {port} of 127.0.0.1 is not free"):
            FakeModelServer(model, port=port).start()
    server = FakeModelServer(model, port=port)
    with server:
        assert server.port == port
        assert content(post(server)) == "hi"
    with socket.create_server(("127.0.0.1", port)):
        with pytest.raises(ModelServerNotStarted):
            server.start()


# --- waiting


def test_requests_are_awaited(server: FakeModelServer, model: FakeModel) -> None:
    model.will_respond_with_text("hi", times=None)
    posting = threading.Thread(target=lambda: [post(server, text) for text in ("one", "two", "three")])
    posting.start()
    try:
        found = server.wait_for_requests(2, timeout=SECONDS)
        assert [one.last_text for one in found] == ["one", "two"]
        assert [one.last_text for one in model.wait_for_requests(3, timeout=SECONDS)][2] == "three"
    finally:
        posting.join(SECONDS)


def test_requests_for_titles_and_repeats_are_not_awaited(server: FakeModelServer, model: FakeModel) -> None:
    model.will_respond_with_text("hi")
    post(server, "one")
    post(server, "one", retry_count=1)
    post(server, **TITLE)
    with pytest.raises(
        ModelRequestTimeout, match=r"^1 of 2 requests arrived within 0.05 s\n  user: 'one'$"
    ) as caught:
        server.wait_for_requests(2, timeout=0.05)
    assert [one.last_text for one in caught.value.requests] == ["one"]
    assert isinstance(caught.value, DigitornError)
    assert isinstance(caught.value, TimeoutError)


def test_a_number_of_requests_is_positive(model: FakeModel) -> None:
    with pytest.raises(ValueError, match="count must be positive"):
        model.wait_for_requests(0, timeout=1)
