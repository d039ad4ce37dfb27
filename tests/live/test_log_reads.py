"""Reading a session's log, from a daemon that answers by hand."""

import itertools
import json
from collections.abc import Iterable
from typing import Any

import pytest

from digitorn_testing import AsyncDevClient, ContractViolation, TooLarge
from digitorn_testing._stream.log_reads import read_log
from digitorn_testing._stream.protocol import PAGE
from support.hostile import Caller, hostile, says, whole

STATE: dict[str, object] = {
    "schema_version": 1,
    "app_id": "a",
    "session_id": "s",
    "user_id": "u",
    "seq": 1,
    "turn": None,
    "queue": {"entries": [], "depth": 0, "is_active": False, "running_correlation_id": None},
    "compaction": {"had_compaction": False, "last_at_seq": None},
    "server_time": "2026-11-28T01:05:06Z",
}
ROW = {"kind": "event", "ts": None, "app_id": "a", "session_id": "s", "user_id": "u", "correlation_id": None}


def rows(numbers: Iterable[int]) -> list[dict[str, Any]]:
    """Rows of the log with these numbers."""
    return [{**ROW, "type": "token", "seq": seq, "payload": {"delta": "x"}} for seq in numbers]


def answer(data: object) -> bytes:
    return whole(json.dumps({"success": True, "data": data}).encode())


def state(numbers: Iterable[int]) -> bytes:
    """What the daemon answers where it has these rows."""
    return answer({**STATE, "gap_events": rows(numbers)})


async def read(url: str, *, since: int, most: int = 100_000) -> tuple[int, list[int]]:
    """The highest number that a read brings, and all of them."""
    taken: list[Any] = []
    async with AsyncDevClient(url, token="t" * 9, timeout=10) as client:
        upto = await read_log(client.api, "a", "s", since=since, most=most, take=taken.append)
    return upto, [row["seq"] for row in taken]


async def test_a_log_is_read_page_by_page() -> None:
    pages = iter([state(range(5, 5 + PAGE)), state(range(2000, 2003))])
    with hostile(lambda caller: caller.send(next(pages))) as url:
        assert await read(url, since=4) == (2002, [*range(5, 5 + PAGE), 2000, 2001, 2002])


async def test_the_first_row_comes_from_another_route() -> None:
    page = {"session_id": "s", "count": 1, "total": 9, "events": rows([1]), "note": ""}
    pages = iter([answer(page), state([2, 3])])
    with hostile(lambda caller: caller.send(next(pages))) as url:
        assert await read(url, since=0) == (3, [1, 2, 3])


async def test_a_log_without_new_rows_is_known_up_to_where_it_was_read() -> None:
    with hostile(says(state([]))) as url:
        assert await read(url, since=7) == (7, [])


async def test_a_log_that_begins_again_and_again_is_not_read_for_ever() -> None:
    with hostile(says(state([1] * PAGE))) as url:
        with pytest.raises(ContractViolation, match="a full page up to 1 came"):
            await read(url, since=1)


async def test_a_log_without_an_end_is_not_read_for_ever() -> None:
    def page(caller: Caller) -> None:
        first = next(numbers)
        caller.send(state(range(first, first + PAGE)))

    numbers = itertools.count(2, PAGE)
    with hostile(page) as url:
        with pytest.raises(TooLarge, match=r"more than 12000 events \(max_log_events\)"):
            await read(url, since=1, most=12_000)
