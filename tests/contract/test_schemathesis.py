"""Requests made up from the contract: whatever the embedded daemon answers, the contract foresees it."""

from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from typing import Any, cast

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from contract.document import openapi
from digitorn_testing.fakes import FakeDaemon, FakeModel

APP = "my-app"
SESSION = "my-session"
# How many requests of each kind an operation is sent: on what is there, on anything, malformed.
EXAMPLES = {"known": 3, "any": 2, "malformed": 2}
SECONDS = 10.0

METHODS = ("get", "put", "post", "delete", "patch", "head", "options")
# The contract takes a stream as the text that it is, schemathesis as a list of events.
STREAMS = {"stream_widget_data"}

OPERATIONS = {
    item[method]["operationId"]: (path, method)
    for path, item in openapi()["paths"].items()
    for method in METHODS
    if method in item
}


@cache
def described() -> Any:
    """The contract as schemathesis reads it. Imported late: it takes more than a second."""
    import schemathesis

    return cast("Any", schemathesis).openapi.from_dict(openapi())


def checks_of(name: str) -> list[Any]:
    """What is checked of the answers of an operation."""
    import schemathesis.checks
    import schemathesis.specs.openapi.checks

    common: Any = schemathesis.checks
    particular: Any = schemathesis.specs.openapi.checks
    found = [
        common.not_a_server_error,
        particular.status_code_conformance,
        particular.content_type_conformance,
    ]
    return found if name in STREAMS else [*found, particular.response_schema_conformance]


class Target:
    """A daemon that has the app and the session, whatever was done to them before."""

    def __init__(self, daemon: FakeDaemon) -> None:
        self._daemon = daemon
        self._model = FakeModel().will_respond_with_text("An answer.", times=None)
        self._authorization = f"Bearer {daemon.token()}"
        headers = {"Authorization": self._authorization}
        self._client = httpx.Client(base_url=daemon.url, headers=headers, timeout=SECONDS)

    def prepare(self) -> None:
        self._daemon.add_app(APP, model=self._model, tools=["Bash"])
        # The first message of a session brings it into being.
        path = f"/api/apps/{APP}/sessions/{SESSION}"
        if self._client.get(path).status_code == 404:
            body = {"message": "hi", "queue_mode": "wait"}
            self._client.post(f"{path}/messages", json=body).raise_for_status()

    def call(self, case: Any, checked: list[Any]) -> int:
        response = case.call_and_validate(
            base_url=self._daemon.url, checks=checked, headers={"Authorization": self._authorization}
        )
        status: int = response.status_code
        return status

    def close(self) -> None:
        self._client.close()


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    with FakeDaemon(examples="answer") as daemon:
        found = Target(daemon)
        yield found
        found.close()


def cases(name: str, kind: str) -> st.SearchStrategy[Any]:
    """Requests of an operation: on what is there, on anything, or malformed."""
    from schemathesis import GenerationMode

    path, method = OPERATIONS[name]
    there = {"app_id": APP, "session_id": SESSION}
    fixed = {key: value for key, value in there.items() if f"{{{key}}}" in path and kind != "any"}
    mode = GenerationMode.NEGATIVE if kind == "malformed" else GenerationMode.POSITIVE
    found = described()[path][method].as_strategy(generation_mode=mode, path_parameters=fixed or None)
    return cast("st.SearchStrategy[Any]", found)


def kinds(name: str) -> list[str]:
    """Which requests an operation can be sent."""
    path, method = OPERATIONS[name]
    operation = openapi()["paths"][path][method]
    found = ["known"]
    if "{" in path:
        found.append("any")
    if "requestBody" in operation or "parameters" in operation:
        found.append("malformed")
    return found


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name in OPERATIONS for kind in kinds(name)])
def test_answers_keep_to_the_contract(target: Target, name: str, kind: str) -> None:
    @settings(
        max_examples=EXAMPLES[kind],
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    @given(case=cases(name, kind))
    def call(case: Any) -> None:
        statuses.append(target.call(case, checks))

    checks, statuses = checks_of(name), list[int]()
    target.prepare()
    call()
    assert statuses


@pytest.mark.parametrize(
    ("status", "media_type", "body", "told"),
    [
        (500, "application/json", b'{"detail": "crashed"}', "Server error"),
        (418, "application/json", b'{"detail": "a teapot"}', "Undocumented status code"),
        (200, "text/plain", b"ok", "Undocumented Content-Type"),
        (200, "application/json", b'{"success": true, "data": {"draft_id": 1}}', "violates schema"),
        (200, "application/json", b'{"data": {}}', "violates schema"),
    ],
)
def test_a_wrong_answer_is_noticed(status: int, media_type: str, body: bytes, told: str) -> None:
    from schemathesis.core.failures import FailureGroup

    path, method = OPERATIONS["get_draft"]
    case = described()[path][method].Case(path_parameters={"draft_id": "x"})
    request = httpx.Request(method, "http://127.0.0.1/api/builder/drafts/x")
    answer = httpx.Response(status, headers={"Content-Type": media_type}, content=body, request=request)
    answer.elapsed = timedelta(0)
    with pytest.raises(FailureGroup) as caught:
        case.validate_response(answer, checks=checks_of("get_draft"))
    assert any(told in one.title for one in caught.value.exceptions), caught.value.exceptions
