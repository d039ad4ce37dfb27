"""Sessions of the embedded daemon over REST (contract: rest, section 4)."""

import asyncio
from typing import Any

import httpx
import pytest

from digitorn_testing._generated import models
from digitorn_testing.fakes import FakeDaemon, FakeModel
from support.recorder import APP, another, http, recording, talking
from support.texts import PIECES


async def test_an_unknown_session_comes_to_exist_by_its_first_message() -> None:
    with FakeDaemon(model=FakeModel().will_respond_with_text("a")) as daemon:
        daemon.add_app(APP)
        async with http(daemon) as client:
            path = f"/api/apps/{APP}/sessions/chosen-by-me"
            assert (await client.get(path)).status_code == 404
            body = {"message": "hello there", "queue_mode": "wait", "workspace": "/tmp/w"}
            sent = await client.post(f"{path}/messages", json=body)
            assert sent.json()["data"]["session_id"] == "chosen-by-me"
            detail = models.SessionDetail.from_wire((await client.get(path)).json()["data"])
            assert (detail.title, detail.message_count, detail.turn_count) == ("hello there", 3, 2)
            assert (detail.last_message_preview, detail.last_message_role) == ("a", "assistant")
            assert detail.workspace == "/tmp/w"
            assert detail.tools is not None
            assert detail.model == "fake-model"


async def test_what_an_accepted_message_is_answered_with() -> None:
    model = FakeModel().will_call_tool("Bash", requires_approval=True)
    async with talking(model) as talk:
        accepted = models.MessageAccepted.from_wire(await talk.send("x", client_message_id="m-1"))
        assert (accepted.status, accepted.client_message_id) == ("accepted", "m-1")
        # The state is that from before its turn began.
        assert accepted.state is not None
        assert accepted.state.turn is None
        assert (accepted.state.queue.is_active, accepted.state.queue.entries) == (False, [])
        await talk.recorder.wait_for("approval_request")
        fetched = models.SessionDetail.from_wire(await talk.get())
        assert fetched.is_active is True


async def create(client: httpx.AsyncClient, **body: object) -> httpx.Response:
    return await client.post(f"/api/apps/{APP}/sessions", json=body)


async def test_a_session_is_created_with_a_first_message() -> None:
    async with talking(FakeModel().will_respond_with_text("a")) as talk:
        answer = await create(talk.client, message="hi", workspace_path="/tmp/w", client_message_id="m-1")
        created = models.CreatedSession.from_wire(answer.json()["data"])
        assert created.workspace == "/tmp/w"
        assert created.first_message is not None
        assert created.first_message.status == "accepted"
        assert created.first_message.state is not None
        assert created.first_message.state.session_id == created.session_id
        correlation_id = created.first_message.correlation_id
        async with another(talk.daemon, session_id=created.session_id) as first:
            await asyncio.to_thread(talk.daemon.drain)
            user = (await first.log())[0]
            assert (user["type"], user["correlation_id"]) == ("user_message", correlation_id)
            assert user["payload"]["client_message_id"] == "m-1"
            assert [one["content"] for one in (await first.get("/history"))["messages"]] == ["hi", "a"]


async def test_a_session_is_created_when_its_first_message_has_run() -> None:
    async with talking(FakeModel().will_respond_with_text("a").will_fail()) as talk:
        answer = await create(talk.client, message="hi", queue_mode="wait")
        created = models.CreatedSession.from_wire(answer.json()["data"])
        assert created.first_message is not None
        assert created.first_message.status == "completed"
        assert (created.is_active, created.message_count, created.title) == (False, 3, "hi")
        failed = await create(talk.client, message="hi", queue_mode="wait")
        assert failed.status_code == 500
        assert "provider" in failed.json()["detail"]


async def test_the_first_message_may_have_images() -> None:
    async with talking(FakeModel().will_respond_with_text("a")) as talk:
        answer = await create(talk.client, message="look", queue_mode="wait", images=[{"data": "aGk="}])
        created = models.CreatedSession.from_wire(answer.json()["data"])
        async with another(talk.daemon, session_id=created.session_id) as first:
            assert (await first.log())[0]["payload"]["images"] == [None]
        refused = await create(talk.client, message="look", images=[{"data": "aGk=", "mime": "text/plain"}])
        assert refused.status_code == 415
        # Nothing is left of it.
        listed = await talk.client.get(f"/api/apps/{APP}/sessions")
        ids = {one["session_id"] for one in listed.json()["data"]["sessions"]}
        assert ids == {talk.session_id, created.session_id}


@pytest.mark.parametrize("body", [{"message": ""}, {"message": "x", "queue_mode": "later"}])
async def test_a_first_message_must_have_its_form(body: dict[str, object]) -> None:
    async with talking(FakeModel()) as talk:
        assert (await create(talk.client, **body)).status_code == 422


async def test_sessions_are_listed_the_last_used_first() -> None:
    model = FakeModel().will_respond_with_text("a", times=None)
    async with talking(model) as talk, another(talk.daemon) as other:
        await other.run("newer")
        await talk.run("newest")
        path = f"/api/apps/{APP}/sessions"
        page = models.SessionPage.from_wire((await talk.client.get(path)).json()["data"])
        assert [one.session_id for one in page.sessions] == [talk.session_id, other.session_id]
        second = await talk.client.get(path, params={"limit": 1, "offset": 1})
        assert [one["session_id"] for one in second.json()["data"]["sessions"]] == [other.session_id]
        assert second.json()["data"]["total"] == 2
        everything = await talk.client.get(path, params={"limit": 0})
        assert len(everything.json()["data"]["sessions"]) == 2


async def test_sessions_are_searched() -> None:
    model = FakeModel().will_respond_with_text("the needle, a Needle").will_respond_with_text("hay")
    async with talking(model) as talk, another(talk.daemon) as other:
        await talk.run("where?")
        await other.run("what?")
        path = f"/api/apps/{APP}/sessions/search"
        found = models.SessionSearchPage.from_wire(
            (await talk.client.get(path, params={"q": "needle"})).json()["data"]
        )
        assert [(one.session_id, one.relevance) for one in found.sessions] == [(talk.session_id, 2)]
        assert "needle" in found.sessions[0].snippets[0]
        nothing = (await talk.client.get(path)).json()["data"]
        assert nothing == {"sessions": [], "total": 0, "query": ""}


async def tool_session(talk: Any) -> None:
    await talk.run("list")


async def test_the_history_shows_messages_with_their_tool_calls() -> None:
    model = FakeModel().will_call_tool("Bash", {"command": "ls"}, result="a.txt", text="Looking.")
    model.will_stream_text(["One ", "file."], thinking="Hm.")
    async with talking(model) as talk:
        await talk.run("list")
        document = (await talk.client.get(f"{talk.path}/history")).json()["data"]
        history = models.SessionHistory.from_wire(document)
        assert [(one.role, one.content) for one in history.messages] == [
            ("user", "list"),
            ("assistant", "Looking."),
            ("assistant", "One file."),
        ]
        call = document["messages"][1]["tool_calls"][0]
        function = {"name": "Bash", "arguments": '{"command": "ls"}'}
        assert call == {"id": call["id"], "type": "function", "function": function}
        assert history.message_count == 3
        assert history.event_count == history.events_total == len(await talk.log())
        assert (history.events_has_more, history.events_has_more_back) == (False, False)

        raw = await talk.client.get(f"{talk.path}/history", params={"include_system": True})
        roles = [one["role"] for one in raw.json()["data"]["messages"]]
        assert roles == ["system", "user", "assistant", "assistant"]


async def test_the_history_is_paged_in_both_directions() -> None:
    async with talking(FakeModel().will_respond_with_text("a")) as talk:
        await talk.run("hi")
        logged = [one["seq"] for one in await talk.log()]

        async def page(**params: int) -> models.SessionHistory:
            response = await talk.client.get(f"{talk.path}/history", params=params)
            return models.SessionHistory.from_wire(response.json()["data"])

        first = await page(events_limit=3)
        assert [one.seq for one in first.events] == logged[:3]
        assert (first.events_has_more, first.events_has_more_back) == (True, False)
        rest = await page(since_seq=first.events_next_seq)
        assert [one.seq for one in rest.events] == logged[3:]
        assert (rest.events_has_more, rest.events_has_more_back) == (False, True)
        back = await page(before_seq=rest.events_prev_seq, events_limit=2)
        assert [one.seq for one in back.events] == logged[1:3]


def numbered(row: models.SessionEvent | dict[str, Any]) -> int:
    """The number of a row, which has the form of the contract."""
    assert isinstance(row, models.SessionEvent)
    return row.seq


async def test_the_log_is_paged_and_filtered_by_time() -> None:
    async with talking(FakeModel().will_respond_with_text("a")) as talk:
        await talk.run("hi")
        logged = await talk.log()

        async def page(**params: Any) -> models.SessionEventPage:
            response = await talk.client.get(f"{talk.path}/events", params=params)
            return models.SessionEventPage.from_wire(response.json()["data"])

        two = await page(since_seq=logged[1]["seq"], limit=2)
        assert [numbered(one) for one in two.events] == [one["seq"] for one in logged[2:4]]
        assert (two.count, two.total) == (2, len(logged) - 2)
        later = await page(since_ts=logged[2]["ts"])
        assert [numbered(one) for one in later.events] == [one["seq"] for one in logged[3:]]
        wrong = await talk.client.get(f"{talk.path}/events", params={"since_ts": "yesterday"})
        assert wrong.status_code == 400


GONE = [
    ("GET", ""),
    ("DELETE", ""),
    ("GET", "/history"),
    ("GET", "/events"),
    ("GET", "/active-ops"),
    ("GET", "/queue"),
    ("POST", "/abort"),
    ("POST", "/resume"),
    ("POST", "/fork"),
    ("POST", "/compact"),
    ("GET", "/export"),
    ("GET", "/memory"),
    ("GET", "/context-breakdown"),
    ("GET", "/workspace"),
    ("GET", "/workspace/files/a.txt"),
]


async def test_a_deleted_session_is_gone() -> None:
    model = FakeModel().will_stream_text(PIECES, delay=30.0)
    async with talking(model) as talk:
        sent = await talk.send("go")
        await talk.recorder.wait_for("token")
        started = await talk.send("is started ahead")
        queued = await talk.send("waits")
        deleted = await talk.client.delete(talk.path)
        assert deleted.json()["data"] == {"session_id": talk.session_id, "deleted": True}
        for method, path in GONE:
            answer = await talk.client.request(method, talk.path + path)
            assert answer.status_code == 404, (method, path)
            models.Problem.from_wire(answer.json())
        # Those who have joined still see the turns end.
        for one in (sent, started):
            assert await talk.end(one["correlation_id"]) == "interrupted"
        assert talk.recorder.turn(queued["correlation_id"]) == ["message_queued", "user_message"]
        assert await talk.recorder.join(talk.session_id) == {
            "ok": False,
            "error": "session not found or access denied",
        }
        listed = await talk.client.get(f"/api/apps/{APP}/sessions")
        assert listed.json()["data"]["sessions"] == []
    assert model.request_count == 1


async def test_a_message_to_a_deleted_session_begins_anew() -> None:
    model = FakeModel().will_respond_with_text("a", times=None)
    async with talking(model) as talk:
        await talk.run("before")
        await talk.client.put(f"{talk.path}/workspace/files/a.txt", json={"content": "x"})
        await talk.client.delete(talk.path)
        seen = len(talk.recorder.frames)
        sent = await talk.send("after", queue_mode="wait")
        assert sent["status"] == "completed"
        assert [one["content"] for one in (await talk.get("/history"))["messages"]] == ["after", "a"]
        assert (await talk.log())[0]["seq"] <= 2
        assert (await talk.get("/workspace/code-snapshot"))["files"] == {}
        # The sockets of the old one have left its room; an acknowledgement comes after what was sent before.
        await talk.recorder.call("ping", {}, namespace="/")
        assert talk.recorder.frames[seen:] == []
        assert (await talk.recorder.join(talk.session_id))["ok"] is True
    assert [one.content for one in model.requests[1].messages] == ["after"]


async def test_an_approval_of_a_deleted_session_is_no_longer_open() -> None:
    async with talking(FakeModel().will_call_tool("Bash", requires_approval=True)) as talk:
        await talk.send("go")
        request = await talk.recorder.wait_for("approval_request")
        await talk.client.delete(talk.path)
        listed = await talk.client.get(f"/api/apps/{APP}/approvals")
        assert listed.json()["data"] == {"pending": []}
        late = await talk.resolve(request["payload"]["request_id"], approved=True)
        assert late.json()["success"] is False


async def test_sessions_of_a_removed_app_end() -> None:
    async with talking(FakeModel().will_stream_text(PIECES, delay=30.0)) as talk:
        sent = await talk.send("go")
        await talk.recorder.wait_for("token")
        assert (await talk.client.delete(f"/api/apps/{APP}")).json()["success"] is True
        await talk.end(sent["correlation_id"])
        assert (await talk.recorder.join(talk.session_id))["ok"] is False


# --- what else there is to know


async def test_a_session_without_memory_and_tasks_says_so() -> None:
    async with talking(FakeModel()) as talk:
        assert await talk.get("/memory") == {
            "working": {"goal": "", "todos": []},
            "semantic": {"facts": []},
            "episodes": [],
        }
        assert await talk.get("/tasks") == {"tasks": []}


async def test_what_fills_the_context_is_counted() -> None:
    model = FakeModel().will_call_tool("Bash").will_respond_with_text("word " * 100)
    async with talking(model, tools=["Bash"]) as talk:
        empty = models.ContextBreakdown.from_wire(await talk.get("/context-breakdown"))
        assert (empty.message_count, empty.breakdown.messages, empty.tool_count) == (0, 0, 1)
        assert empty.breakdown.system_prompt > 0
        assert empty.breakdown.tools_schema > 0
        await talk.run("hi")
        found = models.ContextBreakdown.from_wire(await talk.get("/context-breakdown"))
        assert found.message_count == 4
        assert found.breakdown.messages > 100
        parts = found.breakdown
        assert found.total_estimated == parts.system_prompt + parts.tools_schema + parts.messages
        assert found.budget_remaining == found.effective_max - found.total_estimated
        assert (found.will_overflow, found.advice) == (False, [])
        result = talk.recorder.of("result")[0]["payload"]["context"]
        assert result["total_estimated_tokens"] == found.total_estimated


async def test_a_context_that_is_full_is_told() -> None:
    async with talking(FakeModel().will_respond_with_text("a", times=None)) as talk:
        await talk.run("word " * 100_000)
        found = models.ContextBreakdown.from_wire(await talk.get("/context-breakdown"))
        assert found.will_overflow is True
        assert found.pressure > 1
        assert found.advice


async def test_images_come_along() -> None:
    async with talking(FakeModel().will_respond_with_text("a", times=None)) as talk:
        images = [{"data": "aGk="}] * 20
        sent = await talk.send("look", images=images)
        await talk.end(sent["correlation_id"])
        # One null an image, of those that are used.
        assert talk.recorder.of("user_message")[0]["payload"]["images"] == [None] * 10
        # The first that cannot be decoded ends them.
        images[1] = {"data": "not base64!"}
        sent = await talk.send("look", images=images)
        await talk.end(sent["correlation_id"])
        assert talk.recorder.of("user_message")[1]["payload"]["images"] == [None]
        refused = await talk.post("look", images=[{"data": "aGk=", "mime": "text/plain"}])
        assert refused.status_code == 415
        assert refused.json()["detail"].keys() == {"error", "got", "message"}
        assert refused.json()["detail"]["got"] == "text/plain"


@pytest.mark.parametrize("key", ["audio", "audios", "audio_ref", "audio_refs"])
async def test_audio_must_be_transcribed_first(key: str) -> None:
    async with talking(FakeModel()) as talk:
        assert (await talk.post("", **{key: "x"})).status_code == 422


async def test_two_sockets_of_one_session_see_the_same() -> None:
    async with talking(FakeModel().will_stream_text(PIECES)) as talk, recording(talk.daemon) as twin:
        await twin.join(talk.session_id)
        await talk.run("hi")
        await twin.wait_for("turn_terminal")
        mine = [one for one in talk.recorder.frames if one.get("correlation_id")]
        assert [one for one in twin.frames if one.get("correlation_id")] == mine
