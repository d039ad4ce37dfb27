"""A typed answer over REST, beside httpx and `json()`."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import httpx

from digitorn_testing import AsyncDevClient, DevClient

from . import frames
from .answers_served import LARGE, SMALL, path_of
from .measuring import Cost, alternate, now, of
from .report import Section, at_most
from .sender import sender

_CALLS: Final = {SMALL: 300, LARGE: 12}
_SIZES: Final = {SMALL: "600 bytes", LARGE: "560 KB"}
_HEADERS: Final = {"Authorization": "Bearer a"}


def _blocking(url: str, size: str) -> Cost:
    with DevClient.with_token("a", daemon_url=url) as client:

        def call() -> None:
            client.api.sessions.list_session_events(frames.APP, size)

        return _each(call, size)


def _httpx(url: str, size: str) -> Cost:
    with httpx.Client(base_url=url, headers=_HEADERS) as client:

        def call() -> None:
            client.get(path_of(size)).raise_for_status().json()

        return _each(call, size)


def _each(call: Callable[[], None], size: str) -> Cost:
    call()

    def calls() -> None:
        for _ in range(_CALLS[size]):
            call()

    return of(calls).over(_CALLS[size])


def _asynchronous(url: str, size: str) -> Cost:
    async def calls() -> Cost:
        async with AsyncDevClient.with_token("a", daemon_url=url) as client:
            return await _each_async(lambda: client.api.sessions.list_session_events(frames.APP, size), size)

    return asyncio.run(calls())


def _httpx_async(url: str, size: str) -> Cost:
    async def calls() -> Cost:
        async with httpx.AsyncClient(base_url=url, headers=_HEADERS) as client:

            async def call() -> object:
                return (await client.get(path_of(size))).raise_for_status().json()

            return await _each_async(call, size)

    return asyncio.run(calls())


async def _each_async(call: Callable[[], Awaitable[object]], size: str) -> Cost:
    await call()
    begun = now()
    for _ in range(_CALLS[size]):
        await call()
    return (now() - begun).over(_CALLS[size])


_FACES: Final = {
    "blocking": (_blocking, _httpx, "httpx.Client"),
    "asynchronous": (_asynchronous, _httpx_async, "httpx.AsyncClient"),
}


def measure(rounds: int) -> Section:
    """Measures answers.

    Args:
        rounds: How many rounds; three times as many are made, since one is short.
    """
    works: dict[str, Callable[[], Cost]] = {}
    with sender() as url:
        for size in _SIZES:
            for face, (ours, peer, _) in _FACES.items():
                works[f"{face} {size}"] = partial(ours, url, size)
                works[f"{face} {size} peer"] = partial(peer, url, size)
        found = alternate(works, 3 * rounds)
    rows: list[tuple[str, ...]] = []
    ratios: dict[str, list[float]] = {}
    for size, shown in _SIZES.items():
        for face, (_, _, peer_name) in _FACES.items():
            typed, untyped = found[f"{face} {size}"], found[f"{face} {size} peer"]
            ratios.setdefault(size, []).append(typed.cpu / untyped.cpu)
            rows.append(_row(f"{shown}: {face} client, typed", typed, untyped))
            rows.append(_row(f"{shown}: {peer_name} and `json()`", untyped, untyped))
    return Section(
        "Answers over REST",
        "A page of a session's events from a server in a separate process, over a connection that stays "
        "open. The goal applies to the slower client.",
        ("call", "CPU ms", "wall ms", "÷ httpx and `json()`"),
        rows,
        [
            at_most(f"typed REST answer ÷ httpx + `json()`: {_SIZES[size]}", max(found_ratios), 1.3)
            for size, found_ratios in ratios.items()
        ],
    )


def _row(name: str, cost: Cost, peer: Cost) -> tuple[str, ...]:
    return name, f"{cost.cpu * 1000:.3f}", f"{cost.wall * 1000:.3f}", f"{cost.cpu / peer.cpu:.2f}"
