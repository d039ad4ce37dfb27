"""Compaction on demand (contract: rest, section 4.9; events, section 5.7)."""

from digitorn_testing._generated import models
from digitorn_testing._generated.events import Compaction, LoggedCompactDone
from digitorn_testing.fakes import FakeModel, ModelRequest
from fakes.test_queue import occupy, release
from support.recorder import APP, Talk, calls_without_result, results_without_call, talking

LONG = "word " * 200


async def compact(talk: Talk) -> models.CompactedSession:
    return models.CompactedSession.from_wire(await talk.act("/compact"))


async def state(talk: Talk) -> models.SessionState:
    return models.SessionState.from_wire(await talk.get("/state"))


async def talk_for(talk: Talk, turns: int) -> None:
    for turn in range(turns):
        await talk.run(f"question {turn} {LONG}")


def last_request(model: FakeModel) -> ModelRequest:
    assert model.last_request is not None
    return model.last_request


async def test_the_model_sees_a_summary_and_the_last_messages() -> None:
    model = FakeModel().will_respond_with_text(LONG, times=None)
    async with talking(model) as talk:
        await talk_for(talk, 5)
        counts = await compact(talk)
        assert (counts.before, counts.after, counts.freed, counts.note) == (10, 5, 5, None)
        await talk.run("and now?")
        seen = last_request(model).messages
        assert len(seen) == counts.after + 1
        assert seen[0].role == "user"
        assert seen[0].content.startswith("Summary of the first 6 messages:")
        assert "question 2" in seen[0].content
        assert "question 3" not in seen[0].content
        assert [one.content.split(" word")[0] for one in seen[1:]] == [
            "question 3",
            LONG.split(" word")[0],
            "question 4",
            LONG.split(" word")[0],
            "and now?",
        ]


async def test_an_event_of_its_own_tells_of_it() -> None:
    async with talking(FakeModel().will_respond_with_text(LONG, times=None)) as talk:
        await talk_for(talk, 4)
        mark = len(talk.recorder.frames)
        await compact(talk)
        frame = await talk.recorder.wait_for("compaction")
        assert talk.recorder.types(mark) == ["compaction"]
        assert (frame["op_type"], frame["op_state"], frame["correlation_id"]) == (
            "compact",
            "completed",
            None,
        )
        assert frame["op_id"].startswith("op-compact-")
        payload = Compaction.from_wire(frame["payload"])
        assert payload.reason == "manual"
        assert payload.tokens_after < payload.tokens_before
        assert payload.summary_text.startswith("Summary")
        users = [one["seq"] for one in talk.recorder.of("user_message")]
        # The messages of the last two turns were kept.
        answers = [one["seq"] for one in talk.recorder.of("result")]
        assert users[0] <= payload.compacted_range.from_seq < answers[0]
        assert payload.compacted_range.to_seq < users[2] <= payload.kept_range.from_seq < answers[2]
        assert payload.kept_range.to_seq < frame["seq"]
        rows = await talk.log()
        assert [one["type"] for one in rows[-2:]] == ["compaction", "compact_done"]
        row = rows[-1]
        assert (row["kind"], row["seq"]) == ("event", frame["seq"] + 1)
        assert row["payload"]["cutoff_seq"] == payload.compacted_range.to_seq
        assert LoggedCompactDone.from_wire(row["payload"]).summary == payload.summary_text


async def test_the_state_tells_how_far_it_went() -> None:
    async with talking(FakeModel().will_respond_with_text(LONG, times=None)) as talk:
        await talk_for(talk, 4)
        assert (await state(talk)).compaction == models.CompactionState(
            had_compaction=False, last_at_seq=None
        )
        before = models.ContextBreakdown.from_wire(await talk.get("/context-breakdown"))
        await compact(talk)
        frame = await talk.recorder.wait_for("compaction")
        wanted = models.CompactionState(
            had_compaction=True,
            last_at_seq=frame["seq"],
            kept_from_seq=frame["payload"]["kept_range"]["from_seq"],
        )
        after = models.ContextBreakdown.from_wire(await talk.get("/context-breakdown"))
        assert (before.message_count, after.message_count) == (8, 5)
        assert after.breakdown.messages == frame["payload"]["tokens_after"] < before.breakdown.messages
        detail = models.SessionDetail.from_wire(await talk.get())
        assert detail.context is not None
        assert detail.context.compactions == 1
        assert (await state(talk)).compaction == wanted
        accepted = models.MessageAccepted.from_wire(await talk.send("more"))
        assert accepted.state is not None
        assert accepted.state.compaction == wanted
        assert accepted.correlation_id is not None
        await talk.end(accepted.correlation_id)
        assert talk.recorder.of("result")[-1]["payload"]["context"]["compactions"] == 1


async def test_the_history_stays_whole() -> None:
    async with talking(FakeModel().will_respond_with_text("a", times=None)) as talk:
        await talk_for(talk, 4)
        before = await talk.get("/history")
        counts = await compact(talk)
        after = await talk.get("/history")
        assert after["messages"] == before["messages"]
        assert (after["title"], after["message_count"]) == (before["title"], 8)
        raw = (await talk.get("/history", include_system=True))["messages"]
        assert len(raw) == 1 + counts.after
        found = await talk.client.get(f"/api/apps/{APP}/sessions/search", params={"q": "question 0"})
        assert found.json()["data"]["total"] == 1


async def test_a_call_is_never_parted_from_its_result() -> None:
    # Every place where the cut could fall: turns of one call put the calls at each distance from the end.
    for calls in range(1, 6):
        model = FakeModel().will_respond_with_text("a").will_respond_with_text("b")
        for _ in range(calls):
            model.will_call_tool("Bash", {"command": LONG}, result="done")
        model.will_respond_with_text("c").will_respond_with_text("d")
        async with talking(model) as talk:
            for text in ("1", "2", "3"):
                await talk.run(text)
            counts = await compact(talk)
            assert counts.freed > 0
            await talk.run("4")
        request = last_request(model)
        assert calls_without_result(request) == results_without_call(request) == []
        assert len(request.messages) == counts.after + 1
        assert [one.role for one in request.messages[-2:]] == ["assistant", "user"]


async def test_a_conversation_is_compacted_again() -> None:
    model = FakeModel().will_respond_with_text("a", times=None)
    async with talking(model) as talk:
        await talk_for(talk, 4)
        first = await compact(talk)
        unchanged = await compact(talk)
        assert (unchanged.before, unchanged.after, unchanged.freed) == (first.after, first.after, 0)
        await talk_for(talk, 2)
        second = await compact(talk)
        assert (second.before, second.after, second.freed) == (9, 5, 4)
        await talk.run("now")
        detail = models.SessionDetail.from_wire(await talk.get())
        assert detail.context is not None
        assert detail.context.compactions == len(talk.recorder.of("compaction")) == 2
    seen = last_request(model).messages
    assert len(seen) == 6
    # One summary stands for all that came before, not one for another.
    assert seen[0].content.startswith("Summary of the first 8 messages:")
    assert sum(one.content.startswith("Summary") for one in seen) == 1


async def test_a_short_conversation_stays_as_it_is() -> None:
    model = FakeModel().will_respond_with_text("a", times=None)
    async with talking(model) as talk:
        for messages in (0, 2, 4):
            counts = await compact(talk)
            assert (counts.before, counts.after, counts.freed) == (messages, messages, 0)
            assert counts.note == "the conversation is too short to compact"
            await talk_for(talk, 1)
        assert talk.recorder.of("compaction") == []
        assert (await compact(talk)).freed == 1
        await talk.recorder.wait_for("compaction")


async def test_while_a_turn_runs_nothing_is_compacted() -> None:
    model = FakeModel()
    for _ in range(4):
        model.will_respond_with_text("a")
    model.will_call_tool("Bash", requires_approval=True).will_respond_with_text("b")
    async with talking(model) as talk:
        await talk_for(talk, 4)
        busy = await occupy(talk)
        counts = await compact(talk)
        assert (counts.before, counts.after, counts.freed) == (10, 10, 0)
        assert counts.note is not None
        assert "turn is running" in counts.note
        await release(talk)
        await talk.end(busy)
        assert talk.recorder.of("compaction") == []
        assert [one.role for one in last_request(model).messages][-2:] == ["assistant", "tool"]
        assert (await compact(talk)).freed > 0


async def test_an_unknown_session_is_not_compacted() -> None:
    async with talking(FakeModel()) as talk:
        answer = await talk.client.post(f"/api/apps/{APP}/sessions/absent/compact")
        assert answer.status_code == 404
