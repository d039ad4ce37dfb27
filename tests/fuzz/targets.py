"""What is fuzzed: the event log, the answers of REST and the acknowledgements, each with what must hold."""

import json
import random
import tempfile
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final, Protocol

from digitorn_testing import (
    ContractViolation,
    DigitornError,
    EventLog,
    InvalidPayload,
    LiveEvent,
    Recording,
    RecordingDamaged,
    RecordingError,
    SessionHandle,
    assertions,
)
from digitorn_testing._events.daemon import MEANING
from digitorn_testing._events.event import AnyEvent
from digitorn_testing._exchanges import KEPT, Exchanges, sending
from digitorn_testing._generated import commands
from digitorn_testing._generated._runtime import Command, RestOperation
from digitorn_testing._generated.commands import CommandError
from digitorn_testing._generated.events import EVENTS, EventPayload
from digitorn_testing._generated.operations import OPERATIONS
from digitorn_testing._secrets.credentials import Credentials
from digitorn_testing._transport.answers import read_answer
from digitorn_testing._transport.event_connection import read_ack
from digitorn_testing._turns.collect import collect
from digitorn_testing.builders import SessionBuilder, TurnBuilder, event, payloads
from digitorn_testing.fakes import FakeDaemon, FakeModel
from digitorn_testing.fakes._rest.examples import example_of
from fuzz.mutation import Mutator

SESSION: Final = "s-1"
ROUND: Final = 30
"""How many inputs a round has; of frames, that a log is fed."""

_HANDLE: Final = SessionHandle(session_id=SESSION, app_id="my-app", daemon_url="http://127.0.0.1:1")
_STATUSES: Final = (200, 200, 200, 200, 201, 204, 400, 401, 403, 404, 409, 418, 422, 429, 500, 503)
_RETRY_AFTER: Final = ("1", "-1", "nan", "inf", "1e999", "x" * 5000, "Wed, 21 Oct 2026 07:28:00 GMT", "")


class Target(Protocol):
    """One thing that is fuzzed."""

    def run(self, chance: random.Random) -> int:
        """Gives it some inputs and checks what must hold.

        Args:
            chance: Where the inputs come from.

        Returns:
            How many inputs it was given.
        """
        ...


@cache
def frames() -> tuple[dict[str, Any], ...]:
    """A frame of every event type, and those of whole turns."""
    found: list[dict[str, Any]] = []
    for spec in EVENTS.specs:
        if spec.enveloped:
            made = event(payloads.BUILDERS[spec.payload](), seq=len(found) + 1, session_id=SESSION)
            found.append(dict(made.raw))
    turn = TurnBuilder().user("hi").tool("Bash", {"command": "ls"}, result={"stdout": "a"}).approval()
    session = SessionBuilder(session_id=SESSION).turn(turn.text("so ", "it is"))
    session = session.turn(TurnBuilder().user("again").tool("Bash", {}).pending_approval())
    return (*found, *session.frames())


class Events:
    """Frames into an `EventLog`, which is then read in every way."""

    def run(self, chance: random.Random) -> int:
        mutator = Mutator(chance)
        fed: list[Any] = []
        for _ in range(ROUND):
            frame = mutator.mutated(chance.choice(frames()))
            fed.append(mutator.enveloped(frame, SESSION))
        check_log(fed, EventLog(session_id=SESSION))
        check_log(fed[: ROUND // 3], EventLog())
        self._strict(fed)
        return len(fed)

    def _strict(self, fed: list[Any]) -> None:
        log = EventLog(session_id=SESSION, strict=True)
        for frame in fed:
            before = len(log)
            try:
                log.feed(frame)
            except ContractViolation:
                # It is kept all the same.
                assert len(log) == before + 1


def check_log(fed: list[Any], log: EventLog) -> None:
    """Feeds frames to a log, and checks what holds for every log."""
    in_order: list[AnyEvent] = []
    kept: list[AnyEvent] = []
    log.subscribe_in_order(lambda one, _turn: in_order.append(one))
    log.hold()
    for frame in fed:
        event = log.feed(frame)
        if event is not None:
            kept.append(event)
            assert _is_what_was_fed(event, frame)
    # Each is here, or a copy, or another session's, or a row that is never sent.
    assert len(log) == len(kept)
    assert len(fed) == len(log) + log.duplicates + len(log.foreign) + len(log.log_only)
    events = log.events()
    assert {id(one) for one in events} == {id(one) for one in kept}
    numbered = [one for one in events if one.is_numbered]
    assert [one.seq for one in numbered] == sorted(one.seq for one in numbered)
    # A daemon that was restarted gives a number out again, to another event; a snapshot has one beside them.
    assert _unique((one.session_id, one.seq, one.event_id, MEANING.is_snapshot(one)) for one in numbered)
    assert _unique((one.session_id, one.event_id) for one in events if one.event_id is not None)
    # Who reads in order is given each once.
    log.release()
    assert len(in_order) == len(events)
    assert {id(one) for one in in_order} == {id(one) for one in events}
    read_all(log)


def read_all(log: EventLog) -> None:
    """Reads a log in every way there is."""
    events = log.events()
    for one in events:
        assert repr(one)
        assert hash(one) == hash(one)
        assert one.emitted_at is None or one.emitted_at.tzinfo is not None
        assert isinstance(one.payload, EventPayload)
        assert not isinstance(one.payload, InvalidPayload) or one.payload.errors
    turns = {one.correlation_id for one in events if one.correlation_id}
    for turn in turns:
        found = log.turn(turn)
        assert {one.seq for one in events if one.correlation_id == turn} <= {one.seq for one in found}
        if found and log.session_id is not None:
            assert collect(found, session=_HANDLE, correlation_id=turn).status
    folded = log.operations()
    assert len(folded.open()) <= len(folded)
    assert len(log.pending_approvals()) <= len(events)
    assert str(log.timeout("nothing", 1.0))
    assert isinstance(assertions.report(events), str)


class Answers:
    """Answers of REST into what reads them."""

    def run(self, chance: random.Random) -> int:
        operation = chance.choice(operations())
        mutator = Mutator(chance)
        for _ in range(ROUND):
            body = mutator.text(mutator.mutated(_body(operation)))
            check_answer(operation, chance.choice(_STATUSES), body, chance.choice(_RETRY_AFTER))
        return ROUND


def check_answer(operation: RestOperation[Any], status: int, body: bytes, retry_after: str = "") -> None:
    """An answer has a result, or is one typed error that says something."""
    call = operation.call()
    exchanges = Exchanges(KEPT)
    under_way = sending(exchanges, call)
    under_way.answered(status, body)
    refusal: DigitornError | None = None
    try:
        result: object = read_answer(
            call,
            status,
            lambda: under_way.exchange,
            daemon_url="http://127.0.0.1:1",
            headers={"retry-after": retry_after},
            content=body,
            credentials=Credentials("a-secret-token"),
        )
    except DigitornError as error:
        refusal = error
    else:
        # Validated from its bytes it is what it is in steps; by its repr, since NaN is unequal to itself.
        in_steps: object = operation.read_in_steps(body) if body else result
        assert result == in_steps or repr(result) == repr(in_steps)
    said = str(refusal)
    assert refusal is None or operation.id in said or operation.method in said
    assert len(said) < 20_000
    assert len(exchanges) == 1


class Acks:
    """Acknowledgements of commands."""

    def run(self, chance: random.Random) -> int:
        said: dict[str, Any] = {"ok": True, "room": "session:s-1", "latest_seq": 3, "error": "no"}
        for _ in range(ROUND):
            check_ack(chance.choice(_commands()), Mutator(chance).mutated(said))
        return ROUND


def check_ack(command: Command[Any, Any], raw: Any) -> None:
    """An acknowledgement is the command's, or a refusal, or against the contract."""
    violation: ContractViolation | None = None
    ack: object = None
    try:
        ack = read_ack(command, raw)
    except ContractViolation as error:
        violation = error
    assert violation.reasons if violation is not None else isinstance(ack, command.ack | CommandError)


class Recordings:
    """Recordings, one of whose lines is not what was written."""

    def run(self, chance: random.Random) -> int:
        mutator = Mutator(chance)
        lines = _recording()
        with tempfile.TemporaryDirectory() as folder:
            # Fewer than of the others, since each is a whole file.
            count = ROUND // 6
            for number in range(count):
                at = chance.randrange(len(lines))
                # Without its checksum, which would tell of any change.
                record = {name: value for name, value in json.loads(lines[at]).items() if name != "crc"}
                changed = mutator.text(mutator.mutated(record)).replace(b"\n", b" ")
                path = Path(folder) / f"{number}.jsonl"
                path.write_bytes(
                    b"".join([*lines[:at], changed, b"\n" * chance.randint(0, 1), *lines[at + 1 :]])
                )
                check_recording(path, at)
        return count


def check_recording(path: Path, at: int) -> None:
    """What is before a line that was changed is read, and damage says where it is."""
    recording: Recording | None = None
    refused = ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingDamaged)
        try:
            recording = Recording.load(path)
        except RecordingError as error:
            refused = str(error)
    if recording is None:
        assert str(path) in refused
        return
    damage = recording.damage
    assert damage is None or (damage.reason and damage.line >= at + 1)
    logs = [recording.log(session) for session in recording.sessions]
    before = [record["frame"] for record in map(json.loads, _recording()[:at]) if record["record"] == "event"]
    frames = [frame for log in logs for frame in log.frames]
    assert before == frames[: len(before)]
    assert len(recording.exchanges) <= len(_recording())
    for log in logs:
        read_all(log)


TARGETS: Final[dict[str, Target]] = {
    "events": Events(),
    "answers": Answers(),
    "acks": Acks(),
    "recordings": Recordings(),
}


@cache
def _recording() -> tuple[bytes, ...]:
    """The lines of a recording of a session with a turn."""
    model = FakeModel().will_call_tool("Bash", {}, result={}).will_stream_text(["a", "b"])
    with tempfile.TemporaryDirectory() as folder, FakeDaemon(listen=False) as daemon:
        daemon.add_app("my-app", model=model)
        path = Path(folder) / "recording.jsonl"
        with daemon.client() as client, client.record(path):
            client.send(client.new_session("my-app"), "hi", timeout=10)
        return tuple(path.read_bytes().splitlines(keepends=True))


@cache
def operations() -> tuple[RestOperation[Any], ...]:
    """Those whose answers are read as JSON."""
    return tuple(one for one in OPERATIONS if one.reading == "json")


@cache
def _body(operation: RestOperation[Any]) -> Any:
    example = example_of(operation)
    envelope = operation.envelope
    if envelope is None:
        return example
    wrapped: dict[str, Any] = {envelope.data: example}
    if envelope.success is not None:
        wrapped[envelope.success] = True
    if envelope.error is not None:
        wrapped[envelope.error] = None
    return wrapped


@cache
def _commands() -> tuple[Command[Any, Any], ...]:
    found: list[Command[Any, Any]] = [one for one in vars(commands).values() if isinstance(one, Command)]
    return tuple(found)


def _is_what_was_fed(event: LiveEvent[EventPayload], frame: object) -> bool:
    return event.raw == frame or (not isinstance(frame, dict) and event.raw["payload"] is frame)


def _unique(keys: Iterator[Any]) -> bool:
    found = list(keys)
    return len(found) == len(set(found))
