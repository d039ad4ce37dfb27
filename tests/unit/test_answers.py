"""From an HTTP answer to a typed result or a typed error."""

import gc
import json
from typing import Any, Final

import pytest

from digitorn_testing import (
    ApiError,
    Conflict,
    ContractViolation,
    DevClient,
    DigitornError,
    Exchange,
    Forbidden,
    InvalidRequest,
    NotFound,
    RateLimited,
    ServerError,
    Unauthorized,
)
from digitorn_testing._generated._runtime import Call
from digitorn_testing._generated.operations import GET_LIVENESS, LIST_APP_APPROVALS, RESOLVE_APPROVAL
from digitorn_testing._secrets.credentials import Credentials
from digitorn_testing._transport.answers import read_answer
from digitorn_testing.models import ApprovalList, TokenResponse
from support.servers import server

SECRET = "very-secret-token"
CREDENTIALS = Credentials(SECRET, "refresh-" + SECRET)


def read(call: Call[Any], status: int, body: Any, headers: dict[str, str] | None = None) -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    exchange = Exchange(
        operation=call.operation.id, method=call.operation.method, path=call.path, status=status
    )
    return read_answer(
        call,
        status,
        lambda: exchange,
        daemon_url="http://daemon",
        headers=headers or {},
        content=content,
        credentials=CREDENTIALS,
    )


LIST = LIST_APP_APPROVALS.call(path={"app_id": "a"})


def test_a_result_comes_out_of_its_envelope() -> None:
    assert read(LIST, 200, {"success": True, "data": {"pending": []}, "error": None}) == ApprovalList(
        pending=[]
    )
    assert read(GET_LIVENESS.call(), 200, {"status": "alive"}).status == "alive"


def test_success_false_is_an_error_even_under_200() -> None:
    call = RESOLVE_APPROVAL.call(path={"app_id": "a"}, body={})
    with pytest.raises(ApiError) as caught:
        read(call, 200, {"success": False, "data": {"retry": True}, "error": "already resolved"})
    assert type(caught.value) is ApiError
    assert caught.value.reason == "already resolved"
    assert caught.value.data == {"retry": True}
    assert str(caught.value) == "already resolved: POST /api/apps/a/approve (resolve_approval) answered 200"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequest),
        (401, Unauthorized),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (413, InvalidRequest),
        (415, InvalidRequest),
        (422, InvalidRequest),
        (429, RateLimited),
        (500, ServerError),
        (503, ServerError),
        (418, ApiError),
        (302, ApiError),
    ],
)
def test_each_status_has_its_error(status: int, kind: type[ApiError]) -> None:
    with pytest.raises(DigitornError) as caught:
        read(LIST, status, {"detail": "app not deployed"})
    assert type(caught.value) is kind
    message = str(caught.value)
    assert message.startswith(
        f"app not deployed: GET /api/apps/a/approvals (list_app_approvals) answered {status}"
    )


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"detail": "plain"}, "plain"),
        ({"success": False, "error": "plain", "detail": "plain", "status_code": 404}, "plain"),
        (
            {"detail": {"error": "workspace_required", "message": "m"}},
            "workspace_required: m",
        ),
        ({"error": "auth words"}, "auth words"),
        (
            {
                "success": False,
                "error": "Validation error",
                "details": [{"loc": ["body", "message"], "msg": "Field required", "type": "missing"}],
                "status_code": 422,
            },
            "body.message: Field required",
        ),
        ({"success": False, "error": "enveloped"}, "enveloped"),
        ({"other": 1}, '{"other": 1}'),
        (b"", ""),
    ],
)
def test_the_daemons_own_words_are_found_in_each_error_body(body: Any, reason: str) -> None:
    with pytest.raises(ApiError) as caught:
        read(LIST, 400, body)
    assert caught.value.reason == reason


def test_an_answer_that_is_not_the_daemons_says_so() -> None:
    with pytest.raises(NotFound, match="is a Digitorn daemon at http://daemon"):
        read(LIST, 404, b"<html>nginx</html>")
    with pytest.raises(ContractViolation, match=r"not JSON.*") as caught:
        read(LIST, 200, b"<html>hello</html>")
    assert "is http://daemon a Digitorn daemon?" in str(caught.value)
    with pytest.raises(ContractViolation, match="success: expected true or false"):
        read(LIST, 200, {"hello": "world"})
    with pytest.raises(ContractViolation, match="expected an object with 'data', got list"):
        read(LIST, 200, [])


def test_a_result_that_breaks_the_contract_names_the_place() -> None:
    body = {"success": True, "data": {"pending": [{"request_id": 5}]}}
    with pytest.raises(ContractViolation) as caught:
        read(LIST, 200, body)
    assert "data.pending.0.request_id: Input should be a valid string" in caught.value.reasons
    with pytest.raises(ContractViolation, match="data: missing"):
        read(LIST, 200, {"success": True})


def test_retry_after_is_kept() -> None:
    with pytest.raises(RateLimited) as limited:
        read(LIST, 429, {"detail": "queue full"}, {"retry-after": "2"})
    assert limited.value.retry_after == 2.0
    with pytest.raises(ServerError) as warming:
        read(LIST, 503, {"detail": "warming up"}, {"retry-after": "soon"})
    assert warming.value.retry_after is None


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize("body", [f"token {SECRET} seen".encode(), json.dumps({"detail": SECRET}).encode()])
def test_a_token_is_never_in_a_message(status: int, body: bytes) -> None:
    with pytest.raises(DigitornError) as caught:
        read(LIST, status, body)
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value)


def test_credentials_print_no_token() -> None:
    assert SECRET not in repr(CREDENTIALS)
    stored = Credentials()
    stored.store(TokenResponse(access_token="one", refresh_token="two"))
    stored.store(TokenResponse(access_token="three"))
    assert (stored.access_token, stored.refresh_token) == ("three", "two")


def test_a_token_across_the_cut_of_a_long_body_is_not_shown() -> None:
    for padding in range(60, 125):
        with pytest.raises(DigitornError) as caught:
            read(LIST, 502, b"x" * padding + b" " + SECRET.encode() * 3)
        assert SECRET[:8] not in str(caught.value)


def test_a_token_is_one_whole_printable_word() -> None:
    assert Credentials(" abc.def \n").access_token == "abc.def"
    assert Credentials("").access_token is None
    for bad in ("two words-secret", "Ünicode-secret", "line\nbreak-secret"):
        with pytest.raises(ValueError, match="no header can carry") as caught:
            Credentials(bad)
        assert "secret" not in str(caught.value)


# --- over HTTP, with the bodies of the released daemon


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (
            422,
            b'{"success":false,"error":"Validation error","details":[{"type":"missing",'
            b'"loc":["body","message"],"msg":"Field required","input":{}}],"status_code":422}',
            InvalidRequest,
            "body.message: Field required",
        ),
        (
            422,
            b'{"success":false,"error":"Validation error","details":[{"type":"json_invalid",'
            b'"loc":["body",1],"msg":"JSON decode error","input":{},'
            b'"ctx":{"error":"Expecting property name"}}],"status_code":422}',
            InvalidRequest,
            "body.1: JSON decode error: Expecting property name",
        ),
        (
            422,
            b'{"success":false,"detail":{"ok":false,"error":"invalid_value","detail":"below minimum 30.0",'
            b'"expected":"float"},"status_code":422}',
            InvalidRequest,
            "invalid_value: below minimum 30.0",
        ),
        (
            404,
            b'{"success":false,"detail":{"ok":false,"error":"unknown_key:nope","hint":"call GET /config"},'
            b'"status_code":404}',
            NotFound,
            "unknown_key:nope: call GET /config",
        ),
        (
            409,
            b'{"success":false,"detail":{"error":"app_already_installed","app_id":"pack","existing":'
            b'{"id":"de32963ac450"},"message":"Use force."},"status_code":409}',
            Conflict,
            "app_already_installed: Use force.",
        ),
        (401, b'{"detail":"Missing bearer token"}', Unauthorized, "Missing bearer token"),
        (
            404,
            b'{"success":false,"error":"App \'nope\' not deployed","detail":"App \'nope\' not deployed",'
            b'"status_code":404}',
            NotFound,
            "App 'nope' not deployed",
        ),
        (
            413,
            b'{"success":false,"error":"payload_too_large","max_bytes":52429040,"got_bytes":60000000}',
            InvalidRequest,
            "payload_too_large (max_bytes 52429040, got_bytes 60000000)",
        ),
        (
            429,
            b'{"success":false,"error":"too many requests","retry_after":1.5}',
            RateLimited,
            "too many requests",
        ),
        (
            429,
            b'{"success":false,"detail":{"error":"rate_limit_exceeded","code":"rate_limited","retry_after":1.5,'
            b'"message":"Slow down."},"status_code":429}',
            RateLimited,
            "rate_limit_exceeded: Slow down.",
        ),
        (
            500,
            b'{"success":false,"error":"Internal server error","request_id":"847273018ae0",'
            b'"status_code":500}',
            ServerError,
            "Internal server error (request_id 847273018ae0)",
        ),
        (503, b'{"success":false,"error":"Server is shutting down"}', ServerError, "Server is shutting down"),
        (
            200,
            b'{"success":false,"data":{"error":"Server busy - too many concurrent agent turns",'
            b'"retry":true}}',
            ApiError,
            "Server busy - too many concurrent agent turns",
        ),
    ],
)
def test_the_released_daemons_words_reach_the_message(
    status: int, body: bytes, kind: type[ApiError], said: str
) -> None:
    with server(body, status=status) as url, DevClient(url, token="x", retries=None) as client:
        with pytest.raises(kind) as caught:
            client.api.approvals.list_app_approvals("a")
    assert type(caught.value) is kind
    assert str(caught.value).startswith(
        f"{said}: GET /api/apps/a/approvals (list_app_approvals) answered {status}"
    )
    if isinstance(caught.value, RateLimited):
        assert caught.value.retry_after == 1.5


ODD: Final[list[object]] = [
    {"details": 1},
    {"details": [1, None, {"loc": 5, "msg": 7, "ctx": 3}]},
    {"detail": {}, "error": 3},
    {"detail": [1], "error": {"a": 1}},
    [1],
    None,
    "text",
]


@pytest.mark.parametrize("body", ODD)
def test_an_error_body_of_any_form_is_an_error(body: Any) -> None:
    with pytest.raises(InvalidRequest):
        read(LIST, 400, body)


def test_the_garbage_collector_works_again_after_a_large_answer() -> None:
    large: dict[str, Any] = {"success": True, "data": {"pending": []}, "more": "a" * 100_000}
    assert read(LIST, 200, large) == ApprovalList(pending=[])
    with pytest.raises(ContractViolation):
        read(LIST, 200, {**large, "data": 5})
    assert gc.isenabled()
    gc.disable()
    try:
        read(LIST, 200, large)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_an_answer_is_read_by_its_attributes() -> None:
    answer: Any = ApprovalList.from_wire({"pending": [], "count": 0})
    with pytest.raises(TypeError, match=r"ApprovalList is neither a dict nor a list; read \.count$"):
        _ = answer["count"]
    with pytest.raises(TypeError, match=r"read \.pending$"):
        _ = answer[0]
    with pytest.raises(TypeError, match="iterate over the member that is the list"):
        _ = [pending["request_id"] for pending in answer]
    assert dict(answer) == {"pending": [], "count": 0}
