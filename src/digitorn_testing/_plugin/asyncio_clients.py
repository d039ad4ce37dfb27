"""The asynchronous client under pytest-asyncio: one fixture for each scope of the test's event loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import TYPE_CHECKING, Literal, TypeAlias

import pytest_asyncio

from .target import Target

if TYPE_CHECKING:
    from digitorn_testing._approvals.policies import ApprovalPolicy
    from digitorn_testing._client._async.client import AsyncDevClient

Scope: TypeAlias = Literal["function", "class", "module", "package", "session"]


def name_in(scope: str) -> str:
    """The name of the fixture for an event loop of some scope."""
    return f"_digitorn_client_in_{scope}_loop"


def _fixture(scope: Scope) -> Callable[..., AsyncIterator[AsyncDevClient]]:
    @pytest_asyncio.fixture(loop_scope=scope, name=name_in(scope))
    async def opened(
        _digitorn_target: Target, digitorn_approvals: ApprovalPolicy
    ) -> AsyncGenerator[AsyncDevClient]:
        # It must be closed in the event loop that it was used in.
        async with _digitorn_target.async_client(digitorn_approvals) as client:
            yield client

    return opened


in_function_loop = _fixture("function")
in_class_loop = _fixture("class")
in_module_loop = _fixture("module")
in_package_loop = _fixture("package")
in_session_loop = _fixture("session")
