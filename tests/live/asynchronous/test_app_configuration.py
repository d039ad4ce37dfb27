"""Apps from the builder, and what the model is then asked."""

import pytest

from digitorn_testing import AppBuilder, AppNotPortable, AsyncDevClient, EventTimeout
from digitorn_testing.fakes import FakeDaemon, FakeModel


def add(a: int, b: int) -> dict[str, int]:
    """Adds two numbers."""
    return {"sum": a + b}


BASE = (
    AppBuilder("accounts")
    .with_system_prompt("You keep accounts.")
    .append_system_prompt("Be brief.")
    .with_tools("Bash", "Read")
    .without_tools("Bash")
)


async def test_an_app_is_deployed_with_one_call() -> None:
    model = FakeModel().will_respond_with_text("Yes.")
    app = BASE.with_model(provider="openai", model="gpt-x", api_key_secret="KEY", temperature=0.2)
    with FakeDaemon(model=model) as daemon:
        async with daemon.async_client() as client:
            handle = await client.deploy_app(app, secrets={"KEY": "secret"})
            assert (handle.app_id, handle.daemon_url) == ("accounts", daemon.url)
            assert (await client.chat("accounts", "Are you there?")).content == "Yes."
            replaced = app.with_system_prompt("Another one.")
            await client.deploy_app(replaced, force=True)
            model.will_respond_with_text("Still.")
            await client.chat("accounts", "And now?")
    first, second = model.requests
    assert first.system_prompt == "You keep accounts.\n\nBe brief."
    assert second.system_prompt == "Another one."
    assert [tool.name for tool in first.tools] == ["Read"]
    assert first.excluded_tools == ("Bash",)
    assert (first.model_settings.provider, first.model_settings.model) == ("openai", "gpt-x")
    assert first.model_settings.temperature == 0.2


async def test_the_model_is_shown_the_whole_conversation_of_a_session(
    daemon: FakeDaemon, client: AsyncDevClient
) -> None:
    model = FakeModel()
    daemon.deploy(BASE.with_tool(add), model=model)
    session = await client.new_session("accounts")
    model.will_call_tool("add", {"a": 1, "b": 2}, text="I add them.").will_respond_with_text("Three.")
    model.will_call_tool("Bash", {"command": "ls"}).will_respond_with_text("I may not.")
    added = await client.send(session, "1 + 2?", timeout=10)
    assert [(call.name, call.result) for call in added.tool_calls] == [("add", {"sum": 3})]
    refused = await client.send(session, "List files.", timeout=10)
    assert [call.success for call in refused.tool_calls] == [False]
    last = model.last_request
    assert last is not None
    assert last.system_prompt == "You keep accounts.\n\nBe brief."
    assert [tool.name for tool in last.tools] == ["Read", "add"]
    assert last.excluded_tools == ("Bash",)
    assert [(one.role, one.content) for one in last.messages[:5]] == [
        ("user", "1 + 2?"),
        ("assistant", "I add them."),
        ("tool", '{"sum": 3}'),
        ("assistant", "Three."),
        ("user", "List files."),
    ]
    assert last.messages[1].tool_calls[0].params == {"a": 1, "b": 2}
    assert (last.messages[6].role, last.messages[6].tool_call_id) == (
        "tool",
        last.messages[5].tool_calls[0].id,
    )
    assert "Bash" in last.messages[6].content
    assert [len(request.messages) for request in model.requests] == [1, 3, 5, 7]


@pytest.mark.both_daemons
async def test_an_app_with_python_tools_is_for_the_embedded_daemon_alone(client: AsyncDevClient) -> None:
    app = BASE.with_model(provider="openai", model="gpt-x", api_key_secret="KEY").with_tool(add)
    with pytest.raises(AppNotPortable, match="add"):
        await client.deploy_app(app)
    with pytest.raises(EventTimeout):
        await client.wait_for_app("accounts", timeout=0.05)
