"""Fixtures under a second name.

A project may have fixtures of these short names. If they are of the same kind, as a `FakeDaemon` is under
`fake_daemon`, the other fixtures use them. If they are something else, ours are made nevertheless.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeVar, cast

import pytest

if TYPE_CHECKING:
    from digitorn_testing._approvals.policies import ApprovalPolicy
    from digitorn_testing._client._async.client import AsyncDevClient
    from digitorn_testing._client._sync.client import DevClient
    from digitorn_testing._handles import SessionHandle
    from digitorn_testing._stream import LiveEventStream
    from digitorn_testing.builders import AppBuilder, SessionBuilder, TurnBuilder
    from digitorn_testing.fakes import FakeDaemon, FakeModel, FakeModelServer

_T = TypeVar("_T")


def own(short: str) -> str:
    """The name under which a fixture is made if its short name is taken by something else."""
    return f"_digitorn_own_{short}"


# --- what other fixtures are made of


def digitorn_model(request: pytest.FixtureRequest, fake_model: object) -> FakeModel:
    """The same as `fake_model`."""
    from digitorn_testing.fakes import FakeModel

    return _or_own(request, fake_model, FakeModel, "fake_model")


def digitorn_model_server(request: pytest.FixtureRequest, fake_model_server: object) -> FakeModelServer:
    """The same as `fake_model_server`."""
    from digitorn_testing.fakes import FakeModelServer

    return _or_own(request, fake_model_server, FakeModelServer, "fake_model_server")


def digitorn_daemon(request: pytest.FixtureRequest, fake_daemon: object) -> FakeDaemon:
    """The same as `fake_daemon`."""
    from digitorn_testing.fakes import FakeDaemon

    return _or_own(request, fake_daemon, FakeDaemon, "fake_daemon")


def digitorn_approvals(request: pytest.FixtureRequest, approvals: object) -> ApprovalPolicy:
    """The same as `approvals`."""
    if callable(approvals):
        return cast("ApprovalPolicy", approvals)
    made: ApprovalPolicy = request.getfixturevalue(own("approvals"))
    return made


def digitorn_client(request: pytest.FixtureRequest, dev_client: object) -> DevClient:
    """The same as `dev_client`."""
    from digitorn_testing._client._sync.client import DevClient

    return _or_own(request, dev_client, DevClient, "dev_client")


def _or_own(request: pytest.FixtureRequest, value: object, kind: type[_T], short: str) -> _T:
    if isinstance(value, kind):
        return value
    made: _T = request.getfixturevalue(own(short))
    return made


# --- what is only used by tests


def async_dev_client(digitorn_async_client: AsyncDevClient) -> AsyncDevClient:
    """The asynchronous `dev_client`, for tests run by pytest-asyncio (in either mode) or anyio."""
    return digitorn_async_client


def session(digitorn_session: SessionHandle) -> SessionHandle:
    """A new session of `digitorn_app`. On a given daemon it is deleted afterwards, unless the test failed."""
    return digitorn_session


def live_stream(digitorn_client: DevClient, session: SessionHandle) -> Iterator[LiveEventStream]:
    """The open stream of `session`."""
    with digitorn_client.open_event_stream(session) as stream:
        yield stream


def app_builder(digitorn_app_builder: AppBuilder) -> AppBuilder:
    """An app definition to start from, with the id of the app of `session` on an embedded daemon."""
    return digitorn_app_builder


def turn_builder(digitorn_turn_builder: TurnBuilder) -> TurnBuilder:
    """An empty turn to add events to."""
    return digitorn_turn_builder


def session_builder(digitorn_session_builder: SessionBuilder) -> SessionBuilder:
    """An empty session to add turns and approvals to."""
    return digitorn_session_builder
