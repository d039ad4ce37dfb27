"""Events that a test publishes have the envelope that the contract gives their type."""

import pytest

from digitorn_testing import InvalidPayload, SessionHandle, UnknownPayload
from digitorn_testing._events.conventions import wire_name
from digitorn_testing._generated._runtime import EventSpec
from digitorn_testing._generated.events import EVENTS
from digitorn_testing.builders import event, payloads
from digitorn_testing.fakes import FakeDaemon
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
