"""From an HTTP answer to a typed result or a typed error."""

import json
from typing import Any

import pytest

from digitorn_testing import (
    ApiError,
    Conflict,
    ContractViolation,
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

SECRET = "very-secret-token"
CREDENTIALS = Credentials(SECRET, "refresh-" + SECRET)


def read(call: Call[Any], status: int, body: Any, headers: dict[str, str] | None = None) -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    exchange = Exchange(
        operation=call.operation.id, method=call.operation.method, path=call.path, status=status
    )
    return read_answer(
        call,
        exchange,
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
    assert str(caught.value) == ("POST /api/apps/a/approve (resolve_approval) answered 200: already resolved")


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
    assert f"GET /api/apps/a/approvals (list_app_approvals) answered {status}: app not deployed" in message


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
