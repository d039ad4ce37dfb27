"""The operations that the embedded daemon has no behaviour for: contract-true examples, over real HTTP."""

import base64
import warnings
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, cast

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from pydantic_core import from_json
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from digitorn_testing._exchanges import EXAMPLE_HEADER
from digitorn_testing._generated import operations
from digitorn_testing._generated._runtime import RestOperation
from digitorn_testing.fakes._assembly import DaemonState

from .dependencies import caller_of, daemon_of, deployed_app, owned_session, valid_app_id, valid_session_id
from .examples import example_of
from .signatures import Parameter, Signature, route_path, signatures

ANSWERED_BY_EXAMPLE: Final = "x-answered-by-example"
"""Marks an operation without behaviour in the daemon's OpenAPI document."""

_MADE_UP: Final = (
    "the answer is an example, made up from the contract. FakeDaemon(examples='refuse') makes this an error, "
    "FakeDaemon(examples='answer') accepts it"
)
_REFUSED: Final = (
    "run this test on the released daemon, or accept answers made up from the contract with "
    "FakeDaemon(examples='answer')"
)

_APPS: Final = "/api/apps/{app_id}/"
_SESSIONS: Final = "/api/apps/{app_id}/sessions/{session_id}/"

_PIXEL: Final = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
_IMAGE: Final = ("image/png", _PIXEL)
_METRICS: Final = ("text/plain", b"# TYPE digitorn_up gauge\ndigitorn_up 1\n")
_PAGE: Final = ("text/html", b"<!DOCTYPE html><title>An example</title>")
_FILE: Final = ("application/octet-stream", b"An example.\n")

# Types other than JSON; any other file is `_FILE`.
_CONTENTS: Final[Mapping[str, tuple[str, bytes]]] = {
    operations.GET_APP_ICON.id: _IMAGE,
    operations.GET_AVATAR.id: _IMAGE,
    operations.GET_METRICS.id: _METRICS,
    operations.GET_METRICS_ALIAS.id: _METRICS,
    operations.GET_DOCS.id: _PAGE,
    operations.GET_DOCS_REDIRECT.id: _PAGE,
    operations.GET_REDOC.id: _PAGE,
    operations.COMPLETE_OAUTH.id: _PAGE,
    operations.STREAM_WIDGET_DATA.id: ("text/event-stream", b'data: {"text": "An example."}\n\n'),
}


class ExampleAnswer(UserWarning):
    """The embedded daemon answered with an example, because it has no behaviour for the operation."""


def fallback_routes(served: Collection[str]) -> list[Route]:
    """A route for every operation of the contract that nothing else serves.

    Args:
        served: The ids of the operations that have handlers of their own.
    """
    rest = [one for one in operations.OPERATIONS if one.id not in served]
    return [_route(operation, signatures()[operation.id]) for operation in rest]


def document_fallbacks(document: dict[str, Any], served: Collection[str]) -> None:
    """Adds the operations without handlers to an OpenAPI document: what they take, not what they give."""
    for operation in operations.OPERATIONS:
        if operation.id not in served:
            item: dict[str, Any] = document["paths"].setdefault(operation.path, {})
            item[operation.method.lower()] = _documented(operation, signatures()[operation.id])


def precedence(route: BaseRoute) -> tuple[int, ...]:
    """Where a route stands: the first that fits serves, so the more particular ones come first."""
    path = route.path if isinstance(route, Route) else ""
    kinds = (2 if ":path}" in part else 1 if part.startswith("{") else 0 for part in path.split("/"))
    return (*kinds, 3)


def _route(operation: RestOperation[Any], signature: Signature) -> Route:
    async def answer(request: Request) -> Response:
        await _admit(request, operation)
        await _check(request, operation, signature)
        _say_that_it_is_an_example(daemon_of(request), operation)
        response = _answer(operation, request.path_params)
        response.headers[EXAMPLE_HEADER] = "true"
        return response

    # What the daemon's record of calls knows the operation by.
    answer.__name__ = operation.id
    route = Route(route_path(operation), answer, methods=[operation.method], name=operation.id)
    # A route for GET would serve HEAD too.
    route.methods = {operation.method}
    return route


def _say_that_it_is_an_example(daemon: DaemonState, operation: RestOperation[Any]) -> None:
    """Warns once of an answer that is made up, or refuses to make it up.

    Raises:
        HTTPException: Examples are refused, or warnings are errors.
    """
    examples = daemon.settings.examples
    if examples == "answer" or (examples == "warn" and operation.id in daemon.warned_of):
        return
    lacks = f"the embedded daemon has no behaviour for {operation.id} ({operation.method} {operation.path})"
    if examples == "warn":
        try:
            warnings.warn(ExampleAnswer(f"{lacks}: {_MADE_UP}"), stacklevel=1)
        except ExampleAnswer:
            # The caller cannot be told in any other way.
            examples = "refuse"
        else:
            daemon.warned_of.add(operation.id)
    if examples == "refuse":
        raise HTTPException(501, f"{lacks}, and examples are refused: {_REFUSED}")


# --- who asks, and for what


async def _admit(request: Request, operation: RestOperation[Any]) -> None:
    """Refuses a caller without a token, and things that are not there."""
    if not _needs_token(operation):
        return
    daemon = daemon_of(request)
    user = await caller_of(request)
    if not operation.path.startswith(_APPS):
        return
    # Where the contract has no 400, a malformed id is not told from one that is unknown.
    checked = 400 in operation.statuses
    app_id: str = request.path_params["app_id"]
    if checked:
        await valid_app_id(app_id, user)
    if 404 not in operation.statuses:
        # It answers whether or not the app is deployed.
        return
    app = await deployed_app(app_id, daemon, request)
    if operation.path.startswith(_SESSIONS):
        session_id: str = request.path_params["session_id"]
        if checked:
            await valid_session_id(session_id, user)
        await owned_session(app, session_id, user, daemon)


# --- what they send


async def _check(request: Request, operation: RestOperation[Any], signature: Signature) -> None:
    """Refuses a request that does not have the form of the contract."""
    faults = _Faults()
    faults.check_texts("query", signature.at("query"), request.query_params)
    faults.check_texts("header", signature.at("header"), request.headers)
    faults.check_texts("cookie", signature.at("cookie"), request.cookies)
    if operation.body == "json":
        faults.check_json(signature.at("body"), await request.body())
    elif operation.body == "multipart":
        async with _form_of(request) as form:
            fields = {name: value for name, value in form.items() if isinstance(value, str)}
            files = {name for name, value in form.items() if isinstance(value, UploadFile)}
            faults.check_texts("body", signature.at("body"), fields)
            faults.check_files(signature.at("file"), files)
    elif operation.body is not None:
        await request.body()
    if faults.found:
        raise RequestValidationError(faults.found)


@asynccontextmanager
async def _form_of(request: Request) -> AsyncGenerator[FormData]:
    try:
        form = await request.form()
    except HTTPException as error:
        # The framework answers 400, which the contract does not have here.
        fault = {"type": "value_error", "loc": ("body",), "msg": error.detail, "input": None}
        raise RequestValidationError([fault]) from None
    try:
        yield form
    finally:
        await form.close()


class _Faults:
    """What is wrong with a request, in the form of a 422."""

    def __init__(self) -> None:
        self.found: list[dict[str, Any]] = []

    def check_texts(self, place: str, parameters: Iterable[Parameter], texts: Mapping[str, str]) -> None:
        """Checks values that travel as text."""
        for one in parameters:
            if one.name in texts:
                self._check(place, one, partial(one.adapter.validate_strings, texts[one.name]))
            elif one.required:
                self._missing(place, one)

    def check_files(self, parameters: Iterable[Parameter], files: Collection[str]) -> None:
        """Checks that uploads are there."""
        for one in parameters:
            if one.required and one.name not in files:
                self._missing("body", one)

    def check_json(self, parameters: Collection[Parameter], content: bytes) -> None:
        """Checks the members of a JSON body; one that needs none may be absent or null."""
        try:
            document: object = from_json(content) if content else None
        except ValueError as error:
            self._add(("body",), "json_invalid", f"JSON decode error: {error}")
            return
        if document is None and not any(one.required for one in parameters):
            return
        if not isinstance(document, dict):
            self._add(("body",), "model_attributes_type", "Input should be a valid dictionary")
            return
        members = cast("dict[str, object]", document)
        for one in parameters:
            if one.name in members:
                check = partial(one.adapter.validate_python, members[one.name], strict=True)
                self._check("body", one, check)
            elif one.required:
                self._missing("body", one)

    def _check(self, place: str, parameter: Parameter, validate: Callable[[], object]) -> None:
        try:
            validate()
        except ValidationError as error:
            for fault in error.errors(include_url=False, include_input=False, include_context=False):
                self._add((place, parameter.name, *fault["loc"]), fault["type"], fault["msg"])

    def _missing(self, place: str, parameter: Parameter) -> None:
        self._add((place, parameter.name), "missing", "Field required")

    def _add(self, place: tuple[str | int, ...], kind: str, message: str) -> None:
        self.found.append({"loc": place, "type": kind, "msg": message})


# --- what they get


def _answer(operation: RestOperation[Any], asked: Mapping[str, str]) -> Response:
    status = _status(operation)
    if operation.reading == "none":
        return Response(status_code=status)
    if operation.reading != "json":
        media_type, content = _CONTENTS.get(operation.id, _FILE)
        return Response(content, media_type=media_type, status_code=status)
    result = example_of(operation)
    if isinstance(result, dict):
        # The thing that was asked for, under its own id.
        named = cast("dict[str, object]", result)
        echoed = {name: text for name, text in asked.items() if isinstance(named.get(name), str)}
        result = {**named, **echoed}
    envelope = operation.envelope
    if envelope is None:
        return JSONResponse(result, status_code=status)
    body: dict[str, object] = {envelope.data: result}
    if envelope.success is not None:
        body[envelope.success] = True
    return JSONResponse(body, status_code=status)


def _documented(operation: RestOperation[Any], signature: Signature) -> dict[str, Any]:
    documented: dict[str, Any] = {
        "operationId": operation.id,
        "parameters": [
            {"name": one.name, "in": one.place, "required": one.required, "schema": {}}
            for one in signature.at("path", "query", "header", "cookie")
        ],
        "responses": {str(_status(operation)): {"description": "An example."}},
        ANSWERED_BY_EXAMPLE: True,
    }
    if operation.authenticated:
        bearer: dict[str, list[str]] = {"bearerAuth": []}
        documented["security"] = [bearer] if _needs_token(operation) else [{}, bearer]
    return documented


def _needs_token(operation: RestOperation[Any]) -> bool:
    return operation.authenticated and not operation.credentials_optional


def _status(operation: RestOperation[Any]) -> int:
    """The status of a success; what has no content is told by the highest that the contract declares."""
    declared = [status for status in operation.statuses if 200 <= status < 300]
    return declared[-1 if operation.reading == "none" else 0]
