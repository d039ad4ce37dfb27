"""Receives the sender's events in one of several ways, and prints what that took this process.

    python -m benchmarks.receivers WAY URL EVENTS [--read] [--waiters N]

A first run with few events builds what is built once. The clock starts when the sender has begun to send and
this process has read nothing yet.
"""

# python-socketio has no types: its values are unknown here.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUntypedFunctionDecorator=false

import argparse
import asyncio
import gc
import importlib
import threading
import urllib.request
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Final, Generic, TypeVar, cast

import aiohttp
import socketio
from pydantic import BaseModel, Discriminator, Tag, TypeAdapter

from digitorn_testing.events import (
    ApprovalRequest,
    AsyncLiveEventStream,
    Hook,
    InToken,
    MessageDone,
    MessageStarted,
    OutToken,
    Result,
    StreamDone,
    TerminalOutput,
    Token,
    ToolCall,
    ToolCallStreaming,
    ToolStart,
    TurnTerminal,
    UserMessage,
)

from . import frames
from .measuring import Cost, now

_DEADLINE: Final = 300.0
_WARM_UP: Final = 500
_NAMESPACE: Final = "/events"


@dataclass(frozen=True, slots=True)
class Task:
    """What to receive.

    Attributes:
        url: URL of the sender.
        events: How many events.
        read: Whether every payload is read.
        waiters: How many others wait for an event that does not come.
    """

    url: str
    events: int
    read: bool
    waiters: int

    @property
    def last(self) -> int:
        """Number of the last event."""
        return frames.FIRST + self.events - 1

    def go(self) -> Cost:
        """Has the sender begin; returns the clocks. Nothing is received meanwhile: it blocks the loop."""
        with urllib.request.urlopen(f"{self.url}/go?events={self.events}", timeout=_DEADLINE) as answered:
            answered.read()
        return now()


def _check(events: int, tokens: int, task: Task) -> None:
    expected = task.events * 84 // 100
    if events != task.events or (task.read and tokens != expected):
        raise SystemExit(f"{events} events and {tokens} tokens came, not {task.events} and {expected}")


def _tokens(envelopes: Iterable[dict[str, Any]]) -> int:
    """Reads every payload of untyped events."""
    return sum(event["type"] == "token" and bool(event["payload"]["delta"]) for event in envelopes)


# --- ours


async def ours(task: Task) -> Cost:
    """The library's asynchronous stream: typed and kept."""
    stream = AsyncLiveEventStream(
        daemon_url=task.url, token="a", app_id=frames.APP, session_id=frames.SESSION, since=frames.FIRST - 1
    )
    async with stream:
        waiting = [
            asyncio.create_task(stream.wait_for(ApprovalRequest, timeout=_DEADLINE))
            for _ in range(task.waiters)
        ]
        await asyncio.sleep(0)
        begun = task.go()
        await stream.wait_for(TurnTerminal, where=lambda one: one.seq == task.last, timeout=_DEADLINE)
        tokens = 0
        if task.read:
            for event in stream.events():
                payload = event.payload
                tokens += isinstance(payload, Token) and bool(payload.delta)
        cost = now() - begun
        _check(len(stream.events()), tokens, task)
        for one in waiting:
            one.cancel()
        return cost


# --- python-socketio


async def _with_socketio(
    task: Task, handler: Callable[[dict[str, Any]], Awaitable[None]], done: asyncio.Event
) -> tuple[Cost, Callable[[], Awaitable[None]]]:
    """Connects and joins as the package is used by default, and receives; returns the beginning, and how to
    close."""
    client: Any = socketio.AsyncClient(reconnection=False)
    client.on("event", handler, namespace=_NAMESPACE)
    await client.connect(task.url, auth={"token": "a"}, namespaces=[_NAMESPACE], transports=["websocket"])
    joining = {"app_id": frames.APP, "session_id": frames.SESSION}
    await client.call("join_session", joining, namespace=_NAMESPACE)
    begun = task.go()
    async with asyncio.timeout(_DEADLINE):
        await done.wait()
    return begun, client.disconnect


async def predecessor(task: Task) -> Cost:
    """The way of the client that this library replaces: dicts appended under a condition that is notified."""
    kept: list[dict[str, Any]] = []
    changed, done = threading.Condition(threading.Lock()), asyncio.Event()

    async def on_event(event: dict[str, Any]) -> None:
        with changed:
            kept.append(event)
            changed.notify_all()
        if len(kept) == task.events:
            done.set()

    begun, close = await _with_socketio(task, on_event, done)
    tokens = _tokens(kept) if task.read else 0
    cost = now() - begun
    _check(len(kept), tokens, task)
    await close()
    return cost


async def bare(task: Task) -> Cost:
    """python-socketio with a handler that only counts."""
    count, done = 0, asyncio.Event()

    async def on_event(_: dict[str, Any]) -> None:
        nonlocal count
        count += 1
        if count == task.events:
            done.set()

    begun, close = await _with_socketio(task, on_event, done)
    cost = now() - begun
    await close()
    return cost


P = TypeVar("P")


class _Naive(BaseModel, Generic[P]):
    event_id: str
    type: str
    kind: str
    seq: int
    ts: str
    app_id: str
    session_id: str
    user_id: str
    correlation_id: str | None
    op_id: str
    op_type: str
    op_state: str
    op_parent_id: str | None
    payload: P


def _type_of(event: dict[str, Any]) -> str:
    return cast("str", event["type"])


_NaiveEvent = Annotated[
    Annotated[_Naive[Token], Tag("token")]
    | Annotated[_Naive[Hook], Tag("hook")]
    | Annotated[_Naive[OutToken], Tag("out_token")]
    | Annotated[_Naive[InToken], Tag("in_token")]
    | Annotated[_Naive[UserMessage], Tag("user_message")]
    | Annotated[_Naive[MessageStarted], Tag("message_started")]
    | Annotated[_Naive[ToolCallStreaming], Tag("tool_call_streaming")]
    | Annotated[_Naive[ToolStart], Tag("tool_start")]
    | Annotated[_Naive[ToolCall], Tag("tool_call")]
    | Annotated[_Naive[TerminalOutput], Tag("terminal_output")]
    | Annotated[_Naive[StreamDone], Tag("stream_done")]
    | Annotated[_Naive[Result], Tag("result")]
    | Annotated[_Naive[MessageDone], Tag("message_done")]
    | Annotated[_Naive[TurnTerminal], Tag("turn_terminal")],
    Discriminator(_type_of),
]


async def naive(task: Task) -> Cost:
    """python-socketio, and pydantic validates a union of all events into typed ones, which are kept."""
    validate: Callable[[object], _Naive[object]] = TypeAdapter[Any](_NaiveEvent).validate_python
    kept: list[_Naive[object]] = []
    done = asyncio.Event()

    async def on_event(event: dict[str, Any]) -> None:
        kept.append(validate(event))
        if len(kept) == task.events:
            done.set()

    begun, close = await _with_socketio(task, on_event, done)
    tokens = sum(isinstance(one.payload, Token) and bool(one.payload.delta) for one in kept)
    cost = now() - begun
    _check(len(kept), tokens, task)
    await close()
    return cost


# --- the limit


async def raw(task: Task) -> Cost:
    """WebSocket and orjson, without Socket.IO: dicts in a list."""
    # Of the extra `bench`, which the type checkers do without.
    loads: Callable[[bytes], dict[str, Any]] = importlib.import_module("orjson").loads
    kept: list[dict[str, Any]] = []
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(f"{task.url}/raw", max_msg_size=0, decode_text=False) as socket,
    ):
        begun = task.go()
        async with asyncio.timeout(_DEADLINE):
            async for message in socket:
                kept.append(loads(cast("bytes", message.data)))
                if len(kept) == task.events:
                    break
        tokens = _tokens(kept) if task.read else 0
        cost = now() - begun
    _check(len(kept), tokens, task)
    return cost


WAYS: Final = {"ours": ours, "predecessor": predecessor, "bare": bare, "naive": naive, "raw": raw}


async def _main(way: Callable[[Task], Awaitable[Cost]], task: Task) -> Cost:
    await way(Task(task.url, _WARM_UP, task.read, task.waiters))
    gc.collect()
    return await way(task)


if __name__ == "__main__":
    _parser = argparse.ArgumentParser(prog="receivers")
    _parser.add_argument("way", choices=WAYS)
    _parser.add_argument("url")
    _parser.add_argument("events", type=int)
    _parser.add_argument("--read", action="store_true")
    _parser.add_argument("--waiters", type=int, default=0)
    _given = _parser.parse_args()
    _task = Task(_given.url, _given.events, _given.read, _given.waiters)
    print(asyncio.run(_main(WAYS[_given.way], _task)).printed())
