"""How operations of the contract become routes, and failures become answers."""

import functools
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, TypeVar, cast

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from pydantic import create_model
from starlette.exceptions import HTTPException as StarletteHTTPException

from digitorn_testing._generated import models
from digitorn_testing._generated._runtime import Model, RestOperation
from digitorn_testing.fakes._store.users import TokenRefused

from .answers import JSONResponse
from .signatures import route_path

T = TypeVar("T")
P = ParamSpec("P")

_AUTH_PREFIX = "/auth/"


class SoftFailed(Exception):
    """An operation failed in a way that the daemon reports under HTTP 200.

    Attributes:
        reason: Why, in the daemon's words.
        data: What it tells besides.
    """

    def __init__(self, reason: str, data: object = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.data = data


class AuthFailed(Exception):
    """An auth operation failed; these have an error body of their own.

    Attributes:
        status: HTTP status.
        reason: Why.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def serve(
    router: APIRouter, operation: RestOperation[T]
) -> Callable[[Callable[P, Awaitable[T | Response]]], Callable[P, Awaitable[T | Response]]]:
    """Serves an operation of the contract: its path, method and result come from there.

    Args:
        router: Where the route goes.
        operation: The operation; the decorated handler must return its result, or a response of
            its own if that is not JSON.
    """

    def register(handler: Callable[P, Awaitable[T | Response]]) -> Callable[P, Awaitable[T | Response]]:
        @functools.wraps(handler)
        async def answer(*args: P.args, **kwargs: P.kwargs) -> Response:
            result = await handler(*args, **kwargs)
            return result if isinstance(result, Response) else JSONResponse(_answer(operation, result))

        router.add_api_route(
            route_path(operation),
            answer,
            methods=[operation.method],
            operation_id=operation.id,
            response_model=_documented(operation),
        )
        return handler

    return register


def serve_bytes(
    router: APIRouter, operation: RestOperation[Any]
) -> Callable[[Callable[P, Awaitable[Response]]], Callable[P, Awaitable[Response]]]:
    """Serves an operation whose answer is no JSON; the decorated handler returns the answer itself.

    Args:
        router: Where the route goes.
        operation: The operation.
    """
    return router.api_route(
        route_path(operation), methods=[operation.method], operation_id=operation.id, response_class=Response
    )


def install_error_answers(app: FastAPI) -> None:
    """Turns failures into the bodies that the contract names (contract: rest, section 1.2)."""
    app.add_exception_handler(SoftFailed, _soft_failure)
    app.add_exception_handler(AuthFailed, _auth_failure)
    app.add_exception_handler(TokenRefused, _unauthorized)
    app.add_exception_handler(StarletteHTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _malformed)


def _answer(operation: RestOperation[Any], result: object) -> object:
    wired = (
        [one.to_wire() for one in cast("list[Model]", result)] if isinstance(result, list) else _wired(result)
    )
    if operation.envelope is None:
        return wired
    return models.AppResponse(success=True, data=wired, error=None).to_wire()


def _wired(result: object) -> object:
    return result.to_wire() if isinstance(result, Model) else result


def _documented(operation: RestOperation[Any]) -> Any:
    """The answer's class for FastAPI's document; the answers themselves are written by `wire`."""
    if operation.envelope is None:
        return operation.result
    name = "".join(part.title() for part in operation.id.split("_")) + "Response"
    fields: dict[str, Any] = {operation.envelope.data: (operation.result, ...)}
    return create_model(name, __base__=models.AppResponse, **fields)


async def _soft_failure(_: Request, error: Exception) -> JSONResponse:
    failed = cast("SoftFailed", error)
    body = models.SoftFailure(success=False, data=failed.data, error=failed.reason)
    return JSONResponse(body.to_wire())


async def _auth_failure(_: Request, error: Exception) -> JSONResponse:
    failed = cast("AuthFailed", error)
    return JSONResponse(models.ErrorResponse(error=failed.reason).to_wire(), status_code=failed.status)


async def _refused(_: Request, error: Exception) -> JSONResponse:
    refused = cast("StarletteHTTPException", error)
    detail = cast("object", refused.detail)
    if isinstance(detail, str):
        body = models.Problem(success=False, error=detail, detail=detail, status_code=refused.status_code)
    else:
        found = cast("dict[str, Any]", detail)
        body = models.Problem(success=False, detail=found, status_code=refused.status_code)
    return JSONResponse(body.to_wire(), status_code=refused.status_code, headers=refused.headers)


async def _malformed(_: Request, error: Exception) -> JSONResponse:
    faults = jsonable_encoder(cast("RequestValidationError", error).errors())
    body = {"success": False, "error": "Validation error", "details": faults, "status_code": 422}
    return JSONResponse(body, status_code=422)


async def _unauthorized(request: Request, error: Exception) -> JSONResponse:
    body: Model
    if request.url.path.startswith(_AUTH_PREFIX):
        body = models.ErrorResponse(error=str(error))
    else:
        body = models.Problem(detail=str(error))
    return JSONResponse(body.to_wire(), status_code=401, headers={"WWW-Authenticate": "Bearer"})


def complete_models() -> None:
    """Builds every model of the REST interface, so that FastAPI does not build them in several threads."""
    for found in vars(models).values():
        if isinstance(found, type) and issubclass(found, Model):
            found.model_rebuild()
