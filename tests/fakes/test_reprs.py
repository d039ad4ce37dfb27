"""What failure reports show of the objects that a test uses."""

from digitorn_testing.fakes import FakeDaemon, FakeModel


def test_a_daemon_says_where_it_is_and_what_it_has() -> None:
    daemon = FakeDaemon()
    assert repr(daemon) == "<FakeDaemon, not running>"
    with daemon:
        daemon.add_app("my-app")
        assert repr(daemon) == f"<FakeDaemon at {daemon.url}, apps: my-app, sessions: 0>"


def test_a_model_says_what_it_was_asked_and_a_turn_how_it_stands() -> None:
    model = FakeModel().will_call_tool("Bash", {"command": "ls"}, requires_approval=True)
    model.will_respond_with_text("Done.").will_respond_with_text("unused")
    assert repr(model) == "<FakeModel: asked 0 times, 3 answers not given yet>"
    with FakeDaemon() as daemon, daemon.client() as client:
        daemon.add_app("my-app", model=model)
        session = client.new_session("my-app")
        turn = client.start_turn(session, "go", auto_approve=False, timeout=10)
        request = turn.wait_for("approval_request").payload
        place = f"<Turn {turn.correlation_id} of my-app/{session.session_id}, "
        assert repr(turn).startswith(f"{place}running, an approval is pending, ")
        assert repr(turn).endswith(" approval_request>")
        client.resolve_approval("my-app", str(request.to_wire()["request_id"]))
        turn.result()
        assert repr(turn).startswith(f"{place}completed, ")
        assert repr(turn).endswith(" result>")
    assert repr(model) == "<FakeModel: asked 2 times, 1 answer not given yet>"
