"""Conversations as documents (contract: rest, section 4.11)."""

from digitorn_testing._generated import models
from digitorn_testing.fakes import FakeModel
from fakes.test_queue import occupy, release
from support.recorder import APP, Talk, talking


async def export(talk: Talk, **params: object) -> models.SessionExport:
    return models.SessionExport.from_wire(await talk.get("/export", **params))


async def test_a_conversation_is_exported_with_its_calls() -> None:
    model = FakeModel().will_call_tool("Bash", {"command": "ls"}, result="a.txt", text="Looking.")
    model.will_respond_with_text("One *file*.").will_respond_with_text("Welcome.")
    async with talking(model) as talk:
        await talk.run("list the files")
        await talk.run("thanks")
        found = await export(talk)
        assert found.content == (
            "# list the files\n"
            "\n"
            "## User\n"
            "\n"
            "list the files\n"
            "\n"
            "## Assistant\n"
            "\n"
            "Looking.\n"
            "\n"
            "**Tool call: Bash**\n"
            "\n"
            "```json\n"
            "{\n"
            '  "command": "ls"\n'
            "}\n"
            "```\n"
            "\n"
            "Result:\n"
            "\n"
            "```\n"
            '{"output": "a.txt"}\n'
            "```\n"
            "\n"
            "One *file*.\n"
            "\n"
            "## User\n"
            "\n"
            "thanks\n"
            "\n"
            "## Assistant\n"
            "\n"
            "Welcome.\n"
        )
        assert (found.format, found.filename) == ("markdown", f"{talk.session_id}.md")
        assert (found.turns, found.messages) == (2, 5)
        assert await export(talk, format="markdown") == found


async def test_a_result_with_a_fence_stays_in_its_block() -> None:
    model = FakeModel().will_call_tool("Read", result={"text": "````\ncode\n````"})
    async with talking(model.will_respond_with_text("a")) as talk:
        await talk.run("read")
        content = (await export(talk)).content
        # One longer than the longest run of backticks in it.
        assert content.count("`````") == 2


async def test_a_session_without_messages_is_exported() -> None:
    async with talking(FakeModel()) as talk:
        found = await export(talk)
        assert found.content == f"# {talk.session_id}\n"
        assert (found.turns, found.messages) == (0, 0)


async def test_a_running_call_has_no_result_yet() -> None:
    model = FakeModel().will_call_tool("Bash", requires_approval=True).will_respond_with_text("done")
    async with talking(model) as talk:
        busy = await occupy(talk)
        assert "No result yet." in (await export(talk)).content
        await release(talk)
        await talk.end(busy)
        assert "No result yet." not in (await export(talk)).content


async def test_a_compacted_conversation_is_exported_whole() -> None:
    async with talking(FakeModel().will_respond_with_text("a", times=None)) as talk:
        for text in ("one", "two", "three", "four"):
            await talk.run(text)
        before = await export(talk)
        assert (await talk.act("/compact"))["freed"] > 0
        assert await export(talk) == before


async def test_another_format_is_a_soft_failure() -> None:
    async with talking(FakeModel()) as talk:
        answer = await talk.client.get(f"{talk.path}/export", params={"format": "pdf"})
        assert answer.status_code == 200
        failed = models.SoftFailure.from_wire(answer.json())
        assert failed.error is not None
        assert "'pdf'" in failed.error
        absent = await talk.client.get(f"/api/apps/{APP}/sessions/absent/export", params={"format": "pdf"})
        assert absent.status_code == 404
