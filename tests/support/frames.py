"""Frames as the daemon sends them, for tests without one."""

from typing import Any

SESSION = "s-1"
TURN = "fp-000000000001"


def frame(type: str, payload: dict[str, Any] | None = None, *, seq: int, **envelope: Any) -> dict[str, Any]:
    """A full live envelope (contract: events, section 4.1); without an id if that is None."""
    found = {
        "event_id": f"ev-{seq:012x}",
        "type": type,
        "kind": "session",
        "seq": seq,
        "ts": f"2026-01-02T03:04:05.{seq:06d}Z",
        "app_id": "app",
        "session_id": SESSION,
        "user_id": "u-1",
        "correlation_id": TURN,
        "op_id": TURN,
        "op_type": "turn",
        "op_state": "running",
        "op_parent_id": None,
        "payload": payload or {},
        **envelope,
    }
    if found["event_id"] is None:
        del found["event_id"]
    return found


def token(delta: str, *, seq: int, **envelope: Any) -> dict[str, Any]:
    """A streamed piece of text."""
    return frame("token", {"delta": delta}, seq=seq, **envelope)


def tool_start(name: str, *, call_id: str, seq: int, **envelope: Any) -> dict[str, Any]:
    """The start of a tool call."""
    payload = {
        "id": call_id,
        "call_id": call_id,
        "name": name,
        "params": {},
        "label": name,
        "detail": "",
        "display": display(),
        "correlation_id": TURN,
    }
    return frame("tool_start", payload, seq=seq, **{"op_id": call_id, "op_type": "tool", **envelope})


def tool_call(
    name: str,
    *,
    seq: int,
    success: bool = True,
    params: dict[str, Any] | None = None,
    call_id: str | None = None,
) -> dict[str, Any]:
    """The end of a tool call."""
    op_id = call_id or f"call-{seq}"
    payload = {
        "id": op_id,
        "name": name,
        "params": params or {},
        "success": success,
        "error": "" if success else "it broke",
        "label": name,
        "detail": "",
        "display": display(),
        "result": {"ok": success},
        "op_id": op_id,
        "correlation_id": TURN,
    }
    return frame(
        "tool_call",
        payload,
        seq=seq,
        op_id=op_id,
        op_type="tool",
        op_state="completed" if success else "failed",
    )


def display() -> dict[str, Any]:
    """How a tool call is shown."""
    return {
        "verb": "Run",
        "detail": "",
        "icon": "tool",
        "channel": "chat",
        "hidden": False,
        "category": "action",
        "group": "",
    }


def approval_request(
    request_id: str, *, seq: int, tool_name: str = "Bash", **envelope: Any
) -> dict[str, Any]:
    """A tool call that waits for a decision."""
    payload = approval(request_id, tool_name)
    return frame(
        "approval_request",
        payload,
        seq=seq,
        kind="approval",
        op_id=request_id,
        op_type="approval",
        op_state="waiting_approval",
        correlation_id=None,
        **envelope,
    )


def approval_resolved(request_id: str, *, seq: int, approved: bool = True) -> dict[str, Any]:
    """The decision."""
    return frame(
        "approval_resolved",
        {**approval(request_id, "Bash"), "approved": approved, "reason": ""},
        seq=seq,
        kind="approval",
        op_id=request_id,
        op_type="approval",
        op_state="completed" if approved else "cancelled",
        correlation_id=None,
    )


def approval(request_id: str, tool_name: str) -> dict[str, Any]:
    """What every approval event carries."""
    return {
        "request_id": request_id,
        "agent_id": "main",
        "user_id": "u-1",
        "app_id": "app",
        "session_id": SESSION,
        "tool_name": tool_name,
        "tool_params": {"command": "ls"},
        "risk_level": "medium",
        "description": "run ls",
        "created_at": 1.5,
        "op_id": request_id,
    }


def message(type: str, *, seq: int, **payload: Any) -> dict[str, Any]:
    """A turn's start or end."""
    state = {"message_done": "completed", "message_cancelled": "cancelled"}.get(type, "running")
    return frame(type, {"correlation_id": TURN, "session_id": SESSION, **payload}, seq=seq, op_state=state)


def user_message(content: str, *, seq: int) -> dict[str, Any]:
    """The message that a turn begins with."""
    return message(
        "user_message",
        seq=seq,
        role="user",
        content=content,
        images=[],
        client_message_id="",
        pending=False,
    )


def result(content: str, *, seq: int, error: str | None = None) -> dict[str, Any]:
    """The answer of a turn."""
    payload = {
        "content": content,
        "session_id": SESSION,
        "tool_calls_count": 0,
        "turns_used": 1,
        "truncated": False,
        "error": error,
        "usage": {
            "input_tokens": 3,
            "output_tokens": 2,
            "total_input_tokens": 3,
            "total_output_tokens": 2,
            "total_tokens": 5,
            "cost_usd": 0.0,
        },
        "turn_number": 1,
        "model": "m",
        "context": {
            **dict.fromkeys(("max_tokens", "output_reserved", "effective_max", "system_prompt_tokens"), 0),
            **dict.fromkeys(("tools_schema_tokens", "message_history_tokens", "total_estimated_tokens"), 0),
            **dict.fromkeys(("available_tokens", "compactions"), 0),
            **dict.fromkeys(
                ("system_prompt_pct", "tools_schema_pct", "message_history_pct", "pressure"), 0.0
            ),
        },
        "workspace_status": {},
    }
    return frame("result", payload, seq=seq, op_state="completed")


def text_turn(*deltas: str) -> list[dict[str, Any]]:
    """A whole turn that streams text."""
    frames = [user_message("hi", seq=1), message("message_started", seq=2, position=1, fast_path=True)]
    frames += [token(delta, seq=3 + i) for i, delta in enumerate(deltas)]
    seq = 3 + len(deltas)
    return [
        *frames,
        frame("stream_done", seq=seq),
        result("".join(deltas), seq=seq + 1),
        message("message_done", seq=seq + 2, fast_path=True),
    ]
