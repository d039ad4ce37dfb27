"""A scenario as it was written for the library that the daemon carries."""

import os
from pathlib import Path

from digitorn.testing import DevClient, DigitornError, EventPayload, SessionHandle, assertions
from digitorn.testing.events import MessageDone, MessageStarted, Thinking, ThinkingDelta, ThinkingStarted, Token, ToolCall, UserMessage

URL = os.environ["DIGITORN_DEV_DAEMON_URL"]


def connect() -> DevClient:
    # Comments stay where they are.
    return DevClient.with_token(os.environ["DIGITORN_TEST_TOKEN"], daemon_url=URL)


def deploys(client: DevClient, path: Path) -> None:
    app = client.wait_for_app(client.deploy(path, force=True).app_id, timeout=10)  # 1
    client.wait_for_app(client.deploy_text(path.read_text(), force=True).app_id)  # 2
    names = [one.app_id for one in client.list_apps()]  # 3
    assert app.app_id in names
    assert client.get_app(app.app_id).app_id == app.app_id  # 4
    assert client.get_health().status  # 5


def talks(client: DevClient, app_id: str) -> None:
    session = client.new_session(app_id, workspace="")  # 6
    posted = client.post_message_raw(session, "hello", queue_mode="async")
    cid = posted.correlation_id  # 7
    assert cid == posted.correlation_id  # 8
    stream = client.open_event_stream(session)  # 9
    done = stream.poll_for(  # 10
        MessageDone,
        timeout=20,
        # of this turn
        where=lambda e: e["payload"]["correlation_id"] == cid,
    )
    if done is None:
        raise AssertionError("no end")
    assert stream.poll_for(ToolCall, timeout=0.1) is None  # 11
    ends = ["message_done", "message_cancelled"]
    first = stream.poll_for(EventPayload, where=lambda event: event.type in ends, timeout=5.0)  # 12
    assert first is not None and isinstance(first.payload, MessageDone)  # 13
    tokens = stream.events_of(Token)  # 14
    assert len(tokens) >= 1
    assert stream.log.last_seq > 0  # 15
    assert stream.fill_gaps(since=0) >= 0  # 16
    events = assertions.sort_by_seq(stream.events())
    types = [e.type for e in events if not isinstance(e.payload, Token)]  # 17
    assert "message_done" in types
    kinds = {e.seq for e in events if isinstance(e.payload, (Token, MessageDone))}  # 18
    assert kinds
    ok, detail = assertions.event_order(events, [UserMessage, MessageStarted, MessageDone])  # 19
    assert ok, detail
    ok, detail = assertions.event_count(events, MessageDone, at_least=1, at_most=1)  # 20
    assert ok, detail
    ok, detail = assertions.event_count(events, Token, at_least=1)  # 21
    assert ok, detail
    ok, detail = assertions.event_count(events, Token, at_least=1)  # 22
    assert ok, detail
    ok, detail = assertions.seq_unique(events)  # 23
    assert ok, detail
    rows = client.list_events(session, since=0, limit=5000).to_wire()["events"]  # 24
    ok, detail = assertions.no_event(rows, Token, ThinkingDelta, ThinkingStarted, Thinking)  # 25
    assert ok, detail
    assert rows[0]["type"] == "user_message"
    stream.wait_for_turn(client.post_message_raw(session, "again"), timeout=20)  # 26
    stream.stop()
    result = client.send(session, "once more")
    assert result.ok and result.content  # 27
    assert [call.name for call in result.tool_calls] == []  # 28
    assert client.list_pending_approvals(app_id) == []  # 29
    reads(client, session)


def reads(client: DevClient, session: SessionHandle) -> None:
    history = client.get_history(session, include_system=True).messages  # 30
    assert {m.role for m in history} <= {"user", "assistant", "system"}
    queue = client.get_queue(session, include_finished=True).entries  # 31
    assert all(one.status != "running" for one in queue)
    assert client.clear_queue(session).cancelled == 0  # 32
    sessions = client.list_sessions(session.app_id).sessions  # 33
    assert len(sessions) == 1
    client.abort(session, purge_queue=True)  # 34
    client.compact(session)  # 35
    copy = client.fork(session).session_id  # 36
    other = SessionHandle(session_id=copy, app_id=session.app_id, daemon_url=client.daemon_url)
    client.delete(other)  # 37
    try:
        client.delete(other)
    except DigitornError:  # 38
        client.list_sessions(session.app_id)
    apps = client.request("GET", "/api/apps").json()  # 39
    assert apps
    client.export(session)  # 40


def main(client: DevClient, path: Path) -> None:
    deploys(client, path)
    talks(client, "scenario")
