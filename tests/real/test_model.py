"""A scripted model behind the released daemon: its script is asked what a test expects, and nothing else."""

import secrets
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from digitorn_testing import AppHandle, DevClient, SessionHandle
from digitorn_testing._errors import NotFound
from digitorn_testing._plugin import real
from digitorn_testing.fakes import FailureCode, FakeModel, FakeModelServer, ModelRequestTimeout
from real.turns import TURN_SECONDS
from support.faces import eventually

# Far less than the pauses of a daemon that tries again.
AT_ONCE_SECONDS = 10.0

FAILURES: dict[FailureCode, str] = {
    "auth_error": "auth_error",
    "insufficient_balance": "insufficient_balance",
    "permission_denied": "permission_denied",
    "model_not_provided_by_digitorn": "model_not_provided_by_digitorn",
    "session_busy": "session_busy",
    "agent_loop_killed": "agent_loop_killed",
    "internal_error": "internal_error",
    # Only the daemon itself can miss a credential.
    "credential_required": "auth_error",
    "credential_auth_required": "auth_error",
}
"""The failures that end a turn at once, and what the daemon calls them."""

RETRIED: list[FailureCode] = ["rate_limited", "provider_error", "network_error", "context_overflow"]
"""The failures after which the daemon tries again."""


def said(client: DevClient, session: SessionHandle, message: str) -> str:
    """The answer to a message."""
    return client.send(session, message, timeout=TURN_SECONDS).content


def test_a_queue_of_answers_stays_in_step(
    dev_client: DevClient, fake_model: FakeModel, fake_model_server: FakeModelServer, session: SessionHandle
) -> None:
    fake_model.will_respond_with_text("a").will_respond_with_text("b")
    fake_model.will_call_tool("Bash", {"command": "echo from-the-shell"}).will_respond_with_text("c")
    fake_model.will_stream_text(["d", "e", "f"])
    assert [said(dev_client, session, message) for message in "1234"] == ["a", "b", "c", "def"]
    assert [one.last_text for one in fake_model.requests if one.messages[-1].role == "user"] == list("1234")
    assert len(fake_model_server.requests) == fake_model.request_count == 5
    fake_model.assert_exhausted()


def test_failures_count_as_often_as_the_script_says(
    dev_client: DevClient, fake_model: FakeModel, session: SessionHandle
) -> None:
    fake_model.will_respond_with_text("first").will_fail("auth_error").will_respond_with_text("third")
    assert said(dev_client, session, "one") == "first"
    failed = dev_client.send(session, "two", timeout=TURN_SECONDS)
    assert failed.error is not None
    assert said(dev_client, session, "three") == "third"
    fake_model.assert_exhausted()


class TestKeptConnections:
    """The daemon loses the first answer over a connection of an earlier turn, and repeats its request."""

    @pytest.fixture
    def fake_model_server(self, fake_model: FakeModel) -> Iterator[FakeModelServer]:
        """The model of the app, over connections that stay open."""
        with FakeModelServer(fake_model, keep_alive=True) as server:
            yield server

    def test_a_repeated_request_gets_the_first_answer_again(
        self,
        dev_client: DevClient,
        fake_model: FakeModel,
        fake_model_server: FakeModelServer,
        session: SessionHandle,
    ) -> None:
        fake_model.will_respond_with_text("a").will_respond_with_text("b").will_respond_with_text("c")
        assert said(dev_client, session, "1") == "a"
        # The daemon asks for a title when the first turn is saved. The request comes from another thread, and
        # the next answer over its connection is lost.
        eventually(lambda: fake_model_server.title_requests, bool)
        assert [said(dev_client, session, message) for message in "23"] == ["b", "c"]
        assert [one.last_text for one in fake_model.requests] == ["1", "2", "3"]
        assert fake_model_server.repeated_requests

    def test_a_failure_whose_answer_was_lost_is_repeated(
        self,
        dev_client: DevClient,
        fake_model: FakeModel,
        session: SessionHandle,
    ) -> None:
        fake_model.will_respond_with_text("a").will_fail("auth_error").will_respond_with_text("c")
        assert said(dev_client, session, "1") == "a"
        assert dev_client.send(session, "2", timeout=TURN_SECONDS).error is not None
        assert said(dev_client, session, "3") == "c"
        assert fake_model.request_count == 3


def test_titles_are_no_matter_of_the_script(
    dev_client: DevClient, fake_model: FakeModel, fake_model_server: FakeModelServer, session: SessionHandle
) -> None:
    messages = ["Hello", "Hello again", "And again"]
    fake_model.will_respond_with_text("Hello.", times=3)
    for message in messages:
        said(dev_client, session, message)
    # The daemon asks for the title when the first turn is saved.
    eventually(lambda: fake_model_server.title_requests, bool)
    assert fake_model_server.repeated_requests == []
    assert [one.last_text for one in fake_model.requests] == messages


@pytest.mark.parametrize(("code", "known_as"), FAILURES.items())
def test_a_failure_ends_the_turn_at_once(
    dev_client: DevClient,
    fake_model: FakeModel,
    session: SessionHandle,
    code: FailureCode,
    known_as: str,
) -> None:
    fake_model.will_fail(code)
    began = time.monotonic()
    dev_client.send(session, "Fail", timeout=TURN_SECONDS)
    assert time.monotonic() - began < AT_ONCE_SECONDS
    failure = dev_client.get_session(session).last_error
    assert failure is not None
    assert failure.code == known_as
    assert fake_model.request_count == 1


@pytest.mark.parametrize("code", RETRIED)
def test_the_daemon_tries_again(
    dev_client: DevClient, fake_model: FakeModel, session: SessionHandle, code: FailureCode
) -> None:
    fake_model.will_fail(code).will_respond_with_text("At last.")
    assert said(dev_client, session, "Try") == "At last."
    assert fake_model.request_count == 2


def test_requests_are_awaited(
    dev_client: DevClient, fake_model_server: FakeModelServer, session: SessionHandle
) -> None:
    fake_model_server.model.will_never_answer()
    turn = dev_client.start_turn(session, "Think")
    (request,) = fake_model_server.wait_for_requests(1, timeout=TURN_SECONDS)
    assert request.last_text == "Think"
    turn.abort()
    with pytest.raises(ModelRequestTimeout, match=r"1 of 2 requests(?s:.*)user: 'Think'"):
        fake_model_server.wait_for_requests(2, timeout=0.1)


def test_a_model_on_a_port_of_its_own(
    dev_client: DevClient, fake_model: FakeModel, digitorn_app: AppHandle, fake_model_server: FakeModelServer
) -> None:
    """A server that comes back on its port is the model of the apps that knew it."""
    fake_model.will_respond_with_text("before").will_respond_with_text("after")
    session = dev_client.new_session(digitorn_app.app_id)
    assert said(dev_client, session, "one") == "before"
    port = fake_model_server.port
    fake_model_server.stop()
    with FakeModelServer(fake_model, port=port):
        assert said(dev_client, session, "two") == "after"


def test_models_that_the_daemon_asks_by_responses(
    dev_client: DevClient, fake_model: FakeModel, fake_model_server: FakeModelServer
) -> None:
    """It does so for OpenAI's models whose names begin with `gpt-5`."""
    builder = real.app_of(f"responses-{secrets.token_hex(4)}", fake_model_server).with_model(
        model="gpt-5-fake"
    )
    app = dev_client.deploy_app(builder, secrets={real.KEY_SECRET: fake_model_server.api_key})
    try:
        session = dev_client.new_session(app.app_id)
        fake_model.will_stream_text(["Hel", "lo."])
        fake_model.will_call_tool("Bash", {"command": "echo from-the-shell"}).will_respond_with_text("Done.")
        assert said(dev_client, session, "one") == "Hello."
        assert said(dev_client, session, "two") == "Done."
    finally:
        with suppress(NotFound):
            dev_client.api.apps.delete_app(app.app_id, scope="system")
    assert {one.path for one in fake_model_server.requests} == {"/v1/responses"}
    last = fake_model.requests[-1]
    assert "from-the-shell" in last.last_text
    assert [one.content for one in last.messages if one.role == "user"] == ["one", "two"]
    fake_model.assert_exhausted()
