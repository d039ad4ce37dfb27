"""Each name that users of the predecessor call most works, or is an error that names the new way."""

import importlib
import re
import runpy
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import pytest

from digitorn.testing import AsyncDevClient, DevClient, LiveEventStream, SessionHandle, assertions
from digitorn.testing.events import ApprovalRequest
from digitorn.testing.fakes import ExampleAnswer, FakeDaemon, FakeModel
from digitorn_testing import legacy

_TESTS: Final = Path(__file__).parents[1]
LISTED: Final = _TESTS / "data" / "predecessor-names.tsv"
MIGRATED: Final = _TESTS / "typing" / "accepted" / "migrated_scenario.py"
TEXT: Final = "app:\n  app_id: fresh\n  name: Fresh\nagents:\n  - id: one\n    system_prompt: Short.\n"


@dataclass(frozen=True)
class Name:
    """A line of the list."""

    calls: int
    files: int
    of: str
    name: str
    outcome: str
    call: str
    says: str


def names() -> list[Name]:
    lines = LISTED.read_text(encoding="utf-8").splitlines()
    rows = (line.split("\t") for line in lines if not line.startswith("#"))
    return [Name(int(calls), int(files), *rest) for calls, files, *rest in rows]


class Place:
    """What the calls of the list use, each made when a call uses it."""

    def __init__(self, client: DevClient, folder: Path) -> None:
        self.client = client
        self.url = client.daemon_url
        self.folder = folder
        self.opened: list[LiveEventStream] = []

    @cached_property
    def session(self) -> SessionHandle:
        return self.client.new_session("my-app")

    @cached_property
    def turned(self) -> SessionHandle:
        self.client.send(self.session, "hello", timeout=10)
        return self.session

    @cached_property
    def stream(self) -> LiveEventStream:
        self.opened.append(self.client.open_event_stream(self.turned))
        return self.opened[-1]

    @cached_property
    def unstarted(self) -> LiveEventStream:
        token = self.client._get_auth_token()
        self.opened.append(
            LiveEventStream(
                daemon_url=self.url, token=token, app_id="my-app", session_id=self.turned.session_id
            )
        )
        return self.opened[-1]

    @cached_property
    def pending(self) -> str:
        turn = self.client.start_turn(self.session, "ask me", auto_approve=False, timeout=10)
        return turn.wait_for(ApprovalRequest).payload.request_id

    @cached_property
    def queued(self) -> str:
        """A message that waits for a turn that asks. The first that waits cannot be removed."""
        _ = self.pending
        for _ in range(2):
            self.client.post_message_raw(self.session, "hello", queue_mode="async")
        return self.client.get_queue(self.session).entries[-1].id

    @cached_property
    def definition(self) -> Path:
        path = self.folder / "app.yaml"
        path.write_text(TEXT, encoding="utf-8")
        return path

    @property
    def partial_result(self) -> object:
        return replace(self.client.send(self.session, "hello"), content="hello, at length")

    def globals_of(self, call: str) -> dict[str, object]:
        """What a call names."""
        return {
            name: CONSTANTS[name] if name in CONSTANTS else getattr(self, name)
            for name in re.findall(r"\w+", call)
            if name in CONSTANTS or hasattr(type(self), name) or name in vars(self)
        }


def import_of(module: str, name: str) -> object:
    return getattr(importlib.import_module(module), name)


CONSTANTS: Final[dict[str, object]] = {
    "text": TEXT,
    "DevClient": DevClient,
    "LiveEventStream": LiveEventStream,
    "SessionHandle": SessionHandle,
    "assertions": assertions,
    "import_of": import_of,
}


@pytest.fixture(scope="module")
def daemon() -> Iterator[FakeDaemon]:
    model = FakeModel()
    model.when(contains="hello").will_respond_with_text("Hello to you.")
    model.when(contains="ask me").will_call_tool("Bash", {"command": "ls"}, requires_approval=True)
    with FakeDaemon() as running:
        for app in ("my-app", "to-stop"):
            running.add_app(app, model=model)
        yield running


@pytest.fixture(scope="module")
def client(daemon: FakeDaemon) -> Iterator[DevClient]:
    with DevClient.with_token(daemon.token(), daemon_url=daemon.url) as client:
        yield client


@pytest.fixture
def place(client: DevClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(client, tmp_path_factory.getbasetemp())
    yield place
    for stream in place.opened:
        stream.stop()


def outcome_of(call: str, place: Place) -> tuple[str, str]:
    """What evaluating a call comes to, and what is said then."""
    code = compile(call, "<call>", "eval")
    used = place.globals_of(call)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            value: Any = eval(code, used)
        except (AttributeError, TypeError, LookupError) as error:
            return "error", str(error)
    if isinstance(value, LiveEventStream):
        place.opened.append(value)
    elif isinstance(value, DevClient) and value is not place.client:
        value.close()
    deprecated = [one for one in warned if one.category is DeprecationWarning]
    said = [str(one.message) for one in deprecated]
    # Whoever calls an old name is who reads about it.
    assert {one.filename for one in deprecated} <= {"<call>"}
    return ("deprecated", "; ".join(said)) if said else ("same", "")


@pytest.mark.parametrize("name", names(), ids=lambda name: f"{name.of}-{name.name}")
def test_a_name_of_the_predecessor(name: Name, place: Place) -> None:
    outcome, says = outcome_of(name.call, place)
    assert outcome == name.outcome, says
    assert name.says in says


def test_the_list_has_the_names_that_are_called_most() -> None:
    listed = {(name.of, name.name.partition(" (")[0]) for name in names()}
    assert len(listed) >= 60


@pytest.mark.parametrize("form", sorted(vars(legacy.OldCalls).keys() & {n.name for n in names()}))
async def test_an_asynchronous_client_names_the_new_way(form: str) -> None:
    async with AsyncDevClient("http://127.0.0.1:1") as client:
        with pytest.raises(AttributeError, match=f"'AsyncDevClient' has no attribute '{form}': {form} is"):
            getattr(client, form)


async def test_asynchronous_calls_with_old_arguments_name_the_new_ones() -> None:
    session = SessionHandle(session_id="s", app_id="a", daemon_url="http://127.0.0.1:1")
    async with AsyncDevClient("http://127.0.0.1:1") as client:
        with pytest.raises(TypeError, match="wait_for_app"):
            await client.deploy("app.yaml", wait=10)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
        with pytest.raises(TypeError, match="unexpected keyword argument 'nonsense'"):
            await client.get_queue(session, nonsense=1)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


def test_every_operation_that_an_error_names_exists() -> None:
    client = DevClient("http://127.0.0.1:1")
    for tag, operations in legacy.OPERATIONS.items():
        for operation in operations.values():
            assert callable(getattr(getattr(client.api, tag), operation)), f"{tag}.{operation}"
    client.close()


def test_the_scenario_that_was_migrated_runs(
    daemon: FakeDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is what `digitorn-testing migrate` makes of the old one: tests/unit compares them."""
    monkeypatch.setenv("DIGITORN_DEV_DAEMON_URL", daemon.url)
    monkeypatch.setenv("DIGITORN_TEST_TOKEN", daemon.token())
    definition = tmp_path / "app.yaml"
    definition.write_text(TEXT, encoding="utf-8")
    model = FakeModel()
    model.when(lambda request: True).will_respond_with_text("Hello to you.")
    daemon.add_app("scenario", model=model)
    scenario = runpy.run_path(str(MIGRATED))
    with warnings.catch_warnings(), scenario["connect"]() as client:
        warnings.simplefilter("ignore", ExampleAnswer)
        # An old name would be an error, as every other warning is.
        scenario["main"](client, definition)
