"""Forks of sessions (contract: rest, section 4.8)."""

from typing import Any

from digitorn_testing._generated import models
from digitorn_testing.fakes import FakeDaemon, FakeModel
from fakes.test_abort import abort
from fakes.test_queue import occupy, release
from support.recorder import APP, Talk, another, calls_without_result, http, results_without_call, talking
from support.texts import PIECES


async def fork(talk: Talk) -> str:
    """Forks a session; gives the id of the new one."""
    forked = models.ForkedSession.from_wire(await talk.act("/fork"))
    assert forked.forked is True
    assert forked.source_session_id == forked.forked_from == talk.session_id
    assert forked.session_id == forked.new_session_id != talk.session_id
    return forked.new_session_id


async def messages(talk: Talk) -> list[dict[str, Any]]:
    """The messages of the history."""
    found: list[dict[str, Any]] = (await talk.get("/history"))["messages"]
    return found


async def test_a_fork_has_what_the_source_has() -> None:
    model = FakeModel().will_call_tool("Bash", {"command": "ls"}, result="a.txt", text="Looking.")
    model.will_stream_text(["One file."], thinking="Hm.")
    async with talking(model) as talk:
        sent = await talk.send("list them", workspace="/tmp/w")
        await talk.end(sent["correlation_id"])
        await talk.client.put(f"{talk.path}/workspace/files/a.txt", json={"content": "x"})
        forked = models.ForkedSession.from_wire(await talk.act("/fork"))
        async with another(talk.daemon, session_id=forked.new_session_id) as copy:
            # Each has its numbers in the log of its own session.
            mine, theirs = [
                [{**message, "seq": 0, "ts": ""} for message in await messages(one)] for one in (talk, copy)
            ]
            assert theirs == mine
            assert forked.message_count == len(theirs) == 3
            source = models.SessionDetail.from_wire(await talk.get())
            detail = models.SessionDetail.from_wire(await copy.get())
            assert (detail.title, detail.workspace, detail.turn_count) == (
                "list them",
                "/tmp/w",
                source.turn_count,
            )
            assert (detail.app_id, detail.user_id) == (source.app_id, source.user_id)
            # It has used nothing yet.
            assert (detail.tokens, detail.last_error) == (
                models.TokenTriple(prompt=0, completion=0, total=0),
                None,
            )
            assert (await copy.get("/workspace/files/a.txt"))["payload"]["content"] == "x"


async def test_a_fork_has_a_log_of_its_own() -> None:
    async with talking(FakeModel().will_respond_with_text("a", times=None)) as talk:
        await talk.run("hi")
        before = await talk.log()
        async with another(talk.daemon, session_id=await fork(talk)) as copy:
            assert await copy.log() == []
            assert copy.recorder.of("user_message") == []
            await copy.run("more")
            logged = await copy.log()
            assert {one["session_id"] for one in logged} == {copy.session_id}
            assert logged[0]["type"] == "user_message"
            assert await talk.log() == before


async def test_source_and_fork_go_on_independently() -> None:
    model = FakeModel()
    for answer in ("one", "in the fork", "in the source"):
        model.will_respond_with_text(answer)
    async with talking(model) as talk:
        await talk.run("1")
        await talk.client.put(f"{talk.path}/workspace/files/a.txt", json={"content": "x"})
        async with another(talk.daemon, session_id=await fork(talk)) as copy:
            await copy.run("fork?")
            await talk.run("source?")
            assert [one["content"] for one in await messages(copy)] == ["1", "one", "fork?", "in the fork"]
            assert [one["content"] for one in await messages(talk)] == [
                "1",
                "one",
                "source?",
                "in the source",
            ]
            await copy.client.put(f"{copy.path}/workspace/files/a.txt", json={"content": "y"})
            assert (await talk.get("/workspace/files/a.txt"))["payload"]["content"] == "x"
            await talk.act("/undo")
            assert (await copy.get("/workspace/files/a.txt"))["payload"]["content"] == "y"
            deleted = await talk.client.delete(talk.path)
            assert deleted.status_code == 200
            assert len(await messages(copy)) == 4
    assert [one.content for one in model.requests[1].messages] == ["1", "one", "fork?"]
    assert [one.content for one in model.requests[2].messages] == ["1", "one", "source?"]


async def test_a_running_turn_is_not_copied() -> None:
    model = FakeModel().will_respond_with_text("zero")
    model.will_call_tool("Bash", requires_approval=True)
    model.will_respond_with_text("in the fork").will_respond_with_text("in the source")
    async with talking(model) as talk:
        await talk.run("0")
        busy = await occupy(talk)
        await talk.send("waits")
        async with another(talk.daemon, session_id=await fork(talk)) as copy:
            detail = models.SessionDetail.from_wire(await copy.get())
            assert (detail.is_active, detail.interrupted, detail.turn_count) == (False, False, 2)
            assert (await copy.get("/queue"))["total"] == 0
            assert [one["content"] for one in await messages(copy)] == ["0", "zero"]
            sent = await copy.send("now")
            assert sent["status"] == "accepted"
            await copy.end(sent["correlation_id"])
            assert [one["content"] for one in await messages(copy)] == ["0", "zero", "now", "in the fork"]
            model.will_respond_with_text("last")
            await release(talk)
            await talk.end(busy)
            assert [one["content"] for one in await messages(copy)][-1] == "in the fork"
    request = model.requests[2]
    assert [one.content for one in request.messages] == ["0", "zero", "now"]
    assert calls_without_result(request) == results_without_call(request) == []


async def test_an_interrupted_turn_is_copied_with_its_calls_closed() -> None:
    model = FakeModel().will_call_tool("Bash", {"command": "sleep"}, delay=30.0)
    model.will_respond_with_text("resumed").will_respond_with_text("again")
    async with talking(model) as talk:
        accepted = await talk.send("go")
        await talk.recorder.wait_for("tool_start")
        await abort(talk)
        await talk.end(accepted["correlation_id"])
        async with another(talk.daemon, session_id=await fork(talk)) as copy:
            assert models.SessionDetail.from_wire(await copy.get()).interrupted is True
            assert (await copy.resume())[-1] == "result"
            assert models.SessionDetail.from_wire(await talk.get()).interrupted is True
            await talk.run("anew")
    for request in model.requests[1:]:
        assert [one.role for one in request.messages][:3] == ["user", "assistant", "tool"]
        assert request.messages[2].content == "The call was cut off."
        assert calls_without_result(request) == results_without_call(request) == []


async def test_a_resumed_turn_that_runs_is_not_copied_either() -> None:
    model = FakeModel().will_respond_with_text("zero").will_stream_text(PIECES, delay=30.0)
    model.will_stream_text(PIECES, delay=30.0)
    async with talking(model) as talk:
        await talk.run("0")
        accepted = await talk.send("1")
        await talk.recorder.wait_for_turn("token", accepted["correlation_id"])
        await abort(talk)
        await talk.end(accepted["correlation_id"])
        assert (await talk.act("/resume"))["resumed"] is True
        await talk.recorder.wait_for("token", 2)
        async with another(talk.daemon, session_id=await fork(talk)) as copy:
            assert [one["content"] for one in await messages(copy)] == ["0", "zero"]
            assert (await copy.act("/resume"))["resumed"] is False


async def test_a_fork_of_a_compacted_session_is_compacted() -> None:
    model = FakeModel().will_respond_with_text("a", times=None)
    async with talking(model) as talk:
        for text in ("1", "2", "3", "4"):
            await talk.run(text)
        compacted = await talk.act("/compact")
        async with another(talk.daemon, session_id=await fork(talk)) as copy:
            assert len(await messages(copy)) == 8
            detail = models.SessionDetail.from_wire(await copy.get())
            assert detail.context is not None
            assert detail.context.compactions == 1
            state = (await copy.get("/state"))["compaction"]
            # The event that told of it is not in this log.
            assert (state["had_compaction"], state["last_at_seq"]) == (True, None)
            await copy.run("5")
    request = model.last_request
    assert request is not None
    assert len(request.messages) == compacted["after"] + 1
    assert request.messages[0].content.startswith("Summary")


async def test_only_the_owner_forks() -> None:
    with FakeDaemon() as daemon:
        daemon.add_app(APP)
        eve = daemon.add_user("eve@example.com", "a-long-password", permissions=["*"])
        async with another(daemon) as mine, http(daemon, eve) as foreign:
            assert (await foreign.post(f"{mine.path}/fork")).status_code == 404
            absent = await mine.client.post(f"/api/apps/{APP}/sessions/absent/fork")
            assert absent.status_code == 404
            models.Problem.from_wire(absent.json())
            listed = models.SessionPage.from_wire(
                (await mine.client.get(f"/api/apps/{APP}/sessions")).json()["data"]
            )
            assert [one.session_id for one in listed.sessions] == [mine.session_id]
