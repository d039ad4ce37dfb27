"""Reading a session's log from a daemon that never comes to its end."""

import itertools
import json

import pytest

from digitorn_testing import AsyncDevClient, ContractViolation, TooLarge
from digitorn_testing._stream.log_reads import read_log
from digitorn_testing._stream.protocol import PAGE
from support.hostile import Caller, hostile, says, whole


async def test_a_log_that_begins_again_and_again_is_not_read_for_ever() -> None:
    row = {"type": "token", "kind": "session", "seq": 1, "ts": None, "payload": {"delta": "x"}}
    row |= {"app_id": "a", "session_id": "s", "user_id": "u", "correlation_id": None}
    page = {"session_id": "s", "count": 1, "total": 1, "events": [row] * PAGE, "note": ""}
    body = whole(json.dumps({"success": True, "data": page}).encode())

    with hostile(says(body)) as url:
        async with AsyncDevClient(url, token="t" * 9, timeout=10) as client:
            with pytest.raises(ContractViolation, match="a full page up to 1 came"):
                await read_log(client.api, "a", "s", since=0, most=100_000, take=lambda _: None)


async def test_a_log_without_an_end_is_not_read_for_ever() -> None:
    def page(caller: Caller) -> None:
        first = next(numbers)
        rows = [
            {**row, "seq": first + one, "payload": {**envelope_of_row, "delta": "x"}} for one in range(PAGE)
        ]
        found = {"session_id": "s", "count": PAGE, "total": PAGE, "events": rows, "note": ""}
        caller.send(whole(json.dumps({"success": True, "data": found}).encode()))

    numbers = itertools.count(1, PAGE)
    envelope_of_row = {"op_id": "o", "op_type": "turn", "op_state": "running"}
    row = {"type": "token", "kind": "session", "ts": None, "app_id": "a", "session_id": "s"}
    row |= {"user_id": "u", "correlation_id": None}
    with hostile(page) as url:
        async with AsyncDevClient(url, token="t" * 9, timeout=10) as client:
            with pytest.raises(TooLarge, match=r"more than 12000 events \(max_log_events\)"):
                await read_log(client.api, "a", "s", since=0, most=12_000, take=lambda _: None)
