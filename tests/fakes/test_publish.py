"""Events that a test publishes have the envelope that the contract gives their type."""

import asyncio
from collections.abc import Iterator

import pytest

from digitorn_testing import DevClient, InvalidPayload, SessionHandle, UnknownPayload
from digitorn_testing._events.conventions import wire_name
from digitorn_testing._generated._runtime import EventSpec
from digitorn_testing._generated.events import EVENTS
from digitorn_testing.builders import AppBuilder, SessionBuilder, TurnBuilder, event, payloads
from digitorn_testing.events import HookNotification, MessageDone
from digitorn_testing.fakes import FakeDaemon, FakeModel
from support.sessions import APP, add_session

ENVELOPED = [spec for spec in EVENTS.specs if spec.enveloped]


def name_of(spec: EventSpec) -> str:
    return spec.wire if spec.variant_key is None else f"{spec.wire} with {spec.variant_key}"


def test_every_event_type_is_published_in_its_own_envelope() -> None:
    with FakeDaemon(listen=False) as daemon:
        daemon.add_app(APP)
        session = add_session(daemon)
        published = {name_of(spec): publish(daemon, session, spec) for spec in ENVELOPED}
    assert published == {name_of(spec): declared(spec) for spec in ENVELOPED}


def publish(daemon: FakeDaemon, session: SessionHandle, spec: EventSpec) -> dict[str, object]:
    payload = payloads.BUILDERS[spec.payload]()
    sent, built = daemon.publish(session, payload), event(payload)
    assert not isinstance(sent.payload, InvalidPayload | UnknownPayload)
    # Builders give the type the same operation, in the same state.
    assert (sent.kind, sent.op_type, sent.op_state) == (built.kind, built.op_type, built.op_state)
    return {"type": sent.type, "kind": sent.kind, "op_type": sent.op_type}


def declared(spec: EventSpec) -> dict[str, object]:
    return {
        "type": wire_name(spec),
        "kind": spec.defaults.get("kind", "session"),
        "op_type": spec.defaults.get("op_type"),
    }


@pytest.mark.parametrize("spec", [spec for spec in EVENTS.specs if not spec.enveloped], ids=name_of)
def test_a_type_without_an_envelope_is_refused(spec: EventSpec) -> None:
    with FakeDaemon(listen=False) as daemon:
        daemon.add_app(APP)
        session = add_session(daemon)
        with pytest.raises(ValueError, match="without an envelope"):
            daemon.publish(session, payloads.BUILDERS[spec.payload]())


def test_what_a_payload_leaves_open_is_as_in_the_envelope() -> None:
    with FakeDaemon(listen=False) as daemon:
        daemon.add_app(APP)
        session = add_session(daemon)
        one, other = (daemon.publish(session, payloads.approval_request()) for _ in range(2))
        assert one["payload"]["session_id"] == session.session_id
        assert one["payload"]["request_id"] == one.op_id
        assert one.op_id != other.op_id


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


@pytest.fixture
def daemon(model: FakeModel) -> Iterator[FakeDaemon]:
    with FakeDaemon(listen=False, model=model) as running:
        running.add_app(APP)
        yield running


@pytest.fixture
def client(daemon: FakeDaemon) -> Iterator[DevClient]:
    with daemon.client() as connected:
        yield connected


@pytest.fixture
def session(client: DevClient) -> SessionHandle:
    """A session that no message has created."""
    return client.new_session(APP)


# An id is whatever it was given as, even one that looks like a part of another.
@pytest.mark.parametrize("op_id", ["call_7", "000000000001", "op-000000000001-x"])
def test_ids_stay_as_given(daemon: FakeDaemon, session: SessionHandle, op_id: str) -> None:
    sent = daemon.publish(
        session,
        payloads.tool_call(name="Bash", success=False),
        op_id=op_id,
        op_type="tool",
        op_parent_id="parent",
        correlation_id="fp-mine",
    )
    assert (sent.op_id, sent.op_parent_id, sent.correlation_id) == (op_id, "parent", "fp-mine")
    assert (sent.payload.id, sent.op_state) == (op_id, "failed")
    assert daemon.sessions.get(session.session_id) is not None


def test_a_payload_and_its_envelope_name_the_same_turn(
    daemon: FakeDaemon, client: DevClient, session: SessionHandle, model: FakeModel
) -> None:
    named = daemon.publish(session, payloads.message_started(correlation_id="fp-named"))
    assert named.correlation_id == named.payload.correlation_id == "fp-named"
    new, other = (daemon.publish(session, payloads.message_started()) for _ in range(2))
    assert new.correlation_id == new.payload.correlation_id != other.correlation_id
    # What names no turn belongs to none, unless one runs.
    assert daemon.publish(session, payloads.hook_notification()).correlation_id is None
    model.will_never_answer()
    turn = client.start_turn(session, "wait")
    turn.wait_for("message_started", timeout=10)
    assert daemon.publish(session, payloads.hook_notification()).correlation_id == turn.correlation_id
    assert daemon.publish(session, payloads.hook_notification(), correlation_id=None).correlation_id is None
    client.abort(session)


def test_a_session_is_created_by_its_handle_alone(daemon: FakeDaemon, session: SessionHandle) -> None:
    with pytest.raises(ValueError, match="has no session"):
        daemon.publish(session.session_id, payloads.hook_notification())
    elsewhere = SessionHandle(session_id="s", app_id="absent", daemon_url=daemon.url)
    with pytest.raises(ValueError, match="has no app 'absent'"):
        daemon.publish(elsewhere, payloads.hook_notification())


def test_a_built_turn_is_published_as_it_was_built(
    daemon: FakeDaemon, client: DevClient, session: SessionHandle
) -> None:
    built = TurnBuilder().user("hi").tool("Bash", {"command": "ls"}).text("Hello ", "to you.").build()
    with client.open_event_stream(session) as stream:
        sent = daemon.publish_all(session, built)
        assert stream.wait_for(MessageDone, timeout=10).event_id in {one.event_id for one in built}
        result = stream.turn(built[0].correlation_id or "").result(timeout=10)
    assert (result.content, [one.name for one in result.tool_calls]) == ("Hello to you.", ["Bash"])
    for before, after in zip(built, sent, strict=True):
        assert (after.type, after.kind, after.event_id) == (before.type, before.kind, before.event_id)
        assert (after.op_id, after.op_type, after.op_state) == (before.op_id, before.op_type, before.op_state)
        assert (after.correlation_id, after.op_parent_id) == (before.correlation_id, before.op_parent_id)
        assert after.session_id == session.session_id
        assert after.payload.to_wire().get("session_id", session.session_id) == session.session_id
    assert [one.seq for one in sent] == list(range(sent[0].seq, sent[0].seq + len(sent)))
    with pytest.raises(ValueError, match="already has an event"):
        daemon.publish_all(session, built)


def test_builders_and_payloads_are_published_one_behind_the_other(
    daemon: FakeDaemon, session: SessionHandle
) -> None:
    one, two = (TurnBuilder(correlation_id=f"fp-{n}").user("hi").text("A long answer.") for n in "12")
    first, second = daemon.publish_all(session, one), daemon.publish_all(session, two)
    assert {event.correlation_id for event in first + second} == {"fp-1", "fp-2"}
    three = (payloads.hook_notification() for _ in range(3))
    hooks = daemon.publish_all(session, three, correlation_id="fp-3")
    assert len({event.op_id for event in hooks}) == 3
    assert {event.correlation_id for event in hooks} == {"fp-3"}


def test_the_events_of_another_session_are_at_home_in_this_one(
    daemon: FakeDaemon, session: SessionHandle
) -> None:
    aborted = SessionBuilder(session_id="elsewhere").turn(TurnBuilder().user("hi").aborted())
    sent = daemon.publish_all(session, aborted.events())
    (abort,) = [one for one in sent if one.type == "abort"]
    assert abort.correlation_id == f"abort-{session.session_id}"
    assert "elsewhere" not in str([one.raw for one in sent])


def test_an_event_of_no_known_type_is_published_as_it_is(daemon: FakeDaemon, session: SessionHandle) -> None:
    sent = daemon.publish(session, event(UnknownPayload.from_wire({"a": 1}), type="custom"))
    assert (sent.type, sent["payload"]["a"]) == ("custom", 1)


@pytest.mark.parametrize("is_async", [True, False])
def test_a_tool_publishes(daemon: FakeDaemon, client: DevClient, model: FakeModel, is_async: bool) -> None:
    numbers: list[int] = []
    session = client.new_session("work")

    def tell() -> None:
        sent = daemon.publish(session, payloads.hook_notification())
        numbers.append(sent.seq)
        numbers.extend(one.seq for one in daemon.publish_all(session, [payloads.hook_notification()] * 2))

    async def work() -> str:
        tell()
        await asyncio.sleep(0)
        tell()
        return "done"

    def work_on_a_thread() -> str:
        tell()
        tell()
        return "done"

    app = AppBuilder("work").with_tool(work if is_async else work_on_a_thread, name="work")
    daemon.deploy(app)
    model.will_call_tool("work", {}).will_respond_with_text("It is done.")
    with client.send_live(session, "go", total_timeout=10) as stream:
        daemon.drain()
        told = stream.events_of(HookNotification)
        order = [one.seq for one in stream.events() if one.is_numbered]
    assert [one.seq for one in told] == numbers
    assert order == sorted(order)
    # They belong to the turn in which the tool runs.
    assert {one.correlation_id for one in told} == {stream.events_of(MessageDone)[0].correlation_id}
