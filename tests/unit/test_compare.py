"""What counts as a change between two runs of an agent."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from digitorn_testing import Change, ChangesFound, Comparison, EventLog, Recording, TurnResult, compare
from digitorn_testing._cli.app import app
from digitorn_testing._exchanges import Exchanges
from digitorn_testing._generated.payloads import ResultUsage
from digitorn_testing._recordings.recorder import Recorder
from digitorn_testing._turns.endings import TurnEndings
from digitorn_testing.builders import SessionBuilder, TurnBuilder

NO_ARGUMENTS: dict[str, str] = {}
BASE = TurnBuilder().user("count the files")
LIST = {"command": "ls"}
COUNT = {"command": "wc -l"}
RUN = BASE.tool("Bash", LIST, result="a b").tool("Read", {"path": "a"}).tool("Bash", COUNT).text("Two.")


def run(*turns: TurnBuilder, session_id: str = "s-1", app_id: str = "my-app") -> EventLog:
    """A log of a session."""
    builder = SessionBuilder(session_id=session_id, app_id=app_id)
    for turn in turns:
        builder = builder.turn(turn)
    return builder.log()


def result(turn: TurnBuilder = RUN) -> TurnResult:
    """The result of one turn."""
    return run(turn).turn_result()


def told(comparison: Comparison) -> list[tuple[object, ...]]:
    """The changes as tuples."""
    return [(one.kind, one.where, one.what, one.before, one.after) for one in comparison]


def costing(tokens: int, cost_usd: float | None, seconds: float, session: str = "s-1") -> TurnResult:
    """The result of a turn that took so much; the cost is that of the session so far."""
    one = result()
    usage = ResultUsage(input_tokens=tokens, output_tokens=0)
    if cost_usd is not None:
        usage = ResultUsage(input_tokens=tokens, output_tokens=0, cost_usd=cost_usd)
    return replace(one, usage=usage, duration=seconds, session=replace(one.session, session_id=session))


def test_a_run_is_like_itself_whatever_its_ids() -> None:
    def within(session_id: str, app_id: str, turn: str, call: str) -> EventLog:
        path = {"path": f"/apps/{app_id}/{session_id}/a"}
        told = BASE.tool("Read", path, result=f"{call} of {turn}", call_id=call).text("Two.").usage(9, 9)
        return run(replace(told, correlation_id=turn), session_id=session_id, app_id=app_id)

    before = within("s-1", "my-app", "fp-1", "call-1")
    comparison = compare(before, within("0e7c", "my-app-of-today", "fp-else", "call-2"))
    assert not comparison
    assert comparison.summary() == "no changes"
    comparison.raise_for_changes()


@pytest.mark.parametrize(
    ("after", "changes"),
    [
        (
            BASE.tool("Bash", LIST, result="a b").tool("Bash", COUNT).text("Two."),
            [("tool_lost", "turn 1", "Read", {"path": "a"}, None)],
        ),
        (
            BASE.tool("Bash", LIST, result="a b")
            .tool("Read", {"path": "a"})
            .tool("Read", {"path": "b"})
            .tool("Bash", COUNT)
            .text("Two."),
            [("tool_added", "turn 1", "Read", None, {"path": "b"})],
        ),
        (
            BASE.tool("Read", {"path": "a"})
            .tool("Bash", COUNT)
            .tool("Bash", LIST, result="a b")
            .text("Two."),
            [("tool_moved", "turn 1", "Bash", "call 1", "call 3")],
        ),
        (
            BASE.tool("Bash", LIST, result="a b")
            .tool("Read", {"path": "b"})
            .tool("Bash", COUNT)
            .text("Two."),
            [("tool_arguments", "turn 1", "Read", {"path": "a"}, {"path": "b"})],
        ),
        (
            BASE.tool("Bash", LIST, result="a").tool("Read", {"path": "a"}).tool("Bash", COUNT).text("Two."),
            [("tool_result", "turn 1", "Bash", {"output": "a b"}, {"output": "a"})],
        ),
        (
            BASE.tool("Bash", LIST, error="no shell")
            .tool("Read", {"path": "a"})
            .tool("Bash", COUNT)
            .text("Two."),
            [("tool_status", "turn 1", "Bash", "succeeded", "failed: no shell")],
        ),
        (
            BASE.tool("Bash", LIST, result="a b")
            .approval()
            .tool("Read", {"path": "a"})
            .tool("Bash", COUNT)
            .text("Two."),
            [("approval", "turn 1", "shell.bash", None, "approved")],
        ),
        (
            BASE.tool("Bash", LIST, result="a b").tool("Read", {"path": "a"}).tool("Bash", COUNT).text("2."),
            [("text", "turn 1", "", "Two.", "2.")],
        ),
        (
            BASE.tool("Glob").text("Two."),
            [
                ("tool_lost", "turn 1", "Bash", LIST, None),
                ("tool_lost", "turn 1", "Read", {"path": "a"}, None),
                ("tool_lost", "turn 1", "Bash", COUNT, None),
                ("tool_added", "turn 1", "Glob", None, NO_ARGUMENTS),
            ],
        ),
    ],
    ids=["lost", "added", "moved", "arguments", "result", "status", "approval", "text", "all"],
)
def test_changes_of_a_turn(after: TurnBuilder, changes: list[tuple[object, ...]]) -> None:
    found = compare(run(RUN), run(after)).without("tokens")
    assert told(found) == changes


def test_a_turn_that_fails_and_a_message_that_is_another() -> None:
    found = compare(run(BASE.text("Two.")), run(BASE.error("provider_error", "it is down")))
    (change,) = found.of("turn_status")
    assert (change.before, str(change.after)[:8]) == ("completed", "failed: ")
    found = compare(run(BASE.text("Two.")), run(TurnBuilder().user("count them").text("Two.")))
    assert told(found.of("message")) == [("message", "turn 1", "", "count the files", "count them")]


def test_turns_are_paired_by_their_messages() -> None:
    turns = [TurnBuilder().user(word).text(word) for word in "abc"]
    assert told(compare(run(*turns), run(turns[0], turns[2]))) == [("turn_lost", "turn 2", "", "b", None)]
    assert told(compare(run(turns[0], turns[2]), run(*turns))) == [("turn_added", "turn 2", "", None, "b")]


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        ((1000, 0.01, 10.0), (1100, 0.011, 15.0), []),
        ((1000, 0.01, 10.0), (1101, 0.01, 10.0), [("tokens", 1000, 1101)]),
        ((1000, 0.01, 10.0), (1000, 0.02, 10.0), [("cost", 0.01, 0.02)]),
        ((1000, None, 10.0), (1000, 0.02, 10.0), [("cost", None, 0.02)]),
        ((1000, 0.01, 10.0), (1000, 0.01, 15.1), [("time", 10.0, 15.1)]),
        ((1000, 0.01, 0.1), (1000, 0.01, 1.0), []),
    ],
)
def test_what_a_turn_takes_may_differ_a_little(
    before: tuple[int, float | None, float],
    after: tuple[int, float | None, float],
    changes: list[tuple[object, ...]],
) -> None:
    one, other = costing(*before), costing(*after)
    assert [(found.kind, found.before, found.after) for found in compare(one, other)] == changes
    assert not compare(one, other, tokens=9, cost=9, time=9).without("cost")


def test_the_cost_of_a_turn_is_what_the_session_has_cost_since_the_last() -> None:
    before, after = [costing(10, 1.0, 1), costing(10, 2.0, 1)], [costing(10, 1.0, 1), costing(10, 3.0, 1)]
    found = compare(before, after)
    assert told(found) == [("cost", "turn 2", "", 1.0, 2.0)]
    assert (found.before.cost_usd, found.after.cost_usd) == (2.0, 3.0)
    assert (found.after.tokens, found.after.seconds, found.after.turns, found.after.tool_calls) == (
        20,
        2,
        2,
        6,
    )


def test_how_texts_are_compared_is_up_to_the_test() -> None:
    def both_say_two(one: str, other: str) -> bool:
        return ("Two" in one) == ("Two" in other)

    other = result(
        replace(RUN, script=replace(RUN.script, steps=RUN.script.steps[:-1])).text("There are Two.")
    )
    assert [one.kind for one in compare(result(), other).without("tokens")] == ["text"]
    assert not compare(result(), other, same_text=both_say_two).without("tokens")


def test_changes_are_raised_with_a_table() -> None:
    comparison = compare(result(), result(BASE.tool("Bash", LIST, result="a b").text("Two files.")))
    with pytest.raises(ChangesFound) as caught:
        comparison.raise_for_changes(ignore=["tokens", "cost"])
    assert isinstance(caught.value, AssertionError)
    assert len(caught.value.comparison) == 3
    assert str(caught.value).splitlines()[:6] == [
        "3 changes: 2 tool_lost, 1 text",
        "",
        "change     where   of    before                after",
        'tool_lost  turn 1  Read  {"path": "a"}         -',
        'tool_lost  turn 1  Bash  {"command": "wc -l"}  -',
        "text       turn 1        Two.                  Two files.",
    ]
    comparison.raise_for_changes(ignore=["tokens", "tool_lost", "text"])


# --- recordings, and the command


class Stream:
    """A stream with the events of a log."""

    def __init__(self, log: EventLog) -> None:
        self.session = log.turn_result().session
        self.log = EventLog(session_id=self.session.session_id)
        for event in log:
            self.log.feed(dict(event.raw))
        self.endings = TurnEndings()


@pytest.fixture
def record(tmp_path: Path) -> Callable[[str, Sequence[EventLog]], Path]:
    """Writes a recording of sessions."""

    def write(name: str, logs: Sequence[EventLog]) -> Path:
        path = tmp_path / name
        with Recorder(path, exchanges=Exchanges(0), daemon_url="http://x") as recorder:
            streams = [Stream(log) for log in logs]
            for stream in streams:
                recorder.add(stream)
        return path

    return write


def test_sessions_are_paired_by_their_first_messages(
    record: Callable[[str, Sequence[EventLog]], Path],
) -> None:
    def session(number: int, word: str, answer: str) -> EventLog:
        return run(TurnBuilder().user(word).text(answer), session_id=f"s-{number}")

    before = record("a", [session(1, "x", "X"), session(2, "y", "Y"), session(3, "z", "Z")])
    after = record("b", [session(4, "y", "Y"), session(5, "x", "other")])
    assert told(compare(before, Recording.load(after), tokens=1)) == [
        ("text", "session 1, turn 1", "", "X", "other"),
        ("turn_lost", "session 3, turn 1", "", "z", None),
    ]


def test_the_command(record: Callable[[str, Sequence[EventLog]], Path], tmp_path: Path) -> None:
    before, after = str(record("a", [run(RUN)])), str(record("b", [run(BASE.tool("Bash", LIST).text("2."))]))

    def call(*args: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["diff", *args], env={"COLUMNS": "120"})
        return done.exit_code, done.output

    code, printed = call(before, after, "--ignore", "tokens")
    assert code == 1
    assert printed.startswith("4 changes: 1 tool_result, 2 tool_lost, 1 text\n")
    # Nobody watches, so nothing is cut.
    assert printed == f"{compare(before, after).without('tokens')}\n"
    code, printed = call(before, after, "--json", "--ignore", "tokens", "--ignore", "text")
    found = json.loads(printed)
    assert code == 1
    assert found["changes"][1] == {
        "kind": "tool_lost",
        "where": "turn 1",
        "what": "Read",
        "before": {"path": "a"},
        "after": None,
    }
    assert (found["before"]["tool_calls"], found["after"]["tool_calls"]) == (3, 1)
    assert call(before, before)[0] == 0
    assert (
        call(
            before,
            after,
            *(word for kind in ("tool_lost", "tool_result", "text", "tokens") for word in ("--ignore", kind)),
        )[0]
        == 0
    )
    code, printed = call(before, after, "--ignore", "words")
    assert code == 2 and "there is no kind words; the kinds are turn_added" in " ".join(printed.split())
    other = tmp_path / "other.txt"
    other.write_text("else")
    code, printed = call(before, str(other))
    assert code == 2 and "this is no recording" in printed


def test_folders_are_compared_by_the_names_of_their_recordings(
    record: Callable[[str, Sequence[EventLog]], Path], tmp_path: Path
) -> None:
    first, second = record("first", [run(RUN)]), record("second", [run(BASE.text("2."))])
    before, after = tmp_path / "before", tmp_path / "after"
    for folder in (before, after):
        (folder / "deep").mkdir(parents=True)
        shutil.copy(first, folder / "deep" / "same.jsonl")
    shutil.copy(first, before / "other.jsonl")
    shutil.copy(second, after / "other.jsonl")

    def call(*args: str) -> tuple[int, list[str]]:
        done = CliRunner().invoke(app, ["diff", str(before), str(after), *args])
        return done.exit_code, done.output.splitlines()

    code, lines = call()
    assert (code, lines[0]) == (1, f"{Path('deep', 'same.jsonl')}: no changes")
    assert lines[1:] == [f"other.jsonl: {compare(first, second).summary()}"]
    (after / "other.jsonl").unlink()
    assert call() == (1, [lines[0], f"other.jsonl: only in {before}"])
    code, lines = call("--json")
    assert json.loads(lines[1]) == {"file": "other.jsonl", "only_in": "before"}
    (before / "other.jsonl").unlink()
    assert call()[0] == 0
    shutil.rmtree(before / "deep")
    shutil.rmtree(after / "deep")
    assert call()[0] == 2


def test_a_change_is_a_value() -> None:
    one = Change(kind="text", where="turn 1", before="a", after="b")
    assert one == Change(kind="text", where="turn 1", before="a", after="b")
    assert one.row() == ("text", "turn 1", "", "a", "b")
