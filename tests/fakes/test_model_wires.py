"""One script behind three interfaces: each asks the model the same and renders the same answer."""

import base64
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from digitorn_testing.fakes import FakeModel, FakeModelServer, ModelAttachment, ModelRequest
from digitorn_testing.fakes._provider import http

HTTP = httpx.Client(verify=False, timeout=15.0, trust_env=False)
PNG = b"\x89PNG picture"
DATA = base64.b64encode(PNG).decode()
SCHEMA = {"type": "object", "properties": {"at": {"type": "string"}}}
SOURCE = {"type": "base64", "media_type": "image/png", "data": DATA}

REQUESTS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{DATA}"}},
                    {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
                ],
            },
            {
                "role": "assistant",
                "content": "Looking.",
                "tool_calls": [
                    {
                        "id": "c-1",
                        "type": "function",
                        "function": {"name": "look", "arguments": '{"at": "it"}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "c-1", "content": "a cat"},
        ],
        "tools": [
            {"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": SCHEMA}}
        ],
        "max_tokens": 100,
    },
    "/v1/responses": {
        "instructions": "Be brief.",
        "input": [
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "What is this?"},
                    {"type": "input_image", "image_url": f"data:image/png;base64,{DATA}"},
                    {"type": "input_image", "image_url": "https://example.org/a.png"},
                ],
            },
            {"role": "assistant", "content": [{"type": "output_text", "text": "Looking."}]},
            {"type": "function_call", "call_id": "c-1", "name": "look", "arguments": '{"at": "it"}'},
            {"type": "function_call_output", "call_id": "c-1", "output": "a cat"},
        ],
        "tools": [{"type": "function", "name": "look", "description": "Looks.", "parameters": SCHEMA}],
        "max_output_tokens": 100,
    },
    "/v1/messages": {
        "system": "Be brief.",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image", "source": SOURCE},
                    {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "Looking."},
                    {"type": "tool_use", "id": "c-1", "name": "look", "input": {"at": "it"}},
                ],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c-1", "content": "a cat"}]},
        ],
        "tools": [{"name": "look", "description": "Looks.", "input_schema": SCHEMA}],
        "max_tokens": 100,
    },
}


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


@pytest.fixture
def server(model: FakeModel) -> Iterator[FakeModelServer]:
    with FakeModelServer(model) as running:
        yield running


def post(server: FakeModelServer, path: str, body: Any, **headers: str) -> httpx.Response:
    return HTTP.post(f"{server.url}{path}", json=body, headers=headers)


def test_each_interface_asks_the_model_the_same(server: FakeModelServer, model: FakeModel) -> None:
    model.will_respond_with_text("A cat.", times=3)
    for path, body in REQUESTS.items():
        post(server, path, {"model": "m", "temperature": 0.5, **body}).raise_for_status()
    first, *others = model.requests
    assert others == [first, first]
    assert first.system_prompt == "Be brief."
    assert [(one.role, one.content) for one in first.messages] == [
        ("user", "What is this?"),
        ("assistant", "Looking."),
        ("tool", "a cat"),
    ]
    assert first.messages[0].images == (
        ModelAttachment("", "", "image/png", PNG),
        ModelAttachment("", "", "", b"", "https://example.org/a.png"),
    )
    assert [one.path for one in server.requests] == list(REQUESTS)
    assert server.requests[1].body == {"model": "m", "temperature": 0.5, **REQUESTS["/v1/responses"]}


IN_RESULTS: dict[str, Any] = {
    "/v1/responses": {
        "input": [
            {"type": "function_call", "call_id": "c-1", "name": "look", "arguments": "{}"},
            {
                "type": "function_call_output",
                "call_id": "c-1",
                "output": [{"type": "input_image", "image_url": f"data:image/png;base64,{DATA}"}],
            },
        ]
    },
    "/v1/messages": {
        "max_tokens": 1,
        "messages": [
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "c-1", "name": "look", "input": {}}],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "c-1",
                        "content": [{"type": "image", "source": SOURCE}, {"type": "document"}],
                    }
                ],
            },
        ],
    },
}


@pytest.mark.parametrize("path", IN_RESULTS)
def test_results_of_tools_may_hold_images(server: FakeModelServer, model: FakeModel, path: str) -> None:
    model.will_respond_with_text("ok")
    post(server, path, {"model": "m", **IN_RESULTS[path]}).raise_for_status()
    (image,) = model.requests[0].messages[-1].images
    assert (image.mime, image.data) == ("image/png", PNG)
    # What is neither text nor image is named.
    assert model.requests[0].messages[-1].content == ("[document]" if path == "/v1/messages" else "")


@pytest.mark.parametrize("path", REQUESTS)
def test_repeats_and_titles_are_no_matter_of_the_script(
    server: FakeModelServer, model: FakeModel, path: str
) -> None:
    model.will_respond_with_text("once")
    for count in ("0", "1"):
        again = {"x-stainless-retry-count": count}
        assert "once" in post(server, path, {"model": "m", **REQUESTS[path]}, **again).text
    body = {name: value for name, value in REQUESTS[path].items() if name != "tools"}
    limit = "max_output_tokens" if path == "/v1/responses" else "max_tokens"
    prompt = "You are a title generator. Given"
    if path == "/v1/chat/completions":
        body["messages"] = [{"role": "system", "content": prompt}, *body["messages"][1:]]
    else:
        body["instructions" if path == "/v1/responses" else "system"] = prompt
    assert "A test" in post(server, path, {"model": "m", **body, limit: 32}).text
    assert (model.request_count, len(server.repeated_requests), len(server.title_requests)) == (1, 1, 1)


@pytest.mark.parametrize("path", REQUESTS)
def test_a_body_has_a_largest_size(
    server: FakeModelServer, model: FakeModel, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "LARGEST_BODY", 10_000)
    refused = post(server, path, {"model": "m", **REQUESTS[path], "user": "x" * 10_000})
    assert refused.status_code == 413
    assert "larger than 10000 bytes" in refused.json()["error"]["message"]
    assert model.requests == []


def test_an_image_is_part_of_what_a_rule_sees(server: FakeModelServer, model: FakeModel) -> None:
    def has_image(request: ModelRequest) -> bool:
        return any(one.images for one in request.messages)

    model.when(has_image).will_respond_with_text("A picture.")
    model.will_respond_with_text("No picture.", times=None)
    for path, body in REQUESTS.items():
        assert "A picture." in post(server, path, {"model": "m", **body}).text
    plain = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    assert "No picture." in post(server, "/v1/chat/completions", plain).text
