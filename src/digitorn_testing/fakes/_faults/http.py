"""Puts faults between a caller and the REST part of the embedded daemon."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from digitorn_testing._generated import models
from digitorn_testing.fakes._wire.socketio import AsgiApp, Scope

from .rules import CutOff, Hang, RespondWith, Rule, Rules, SlowBody

_Receive = Callable[[], Awaitable[Scope]]
_Send = Callable[[Scope], Awaitable[None]]

LOCAL_CLIENT: Final = ("in process", 0)
"""The client's end of a call that came without a socket."""

_PIECES: Final = 20
"""In how many pieces a slow body comes."""


class CallCut(ConnectionResetError):
    """The connection of a call that came without a socket was cut."""


def faulty(app: AsgiApp, rules: Rules, cut: Callable[[tuple[str, int]], None]) -> AsgiApp:
    """An application whose calls are hit by faults.

    Args:
        app: What serves them.
        rules: How faults hit.
        cut: Cuts the connection of a client, as the scope of a call names it.
    """

    async def serve(scope: Scope, receive: _Receive, send: _Send) -> None:
        rule = rules.of_call(scope) if scope["type"] == "http" else None
        if rule is None:
            await app(scope, receive, send)
        else:
            await _FaultyCall(app, scope, receive, send, cut).hit(rule, rules)

    return serve


class _FaultyCall:
    """One call that a fault hits."""

    def __init__(
        self,
        app: AsgiApp,
        scope: Scope,
        receive: _Receive,
        send: _Send,
        cut: Callable[[tuple[str, int]], None],
    ) -> None:
        self._app = app
        self._scope = scope
        self._receive = receive
        self._send = send
        self._cut_client = cut

    async def hit(self, rule: Rule[Scope], rules: Rules) -> None:
        match rule.effect:
            case RespondWith() as answer:
                await self._respond(answer)
            case SlowBody(seconds=seconds):
                await self._app(self._scope, self._receive, self._slowly(seconds, rules.released(rule)))
            case Hang():
                await self._hang(rule, rules)
            case CutOff(at="request"):
                await self._read()
                await self._cut()
            case CutOff(at="answer"):
                await self._app(self._scope, self._receive, _nowhere)
                await self._cut()
            case CutOff(at="body"):
                await self._app(self._scope, self._receive, self._half())
                await self._cut()
            case other:
                raise TypeError(f"{other} cannot hit a call")

    async def _respond(self, answer: RespondWith) -> None:
        await self._read()
        body = models.ErrorResponse(error=answer.reason).model_dump_json(exclude_unset=True).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        if answer.retry_after is not None:
            headers.append((b"retry-after", f"{answer.retry_after:g}".encode()))
        await self._send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    async def _hang(self, rule: Rule[Scope], rules: Rules) -> None:
        """Holds the call until the fault is removed; what came of its body is kept for then."""
        body, more = b"", True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message.get("body", b""), message.get("more_body", False)
        released = asyncio.ensure_future(rules.released(rule).wait())
        gone = asyncio.ensure_future(self._gone())
        try:
            await asyncio.wait({released, gone}, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                return
        finally:
            for task in (released, gone):
                task.cancel()
            await asyncio.wait({released, gone})
        pending: list[Scope] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Scope:
            return pending.pop() if pending else await self._receive()

        await self._app(self._scope, receive, self._send)

    async def _read(self) -> None:
        """Reads the request to its end, so that the caller has sent all of it."""
        while (message := await self._receive())["type"] == "http.request":
            if not message.get("more_body", False):
                return

    async def _gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _cut(self) -> None:
        client = self._scope["client"]
        if client == LOCAL_CLIENT:
            raise CallCut("the connection was cut")
        if client is not None:
            # A connection that has gone meanwhile has no address any more.
            self._cut_client(tuple(client))
        # To return without an answer on a connection that stands would be a fault of the application.
        await self._gone()

    def _slowly(self, seconds: float, released: asyncio.Event) -> _Send:
        async def send(message: Scope) -> None:
            body: bytes = message.get("body", b"")
            if message["type"] != "http.response.body" or not body:
                await self._send(message)
                return
            size = -(-len(body) // _PIECES)
            pieces = [body[start : start + size] for start in range(0, len(body), size)]
            for place, piece in enumerate(pieces, 1):
                # A daemon that stops sends the rest at once.
                with suppress(TimeoutError):
                    await asyncio.wait_for(released.wait(), seconds / len(pieces))
                more = place < len(pieces) or message.get("more_body", False)
                await self._send({"type": "http.response.body", "body": piece, "more_body": more})

        return send

    def _half(self) -> _Send:
        async def send(message: Scope) -> None:
            if message["type"] == "http.response.body":
                body: bytes = message.get("body", b"")
                message = {"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True}
            await self._send(message)

        return send


async def _nowhere(message: Scope) -> None:
    """The answer is lost."""
