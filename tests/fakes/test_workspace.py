"""Files of a session's workspace, and taking back writes (contract: rest, sections 4.10 and 6)."""

import httpx
import pytest

from digitorn_testing._generated import models
from digitorn_testing.fakes import FakeDaemon, FakeModel
from support.recorder import APP, Talk, another, http, talking
from support.sessions import add_session


async def put(talk: Talk, path: str, content: str, **more: object) -> httpx.Response:
    body = {"content": content, **more}
    return await talk.client.put(f"{talk.path}/workspace/files/{path}", json=body)


async def write(talk: Talk, path: str, content: str, **more: object) -> models.FileWriteResult:
    answer = await put(talk, path, content, **more)
    assert answer.status_code == 200, answer.text
    return models.FileWriteResult.from_wire(answer.json()["data"])


async def read(talk: Talk, path: str, **params: object) -> models.WorkspaceFile:
    return models.WorkspaceFile.from_wire(await talk.get(f"/workspace/files/{path}", **params))


async def undo(talk: Talk) -> models.UndoResult:
    return models.UndoResult.from_wire(await talk.act("/undo"))


@pytest.mark.parametrize("path", ["a.txt", "src/a.txt", "history", "approve", "src/history/a.py", "ä b.txt"])
async def test_what_is_written_is_read_back(path: str) -> None:
    async with talking(FakeModel()) as talk:
        result = await write(talk, path, "grün\nblau\n")
        assert (result.path, result.size, result.validation) == (path, 11, "pending")
        file = await read(talk, path)
        assert (file.path, file.payload.content, file.payload.path) == (path, "grün\nblau\n", path)
        assert (file.payload.size, file.payload.lines, file.payload.source) == (11, 2, "user")
        history = models.FileHistory.from_wire(await talk.get(f"/workspace/files/{path}/history"))
        assert [one["content"] for one in history.revisions] == ["grün\nblau\n"]


async def test_the_views_show_the_same_files() -> None:
    async with talking(FakeModel()) as talk:
        await write(talk, "b.txt", "b")
        await write(talk, "a/a.txt", "a", auto_approve=True, source="script")
        code = models.CodeSnapshot.from_wire(await talk.get("/workspace/code-snapshot"))
        assert list(code.files) == ["a/a.txt", "b.txt"]
        assert all("content" not in one.to_wire() for one in code.files.values())
        assert [one.validation for one in code.files.values()] == ["approved", "pending"]
        assert code.files["a/a.txt"].source == "script"
        view = models.WorkspaceView.from_wire(await talk.get("/workspace"))
        assert (view.session_id, view.app_id) == (talk.session_id, APP)
        shown = view.snapshot.resources["files"]
        assert {path: one["content"] for path, one in shown.items()} == {"a/a.txt": "a", "b.txt": "b"}
        preview = models.SessionPreview.from_wire(await talk.get("/preview"))
        assert preview.resources == view.snapshot.resources


async def test_the_directory_of_a_session_is_shown() -> None:
    async with talking(FakeModel()) as talk:
        session_id = add_session(talk.daemon, workspace="/tmp/w").session_id
        answer = await talk.client.get(f"/api/apps/{APP}/sessions/{session_id}/workspace")
        view = models.WorkspaceView.from_wire(answer.json()["data"])
        assert (view.workspace, view.workdir) == ("/tmp/w", "/tmp/w")
        assert view.snapshot.resources == {"files": {}}


async def test_what_is_not_approved_is_shown_as_a_change() -> None:
    async with talking(FakeModel()) as talk:
        await write(talk, "a.txt", "one\ntwo\n", auto_approve=True)
        approved = await read(talk, "a.txt", include_baseline=True)
        assert (approved.baseline, approved.unified_diff_pending) == ("one\ntwo\n", None)
        await write(talk, "a.txt", "one\nthree\n")
        pending = await read(talk, "a.txt", include_baseline=True)
        assert pending.baseline == "one\ntwo\n"
        assert pending.unified_diff_pending is not None
        assert "-two\n+three\n" in pending.unified_diff_pending
        assert (await read(talk, "a.txt")).baseline is None


async def test_writes_are_taken_back_the_last_one_first() -> None:
    async with talking(FakeModel()) as talk:
        await write(talk, "a.txt", "first")
        await write(talk, "b.txt", "other")
        await write(talk, "a.txt", "second")
        assert await undo(talk) == models.UndoResult(path="a.txt", restored_bytes=5, remaining=2)
        assert (await read(talk, "a.txt")).payload.content == "first"
        # It did not exist before.
        assert await undo(talk) == models.UndoResult(path="b.txt", restored_bytes=0, remaining=1)
        gone = await talk.client.get(f"{talk.path}/workspace/files/b.txt")
        assert gone.status_code == 404
        models.Problem.from_wire(gone.json())
        assert (await undo(talk)).remaining == 0
        assert (await talk.get("/workspace/code-snapshot"))["files"] == {}
        nothing = await talk.client.post(f"{talk.path}/undo")
        assert nothing.status_code == 200
        assert models.SoftFailure.from_wire(nothing.json()).error == "nothing to undo"
        # After a new write there is something again.
        await write(talk, "a.txt", "third")
        assert (await undo(talk)).path == "a.txt"


async def test_a_fork_takes_back_only_its_own_writes() -> None:
    async with talking(FakeModel()) as talk:
        await write(talk, "a.txt", "x")
        forked = await talk.act("/fork")
        async with another(talk.daemon, session_id=forked["session_id"]) as copy:
            nothing = await copy.client.post(f"{copy.path}/undo")
            assert nothing.json()["success"] is False
            await write(copy, "a.txt", "y")
            assert (await undo(copy)).restored_bytes == 1
            assert (await read(copy, "a.txt")).payload.content == "x"


@pytest.mark.parametrize("path", ["/etc/passwd", "a//b", "%2E%2E/a", "a/%2E%2E/b", "a/", "%2E", "a%00b"])
async def test_a_path_must_name_a_file_in_the_workspace(path: str) -> None:
    async with talking(FakeModel()) as talk:
        for method in ("GET", "PUT"):
            url = f"{talk.daemon.url}{talk.path}/workspace/files/{path}"
            answer = await talk.client.request(method, url, json={"content": "x"})
            assert answer.status_code == 400, (method, answer.text)
            models.Problem.from_wire(answer.json())
        assert (await talk.get("/workspace/code-snapshot"))["files"] == {}


async def test_a_file_has_a_largest_size() -> None:
    async with talking(FakeModel()) as talk:
        most = 10 * 1024 * 1024
        assert (await write(talk, "a.txt", "x" * most)).size == most
        # Bytes are counted, not characters.
        assert (await put(talk, "a.txt", "ä" * (most // 2) + "x")).status_code == 413
        assert (await read(talk, "a.txt")).payload.size == most


async def test_a_write_must_have_content() -> None:
    async with talking(FakeModel()) as talk:
        answer = await talk.client.put(f"{talk.path}/workspace/files/a.txt", json={})
        assert answer.status_code == 422
        # Whether the session is there comes first.
        url = f"/api/apps/{APP}/sessions/absent/workspace/files/a.txt"
        assert (await talk.client.put(url, json={"content": "x"})).status_code == 404


async def test_files_of_others_look_absent() -> None:
    with FakeDaemon() as daemon:
        daemon.add_app(APP)
        eve = daemon.add_user("eve@example.com", "a-long-password", permissions=["*"])
        async with another(daemon) as mine, http(daemon, eve) as foreign:
            await write(mine, "a.txt", "secret")
            for path in ("/workspace", "/workspace/files/a.txt", "/workspace/files/a.txt/history"):
                assert (await foreign.get(f"{mine.path}{path}")).status_code == 404
            assert (
                await foreign.put(f"{mine.path}/workspace/files/a.txt", json={"content": "x"})
            ).status_code == 404
            # To these the contract gives no 404 of the session.
            code = await foreign.get(f"{mine.path}/workspace/code-snapshot")
            assert code.json()["data"] == {"session_id": mine.session_id, "files": {}}
            assert (await foreign.post(f"{mine.path}/undo")).json()["success"] is False
            preview = await foreign.get(f"{mine.path}/preview")
            assert preview.json()["data"]["resources"] == {"files": {}}
            assert (await read(mine, "a.txt")).payload.content == "secret"
