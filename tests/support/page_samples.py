"""Recordings of sessions that look like real ones, as large as a test wants them."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, cast

from pydantic import JsonValue

from digitorn_testing import Exchange
from digitorn_testing._log.recorded import FORMAT, VERSION, line_of
from digitorn_testing.builders import TurnBuilder

SESSION: Final = "/api/apps/repairs/sessions/s-1"
URL: Final = "http://127.0.0.1:8321"
BEGAN: Final = datetime(2026, 11, 28, 9, 30, tzinfo=UTC)
PENDING: Final = "rm -rf build"
"""The command that waits for approval at the end."""

_TEXT: Final = (
    "The test of the parser fails because the third line of the file has no closing bracket . I looked at "
    "the history : the bracket was removed together with the old option , and nobody noticed until now ."
)
_WORDS: Final = _TEXT.split()
_LASTS: Final = {
    "tool_call": (0.05, 1.6),
    "approval_resolved": (0.8, 3.0),
    "token": (0.008, 0.05),
    "result": (0.01, 0.1),
}


def sample(path: Path, events: int, *, seed: int = 7) -> Path:
    """Writes a recording.

    Args:
        path: The file.
        events: How many events there are, at least.
        seed: Chooses what happens.
    """
    chance = random.Random(seed)
    lines = [
        line_of(
            {
                "record": "header",
                "format": FORMAT,
                "version": VERSION,
                "part": "p",
                "at": BEGAN.isoformat(),
                "contract": "1.0.3",
                "library": "0.1.0",
                "daemon_url": URL,
            }
        ),
        line_of({"record": "stream", "stream": "p.1", "app_id": "repairs", "session_id": "s-1", "since": 0}),
    ]
    lines.append(_call("get_health", "GET", "/health", BEGAN, response={"status": "ok", "version": "1.0.3"}))
    at, seq, turns = BEGAN + timedelta(milliseconds=40), 1, 0
    is_last = False
    while not is_last:
        turns += 1
        is_last = seq > events - 100
        turn = f"fp-{turns:012x}"
        if turns > 1 and chance.random() < 0.2:
            at += timedelta(seconds=chance.uniform(2, 40))
        sent = at
        tokens = min(400, max(20, events // 12))
        frames = _turn(chance, turn, seq, turns, tokens=tokens, last=is_last).frames()
        for one in frames:
            at += timedelta(seconds=chance.uniform(*_LASTS.get(str(one["type"]), (0.001, 0.02))))
            one["ts"] = at.isoformat().replace("+00:00", "Z")
            lines.append(line_of({"record": "event", "stream": "p.1", "at": at.isoformat(), "frame": one}))
        seq += len(frames)
        message: JsonValue = {"message": f"Please mend the parser, part {turns}.", "mode": "act"}
        accepted: JsonValue = {"success": True, "data": {"correlation_id": turn, "status": "accepted"}}
        lines.append(_call("send_message", "POST", f"{SESSION}/messages", sent, message, accepted, turn=turn))
        if turns % 3 == 0:
            busy: JsonValue = {"detail": "the store is busy"}
            query = (("since", str(seq)), ("limit", "500"))
            listed = f"{SESSION}/events"
            lines.append(_call("list_session_events", "GET", listed, at, None, busy, status=503, query=query))
    lines.append(line_of({"record": "end", "part": "p"}))
    path.write_bytes(b"".join(lines))
    return path


def _turn(chance: random.Random, turn: str, seq: int, number: int, *, tokens: int, last: bool) -> TurnBuilder:
    def said(count: int) -> list[str]:
        return [f"{chance.choice(_WORDS)} " for _ in range(count)]

    made = TurnBuilder(app_id="repairs", correlation_id=turn, start_seq=seq).user(
        f"Please mend the parser, part {number}."
    )
    made = made.thinking("".join(said(30)))
    made = made.commentary(*said(tokens // 4))
    for _ in range(chance.randint(1, 3)):
        file = f"src/parser/{chance.choice(('lexer', 'grammar', 'tree'))}.py"
        made = made.tool(
            "Read", {"path": file}, result={"content": "def parse(text):\n    return text\n" * 4}
        )
    made = made.tool("Bash", {"command": "pytest -q tests/parser"}, result={"stdout": "12 passed in 0.31s"})
    if number % 2:
        made = made.approval(risk_level="medium", description="Runs the tests")
    if number % 3 == 0:
        made = made.tool(
            "Write", {"path": "/etc/hosts", "content": "…"}, error="permission denied: /etc/hosts"
        )
    made = made.text(*said(tokens))
    if last:
        return (
            TurnBuilder(app_id="repairs", correlation_id=turn, start_seq=seq)
            .user("Now clean up.")
            .text(*said(tokens))
            .tool("Bash", {"command": PENDING})
            .pending_approval(risk_level="high", description="Removes the folder of the build")
        )
    if number % 5 == 0:
        return made.error("rate_limited", "the provider refuses more requests for 20 s")
    return made


def _call(
    operation: str,
    method: str,
    path: str,
    started: datetime,
    request: JsonValue = None,
    response: JsonValue = None,
    *,
    status: int = 200,
    turn: str | None = None,
    query: tuple[tuple[str, str], ...] = (),
) -> bytes:
    exchange = Exchange(
        operation=operation,
        method=method,
        path=path,
        status=status,
        query=query,
        request=request,
        response=response,
        request_size=len(str(request)) if request is not None else 0,
        response_size=len(str(response)),
        started=started,
        duration=0.012,
        correlation_id=turn,
    )
    return line_of({"record": "exchange", "part": "p", "exchange": cast("JsonValue", exchange.to_wire())})
