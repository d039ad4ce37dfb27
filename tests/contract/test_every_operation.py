"""Each operation of the contract, once, over real HTTP: every stub is called and every result is decoded."""

import inspect
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Union, cast, get_args, get_origin

import pytest

from contract.arguments import required_arguments
from digitorn_testing import AppBuilder, AsyncDevClient, DevClient
from digitorn_testing._generated.operations import OPERATIONS
from digitorn_testing.fakes import DEFAULT_USER, FakeDaemon, FakeModel
from digitorn_testing.models import ImageInput
from support.sessions import add_session

APP = "my-app"
PATH = "src/a.txt"
SECONDS = 10.0
DEFINITION = """
app: {app_id: my-app, name: App}
runtime:
  triggers: [{id: nightly, type: cron}]
security:
  credentials_schema: {providers: [{name: openai}]}
"""

# These take away what the others need, so they come last, in this order.
LAST = (
    "delete_background_payload_file",
    "clear_background_payload",
    "delete_background_session",
    "delete_secret",
    "delete_user_credential",
    "delete_credential",
    "resolve_approval",
    "abort_session",
    "delete_session",
    "disable_app",
    "enable_app",
    "reload_app",
    "delete_app",
    "logout",
)


@dataclass(frozen=True)
class Prepared:
    """A daemon with something for every operation to act on.

    Attributes:
        daemon: The daemon.
        known: Values for arguments by name.
        more: Arguments of some operations in particular, by operation.
    """

    daemon: FakeDaemon
    known: Mapping[str, object]
    more: Mapping[str, Mapping[str, object]]

    def arguments(self, name: str, stub: Any) -> dict[str, object]:
        """The arguments for a stub."""
        particular = self.more.get(name, {})
        return {**required_arguments(stub, {**self.known, **particular}), **particular}


@pytest.fixture
def prepared(tmp_path: Path) -> Iterator[Prepared]:
    model = FakeModel().will_call_tool("Write", {"path": "a", "content": "x"}).will_respond_with_text("x")
    model.will_call_tool("Bash", requires_approval=True)
    model.will_respond_with_text("An answer.", times=None)
    file = tmp_path / "app.yaml"
    file.write_text("app_id: from-file\n", encoding="utf-8")
    with FakeDaemon(examples="answer") as daemon:
        daemon.deploy(AppBuilder.from_yaml(DEFINITION).with_tools("Bash", "Write"), model=model)
        daemon.add_user("ann@example.com", "a-long-password")
        with daemon.client() as client:
            session_id = add_session(daemon).session_id
            for content in ("first", "second"):
                # The one is read, the other taken back.
                client.api.workspace.write_file(APP, session_id, PATH, content=content)
            known = in_the_background(client, daemon)
            request_id, busy, entry_id = waiting(client)
            image_id = image_of(client, daemon, session_id)
            refresh_token = client.api.auth.login(
                username="ann@example.com", password="a-long-password"
            ).refresh_token
        yield Prepared(
            daemon,
            known={
                **known,
                "app_id": APP,
                "session_id": session_id,
                "image_id": image_id,
                "file_path": PATH,
                "yaml_path": str(file),
                "password": "a-long-password",
                "refresh_token": refresh_token,
            },
            more={
                "deploy_app": {"yaml_path": str(file)},
                "deploy_app_upload": {"file": b"app_id: uploaded\n"},
                "login": {"username": "ann@example.com"},
                "set_secrets": {"secrets": {"OTHER": "value"}},
                "delete_user_credential": {"app_id": "_global"},
                "resolve_approval": {"request_id": request_id, "approved": True},
                "cancel_queued_message": {"session_id": busy, "entry_id": entry_id},
            },
        )


def image_of(client: DevClient, daemon: FakeDaemon, session_id: str) -> str:
    """Sends a message with an image; the image's id."""
    image = ImageInput(data="iVBORw0KGgo=", mime="image/png", name="dot.png")
    client.api.messages.send_message(APP, session_id, message="look", images=[image])
    session = daemon.sessions.get(session_id)
    assert session is not None
    return next(iter(session.attachments))


def in_the_background(client: DevClient, daemon: FakeDaemon) -> dict[str, object]:
    """What a trigger has brought about, and what is kept of an app and a user, by argument."""
    api = client.api.background
    client.fire_trigger(APP, "nightly")
    daemon.drain()
    (activation,) = api.list_activations(APP).activations
    artifact = api.list_activation_events(APP, activation.id).events[-1]
    session = client.create_background_session(APP)
    api.upload_background_payload_file(APP, session.id, file=("notes.txt", b"x"))
    client.set_secret(APP, "KEY", "value")
    client.set_credential(APP, "openai", {"api_key": "key"})
    # One that `delete_user_credential` leaves.
    other = client.api.credentials.create_credential(provider_name="other", fields={"api_key": "key"})
    return {
        "trigger_id": "nightly",
        "bg_session_id": session.id,
        "activation_id": activation.id,
        "event_id": artifact.id,
        "filename": "notes.txt",
        "key": "KEY",
        "provider_name": "openai",
        "credential_id": other.id,
    }


def waiting(client: DevClient) -> tuple[str, str, str]:
    """An approval that is open, its session, and a message that waits there."""
    session_id = client.new_session(APP).session_id
    client.api.messages.send_message(APP, session_id, message="first")
    until = time.monotonic() + SECONDS
    while not (pending := client.list_pending_approvals(APP)):
        assert time.monotonic() < until
    for message in ("started ahead", "waits"):
        client.api.messages.send_message(APP, session_id, message=message)
    entry = client.api.queue.list_session_queue(APP, session_id).entries[-1]
    return pending[0].request_id, session_id, entry.id


def stubs_of(api: object) -> dict[str, Any]:
    """Every stub by the name of its operation, in an order in which each can be called."""
    found = {
        name: stub
        for group in vars(api).values()
        for name, stub in inspect.getmembers(group, inspect.ismethod)
        if not name.startswith("_")
    }
    return {name: found[name] for name in [*(one for one in found if one not in LAST), *LAST]}


def is_of(value: object, kind: Any) -> bool:
    """Whether a value is of a declared type, as deep as lists go."""
    if kind is Any:
        return True
    if kind is None or kind is type(None):
        return value is None
    if get_origin(kind) in (Union, UnionType):
        return any(is_of(value, one) for one in get_args(kind))
    if get_origin(kind) is list:
        (item,) = get_args(kind)
        return isinstance(value, list) and all(is_of(one, item) for one in cast("list[object]", value))
    return isinstance(value, get_origin(kind) or kind)


def fault_of(stub: Any, result: object) -> str | None:
    declared = inspect.signature(stub, eval_str=True).return_annotation
    return None if is_of(result, declared) else f"{type(result).__name__} instead of {declared}"


def report(called: list[str], faults: dict[str, str | None], face: str) -> None:
    """Every operation was called, and gave what it declares."""
    print(f"{len(called)} operations of the contract called, {face}")
    assert {name: fault for name, fault in faults.items() if fault is not None} == {}
    assert sorted(called) == sorted(one.id for one in OPERATIONS)


def test_sync(prepared: Prepared) -> None:
    daemon = prepared.daemon
    faults: dict[str, str | None] = {}
    with DevClient(daemon.url, token=daemon.token(DEFAULT_USER), timeout=SECONDS) as client:
        for name, stub in stubs_of(client.api).items():
            faults[name] = fault_of(stub, stub(**prepared.arguments(name, stub)))
    report(list(faults), faults, "sync")


async def test_async(prepared: Prepared) -> None:
    daemon = prepared.daemon
    faults: dict[str, str | None] = {}
    async with AsyncDevClient(daemon.url, token=daemon.token(DEFAULT_USER), timeout=SECONDS) as client:
        for name, stub in stubs_of(client.api).items():
            faults[name] = fault_of(stub, await stub(**prepared.arguments(name, stub)))
    report(list(faults), faults, "async")


def test_a_result_of_another_type_is_noticed() -> None:
    assert is_of([1], list[int])
    assert is_of(None, int | None)
    assert not is_of(["1"], list[int])
    assert not is_of("1", int | None)
    assert not is_of(b"", None)
