"""A scripted model behind the released daemon: its script is asked what a test expects, and nothing else."""

import time
from collections.abc import Iterator

import pytest

from digitorn_testing import AppHandle, DevClient, SessionHandle
from digitorn_testing.fakes import FailureCode, FakeModel, FakeModelServer, ModelRequestTimeout
from real.turns import TURN_SECONDS

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


@pytest.fixture(params=[False, True], ids=["closing", "keep-alive"])
def fake_model_server(request: pytest.FixtureRequest, fake_model: FakeModel) -> Iterator[FakeModelServer]:
    """The model of the app, also with the connections that the daemon cannot use a second time."""
    with FakeModelServer(fake_model, keep_alive=request.param) as server:
        yield server


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


def test_only_kept_connections_make_the_daemon_repeat_requests(
    request: pytest.FixtureRequest,
    dev_client: DevClient,
    fake_model: FakeModel,
    fake_model_server: FakeModelServer,
    session: SessionHandle,
) -> None:
    fake_model.will_respond_with_text("yes", times=3)
    assert [said(dev_client, session, message) for message in "123"] == ["yes"] * 3
    is_kept = request.node.callspec.params["fake_model_server"]
    assert bool(fake_model_server.repeated_requests) is is_kept
    assert fake_model.request_count == 3


class TestClosing:
    """What does not depend on how the connections end."""

    @pytest.fixture
    def fake_model_server(self, fake_model: FakeModel) -> Iterator[FakeModelServer]:
        """The model of the app."""
        with FakeModelServer(fake_model, title="A session of its own") as server:
            yield server

    def test_the_title_is_that_of_the_server(
        self,
        dev_client: DevClient,
        fake_model: FakeModel,
        fake_model_server: FakeModelServer,
        session: SessionHandle,
    ) -> None:
        fake_model.will_respond_with_text("Hello.").will_respond_with_text("Hello again.")
        said(dev_client, session, "Hello")
        said(dev_client, session, "Hello again")
        assert fake_model_server.title_requests
        (listed,) = dev_client.list_sessions(session.app_id).sessions
        assert listed.title == "A session of its own"
        assert [one.last_text for one in fake_model.requests] == ["Hello", "Hello again"]

    @pytest.mark.parametrize(("code", "known_as"), FAILURES.items())
    def test_a_failure_ends_the_turn_at_once(
        self,
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
        self, dev_client: DevClient, fake_model: FakeModel, session: SessionHandle, code: FailureCode
    ) -> None:
        fake_model.will_fail(code).will_respond_with_text("At last.")
        assert said(dev_client, session, "Try") == "At last."
        assert fake_model.request_count == 2

    def test_requests_are_awaited(
        self, dev_client: DevClient, fake_model_server: FakeModelServer, session: SessionHandle
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
