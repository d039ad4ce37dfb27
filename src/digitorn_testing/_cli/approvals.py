"""`digitorn-testing pending`, `approve` and `deny`: tool calls and questions that wait for a person."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from digitorn_testing._texts import in_seconds, json_text

from ._connection import AppOption, Json, Url, apps_of, connected, shown
from ._failing import CommandFailed
from ._terminal import Terminal

if TYPE_CHECKING:
    from digitorn_testing import DevClient
    from digitorn_testing._generated.models import PendingApproval

RequestId: TypeAlias = Annotated[
    str, typer.Argument(metavar="ID", help="Id of the request, or the beginning of it.", show_default=False)
]


def pending(url: Url = None, app: AppOption = None, as_json: Json = False) -> None:
    """List the approvals that wait for a decision."""
    terminal = Terminal()
    with connected(url) as client:
        with terminal.busy("asking for pending approvals"):
            found = _pending(client, app)
    if as_json:
        terminal.json([one.to_wire() for one in found], indent=2)
    elif not found:
        terminal.note("Nothing waits for a decision.", "")
    else:
        for one in found:
            terminal.data(f"{one.request_id}  {said(one)}")
            waits = in_seconds(max(0, round(time.time() - one.created_at)))
            terminal.data(
                f"    {one.app_id}, session {one.session_id}, {one.risk_level} risk, for {waits}", "dim"
            )


def approve(
    request_id: RequestId,
    url: Url = None,
    app: AppOption = None,
    message: Annotated[
        str, typer.Option("--message", "-m", metavar="TEXT", help="Answer to a question of the agent.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Approve a tool call, or answer a question of an agent."""
    _resolve(request_id, url, app, approved=True, message=message, as_json=as_json)


def deny(
    request_id: RequestId,
    url: Url = None,
    app: AppOption = None,
    message: Annotated[
        str, typer.Option("--message", "-m", metavar="TEXT", help="Reason that the agent is given.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Deny a tool call, or decline a question of an agent."""
    _resolve(request_id, url, app, approved=False, message=message, as_json=as_json)


def _resolve(
    request_id: str, url: str | None, app: str | None, *, approved: bool, message: str, as_json: bool
) -> None:
    terminal = Terminal()
    with connected(url) as client:
        fitting = [one for one in _pending(client, app) if one.request_id.startswith(request_id)]
        if len(fitting) != 1:
            what = "several pending approvals begin" if fitting else "no pending approval begins"
            raise CommandFailed(f"{what} with {request_id!r}. To see them: {shown('pending', url)}")
        done = client.resolve_approval(fitting[0].app_id, fitting[0].request_id, approved, message)
    if as_json:
        terminal.json(done.to_wire(), indent=2)
    else:
        terminal.note(
            f"{'Approved' if approved else 'Denied'}: {said(fitting[0])}", "green" if approved else "yellow"
        )


def _pending(client: DevClient, app: str | None) -> list[PendingApproval]:
    return [one for app_id in apps_of(client, app) for one in client.list_pending_approvals(app_id)]


def said(request: PendingApproval) -> str:
    """What is to be approved, or the question, on one line.

    Args:
        request: The request.
    """
    from digitorn_testing._approvals.policies import is_question

    if is_question(request):
        return str(request.tool_params.get("question") or request.description)
    return f"{request.tool_name} {json_text(request.tool_params)}"
