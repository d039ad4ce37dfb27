"""Sub-agents that the script answers for (contract: events, section 5.4)."""

from collections.abc import Iterator

import pytest

from digitorn_testing import AppBuilder, DevClient, SessionHandle, TurnResult
from digitorn_testing.events import AgentEvent
from digitorn_testing.fakes import FakeDaemon, FakeModel
from support.faces import eventually
from support.recorder import APP, SECONDS

APPLICATION = (
    AppBuilder(APP)
    .with_system_prompt("You coordinate.")
    .with_model(model="large")
    .with_tools("Bash")
    .with_sub_agent("helper", "You help with sums.", model="small")
)


@pytest.fixture
def model() -> Iterator[FakeModel]:
    with FakeModel() as scripted:
        yield scripted


@pytest.fixture
def client(model: FakeModel) -> Iterator[DevClient]:
    with FakeDaemon() as daemon, daemon.client() as connected:
        daemon.deploy(APPLICATION, model=model)
        yield connected


@pytest.fixture
def session(client: DevClient) -> SessionHandle:
    return client.new_session(APP)


def agent_events(result: TurnResult) -> list[AgentEvent]:
    return [one.payload for one in result.events if isinstance(one.payload, AgentEvent)]


def test_a_sub_agent_works_by_the_rules_for_it(
    client: DevClient, model: FakeModel, session: SessionHandle
) -> None:
    helper = model.when(agent="helper", contains="add")
    helper.will_call_tool("Bash", {"command": "expr 1 + 2"}, result={"stdout": "3"})
    model.when(agent="helper", tool_result_of="Bash").will_respond_with_text("It is three.\nReally.")
    model.will_call_tool("Agent", {"prompt": "add 1 and 2", "specialist": "helper", "wait": True})
    model.will_respond_with_text("The helper says three.")
    result = client.send(session, "go", timeout=SECONDS)
    assert result.content == "The helper says three."
    (call,) = result.tool_calls
    found = call.result or {}
    assert (found["status"], found["content"], found["turns_used"]) == (
        "completed",
        "It is three.\nReally.",
        2,
    )
    assert found["tool_calls"] == [{"name": "Bash", "params": {"command": "expr 1 + 2"}, "success": True}]
    (event,) = agent_events(result)
    assert (event.action, event.agent_id, event.status) == ("agent", found["agent_id"], "completed")
    asked = [(one.agent, one.is_sub_agent, one.model_settings.model) for one in model.requests]
    assert asked == [
        ("main", False, "large"),
        ("helper", True, "small"),
        ("helper", True, "small"),
        ("main", False, "large"),
    ]
    assert model.requests[1].system_prompt.endswith("You help with sums.")
    assert [one.content for one in model.requests[1].messages] == ["add 1 and 2"]
    assert {one.agent_id for one in model.requests[1:3]} == {found["agent_id"]}
    assert client.api.sessions.list_session_agents(APP, session.session_id).total == 0


def test_one_in_the_background_is_listed_until_it_is_collected(
    client: DevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.when(system_prompt="You help with sums.").will_respond_with_text("Three.")
    model.will_call_tool("Agent", {"prompt": "add", "specialist": "helper", "description": "Sums"})
    model.will_respond_with_text("Started.")
    started = client.send(session, "go", timeout=SECONDS)
    (event,) = agent_events(started)
    assert (event.status, (event.result or {})["running_agents"]) == ("running", 1)
    listed = eventually(
        lambda: client.api.sessions.list_session_agents(APP, session.session_id), lambda one: not one.running
    )
    (agent,) = listed.agents
    assert (agent.agent_id, agent.status, agent.preview) == (event.agent_id, "completed", "Three.")

    model.will_call_tool("Agent", {"agent_ids": [agent.agent_id, "agent_none"]})
    model.will_respond_with_text("Collected.")
    collected = client.send(session, "collect", timeout=SECONDS)
    (event,) = agent_events(collected)
    assert event.action == "agent_wait_all"
    completed = [(one.agent_id, one.status) for one in event.completed_agents or ()]
    assert completed == [(agent.agent_id, "completed"), ("agent_none", "not_found")]


def test_one_that_fails_tells_why(client: DevClient, model: FakeModel, session: SessionHandle) -> None:
    model.when(agent="generic").will_fail("rate_limited", "slow down")
    model.will_call_tool("Agent", {"prompt": "add", "wait": True}).will_respond_with_text("Never mind.")
    (call,) = client.send(session, "go", timeout=SECONDS).tool_calls
    found = call.result or {}
    assert (found["status"], found["errors"], found["specialist"]) == ("failed", ["slow down"], None)


def test_what_a_coordinator_may_ask_of_one(
    client: DevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.when(agent="helper").will_never_answer(times=None)
    model.will_call_tool("Agent", {"prompt": "add", "specialist": "helper"})

    def call(**params: object) -> None:
        model.will_call_tool("Agent", params)

    call(list_agents=True)
    model.will_respond_with_text("Listed.")
    started, listed = client.send(session, "go", timeout=SECONDS).tool_calls
    agent_id = (started.result or {})["agent_id"]
    assert [(one["agent_id"], one["status"]) for one in (listed.result or {})["agents"]] == [
        (agent_id, "running")
    ]
    call(agent_id=agent_id)
    call(agent_id=agent_id, wait=True, timeout=0.05)
    call(agent_id=agent_id, cancel=True)
    call(agent_id=agent_id, cancel=True)
    call(agent_id="agent_none")
    call()
    model.will_respond_with_text("Done.")
    status, waited, cancelled, again, unknown, nothing = client.send(
        session, "now", timeout=SECONDS
    ).tool_calls
    assert (status.result or {})["status"] == "running"
    assert (cancelled.result or {})["status"] == "cancelled"
    assert "still running after 0.05s" in (waited.error or "")
    assert [one.error for one in (again, unknown)] == [
        f"Agent '{agent_id}' is not running.",
        "Agent 'agent_none' not found.",
    ]
    assert (nothing.error or "").startswith("Must provide either")


def test_the_user_cancels_one(client: DevClient, model: FakeModel, session: SessionHandle) -> None:
    model.when(agent="helper").will_never_answer()
    model.will_call_tool("Agent", {"prompt": "add", "specialist": "helper"}).will_respond_with_text("Ok.")
    (call,) = client.send(session, "go", timeout=SECONDS).tool_calls
    agent_id = (call.result or {})["agent_id"]
    cancel = client.api.sessions.cancel_session_agent
    assert cancel(APP, session.session_id, agent_id).status == "cancelling"
    eventually(
        lambda: cancel(APP, session.session_id, agent_id), lambda one: one.terminal_status == "cancelled"
    )
    assert cancel(APP, session.session_id, "agent_none").status == "not_found"


def test_an_abort_cuts_them_off(client: DevClient, model: FakeModel, session: SessionHandle) -> None:
    model.when(agent="helper").will_never_answer()
    model.will_call_tool("Agent", {"prompt": "add", "specialist": "helper", "wait": True})
    turn = client.start_turn(session, "go", timeout=SECONDS)
    model.wait_for_requests(2, timeout=SECONDS)
    assert client.abort(session).agents_cleaned
    assert turn.result().status == "cancelled"
    assert client.api.sessions.list_session_agents(APP, session.session_id).agents == []


def test_its_calls_ask_the_user_on_its_behalf(
    client: DevClient, model: FakeModel, session: SessionHandle
) -> None:
    helper = model.when(agent="helper")
    helper.will_call_tool("Bash", {"command": "ls"}, result="a", requires_approval=True)
    helper.will_call_tool("Agent", {"prompt": "more"}).will_respond_with_text("Done.")
    model.will_call_tool("Agent", {"prompt": "list", "specialist": "helper", "wait": True})
    model.will_respond_with_text("Listed.")
    result = client.send(session, "go", timeout=SECONDS, auto_approve=True)
    (approval,) = result.approvals
    (call,) = result.tool_calls
    found = call.result or {}
    assert approval.request.agent_id == found["agent_id"]
    assert [one["success"] for one in found["tool_calls"]] == [True, False]
    assert "cannot spawn sub-agents" in model.requests[3].last_text
