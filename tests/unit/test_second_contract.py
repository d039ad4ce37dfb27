"""A daemon with other event names needs a second object that says what they mean, and nothing else."""

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from digitorn_testing import EventLog, EventPayload, LiveEvent, Operations, SessionHandle
from digitorn_testing._events.daemon import DaemonMeaning
from digitorn_testing._events.event import AnyEvent
from digitorn_testing._events.meaning import Answer, Failed, ToolBegun, ToolEnded, TurnStatus
from digitorn_testing._events.timeline import summary
from digitorn_testing._generated.payloads import ResultUsage
from digitorn_testing._turns.collect import collect

SRC = Path(__file__).parents[2] / "src" / "digitorn_testing"
TURN = "t-1"


class Opened(EventPayload):
    """A turn begins to run."""


class Piece(EventPayload):
    """A piece of text."""

    text: str


class Ran(EventPayload):
    """A tool call begins, or ends with a code."""

    call: str
    tool: str
    code: int | None = None


class Closed(EventPayload):
    """A turn has ended."""

    text: str
    failure: str | None = None


class OtherMeaning(DaemonMeaning):
    """The meaning of the four events above."""

    turn_ends = (Closed,)
    turn_starts = (Opened,)
    classes: Mapping[str, type[EventPayload]] = {
        "turn.open": Opened,
        "text": Piece,
        "tool": Ran,
        "turn.close": Closed,
    }

    def decode(self, raw: object) -> AnyEvent:
        assert isinstance(raw, dict)
        frame: dict[str, Any] = {**raw}
        wire = str(frame["type"])
        return LiveEvent(
            seq=int(frame["n"]),
            type=wire,
            payload=self.classes[wire].from_wire(frame["data"]),
            kind="session",
            ts=None,
            app_id="app",
            session_id="s-1",
            user_id=None,
            event_id=None,
            correlation_id=TURN,
            op_id=str(frame["data"].get("call", TURN)),
            op_type="tool" if wire == "tool" else "turn",
            op_state="completed" if wire == "turn.close" or frame["data"].get("code") == 0 else "running",
            op_parent_id=None,
            replayed=False,
            raw=frame,
        )

    def begins_turn(self, event: AnyEvent) -> bool:
        return isinstance(event.payload, Opened)

    def starts_running(self, event: AnyEvent) -> bool:
        return isinstance(event.payload, Opened)

    def runs_at_once(self, event: AnyEvent) -> bool:
        return isinstance(event.payload, Opened)

    def ends_turn(self, event: AnyEvent) -> bool:
        return isinstance(event.payload, Closed)

    def ending(self, event: AnyEvent) -> TurnStatus | None:
        return "completed" if isinstance(event.payload, Closed) else None

    def text_delta(self, event: AnyEvent) -> str | None:
        return event.payload.text if isinstance(event.payload, Piece) else None

    def answer(self, event: AnyEvent) -> Answer | None:
        match event.payload:
            case Closed(text=text, failure=failure):
                return Answer(text, failure, ResultUsage(input_tokens=1, output_tokens=2), None)
            case _:
                return None

    def failed(self, event: AnyEvent) -> Failed | None:
        match event.payload:
            case Closed(failure=str(failure)):
                return Failed(failure)
            case _:
                return None

    def tool_began(self, event: AnyEvent) -> ToolBegun | None:
        match event.payload:
            case Ran(call=call, tool=tool, code=None):
                return ToolBegun(call, tool, {})
            case _:
                return None

    def tool_ended(self, event: AnyEvent) -> ToolEnded | None:
        match event.payload:
            case Ran(call=call, tool=tool, code=int(code)):
                return ToolEnded(call, tool, {}, code == 0, "", None)
            case _:
                return None

    def op_names(self, event: AnyEvent) -> tuple[str, ...]:
        return (event.payload.tool,) if isinstance(event.payload, Ran) else ()


def other_log(*frames: tuple[str, dict[str, object]]) -> EventLog:
    log = EventLog(session_id="s-1", meaning=OtherMeaning())
    for number, (wire, data) in enumerate(frames, 1):
        log.feed({"n": number, "type": wire, "data": data})
    return log


ONE_TURN: tuple[tuple[str, dict[str, object]], ...] = (
    ("turn.open", {}),
    ("text", {"text": "One "}),
    ("tool", {"call": "c-1", "tool": "ls"}),
    ("tool", {"call": "c-1", "tool": "ls", "code": 0}),
    ("text", {"text": "file."}),
    ("turn.close", {"text": "One file."}),
)


def test_a_turn_of_another_contract_folds_to_a_result() -> None:
    log = other_log(*ONE_TURN)
    session = SessionHandle(session_id="s-1", app_id="app", daemon_url="http://127.0.0.1:1")
    result = collect(log.turn(TURN), session=session, correlation_id=TURN, meaning=log.meaning)
    assert (result.status, result.content, result.text) == ("completed", "One file.", "One file.")
    assert [(call.name, call.success) for call in result.tool_calls] == [("ls", True)]


def test_a_failed_turn_of_another_contract_has_its_error() -> None:
    log = other_log(("turn.open", {}), ("turn.close", {"text": "", "failure": "no model"}))
    session = SessionHandle(session_id="s-1", app_id="app", daemon_url="http://127.0.0.1:1")
    result = collect(log.turn(TURN), session=session, correlation_id=TURN, meaning=log.meaning)
    assert (result.status, result.error) == ("failed", "no model")


def test_operations_and_timelines_of_another_contract() -> None:
    log = other_log(*ONE_TURN)
    operations = log.operations()
    assert [(one.type, one.name, one.state) for one in operations] == [
        ("turn", "turn", "completed"),
        ("tool", "ls", "completed"),
    ]
    assert Operations.of(log, meaning=log.meaning).violations == ()
    assert [summary(event, meaning=log.meaning) for event in log][1] == "'One '"


def test_the_running_turn_of_another_contract_is_followed() -> None:
    log = other_log(*ONE_TURN[:3])
    assert log.running_turn == TURN
    assert other_log(*ONE_TURN).running_turn is None


ASK = (
    "_turns",
    "_log",
    "_recordings",
    "_stream",
    "_client",
    "assertions.py",
    "telemetry.py",
    "_events/timeline.py",
)
"""What asks `Meaning` instead of matching payload classes."""


def test_payload_classes_are_matched_in_one_place() -> None:
    """A match on a payload class elsewhere would have to be written again for a second contract."""
    found: list[str] = []
    for path in sorted(SRC.rglob("*.py")):
        name = path.relative_to(SRC).as_posix()
        if name.startswith(ASK) and "_sync/" not in name:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            found += [f"{name}: {ast.unparse(node)}" for node in ast.walk(tree) if _matches_a_payload(node)]
    assert found == []


def _matches_a_payload(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Name(id="isinstance"), args=[ast.Attribute(attr="payload"), classes]):
            return not _is_of_every_contract(classes)
        case ast.Match(subject=ast.Attribute(attr="payload"), cases=cases):
            patterns = [pattern for case in cases for pattern in ast.walk(case.pattern)]
            return any(
                isinstance(one, ast.MatchClass) and not _is_of_every_contract(one.cls) for one in patterns
            )
        case _:
            return False


def _is_of_every_contract(classes: ast.expr) -> bool:
    names = {one.id for one in ast.walk(classes) if isinstance(one, ast.Name)}
    attributes = {one.attr for one in ast.walk(classes) if isinstance(one, ast.Attribute)}
    return names | attributes <= {"self", "_classes", "InvalidPayload", "UnknownPayload"}
