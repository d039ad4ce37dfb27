"""What each operation of the contract is called with on the released daemon, and what it then answers."""

import inspect
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from types import UnionType
from typing import Any, Final, Union, cast, get_args, get_origin

from contract.arguments import required_arguments
from digitorn_testing import ApiError, DevClient, DigitornError
from digitorn_testing._generated.operations import OPERATIONS

FILE: Final = "notes.txt"
PACKAGE: Final = "every-package"


def definition(app_id: str, more: str = "") -> str:
    """An app that compiles, and whose model nobody asks."""
    return f"""
app: {{app_id: {app_id}, name: An app, version: "1.0", description: Made by a test.}}
runtime: {{mode: conversation}}
agents:
  - id: main
    role: assistant
    brain: {{provider: openai, model: m, config: {{api_key: no-key, base_url: "http://127.0.0.1:1/v1"}}}}
    system_prompt: Be brief.
{more}"""


# --- arguments

KNOWN: Final[Mapping[str, object]] = {
    "action": "set_goal",
    "asset_path": "no-such-asset.png",
    "binding": "no-such-binding",
    "category": "shell",
    "email": "somebody@example.com",
    "fields": {"api_key": "no-key"},
    "file": ("example.txt", b"An example.\n"),
    "file_path": FILE,
    "filename": "example.txt",
    "key": "A_SECRET",
    "module_id": "shell",
    "password": "correct horse battery",
    "path": FILE,
    "provider_name": "openai",
    "server_id": "github",
    "tool_name": "memory.set_goal",
    "sid": "default",
    "user_id": "alice",
    "username": "somebody",
    "yaml": definition("every-draft"),
}
"""Values for arguments by name; a name that is missing gets a value by its type."""

ARGUMENTS: Final[Mapping[str, Mapping[str, object]]] = {
    "approve_file_hunks": {"hunks": [0]},
    "check_app_update": {"app_id": PACKAGE},
    "connect_mcp_server": {"server_id": "no-such-server"},
    "create_background_session": {"name": "A session in the background"},
    "create_draft": {"name": "A draft", "initial_yaml": definition("every-draft")},
    "create_session": {"message": "Hello."},
    "create_snippet": {"title": "A snippet", "body": "Its text."},
    "create_watcher": {"tool": "shell.bash", "params": {"command": "true"}, "interval": 60},
    "delete_system_credential": {"credential_id": "no-such-credential"},
    "delete_app": {"scope": "system"},
    "deploy_app_upload": {"file": ("app.yaml", definition("every-upload").encode())},
    "disable_app": {"scope": "system"},
    "dispatch_widget_action": {
        "type": "tool",
        "payload": {"tool": "memory.set_goal", "args": {"goal": "Call everything."}},
    },
    "disconnect_mcp_server": {"server_id": "no-such-server"},
    "enable_app": {"scope": "system"},
    "execute_module_action": {"module_id": "memory", "params": {"goal": "Call everything."}},
    "execute_tool": {"params": {"goal": "Call everything."}},
    "get_app_asset": {"app_id": PACKAGE, "asset_path": "app.yaml"},
    "get_app_icon": {"app_id": PACKAGE},
    "get_credential_oauth_status": {"state": "no-such-state"},
    "get_mcp_server": {"server_id": "no-such-server"},
    "get_template": {"template_id": "no-such-template"},
    "hide_app": {"scope": "system"},
    "import_workspace": {"snapshot": {"state": {}, "resources": {}, "seq": 0}, "replace": False},
    "install_requirement": {"name": "no-such-requirement"},
    "login": {"username": "somebody"},
    "kill_daemon_session": {"session_id": "no-such-session"},
    "launch_background_task": {"tool": "memory.set_goal", "params": {"goal": "Call everything."}},
    "list_daemon_diagnostics": {"seconds": 2},
    "list_app_files": {"app_id": PACKAGE},
    "load_test_session_store": {"sessions": 1, "events_per_session": 1},
    "patch_config": {"logging": {"level": "info"}},
    "patch_draft": {"status": "compiled"},
    "preview_prompt": {"content": "Hello {{name}}.", "variables": {"name": "Alice"}},
    "register_device": {"platform": "web", "fcm_token": "no-token"},
    "remove_mcp_server": {"server_id": "no-such-server"},
    "reset_daemon_config": {"key": "agent_spawn.cleanup_age"},
    "reject_file_hunks": {"path": "uploaded.txt", "hunks": [0]},
    "set_byok": {"enabled": False},
    "set_daemon_config": {"key": "agent_spawn.cleanup_age", "value": 200},
    "set_notification_prefs": {"events": {}, "quiet_hours": {}, "channels": {}},
    "set_secrets": {"secrets": {"ANOTHER_SECRET": "value"}},
    "show_app": {"scope": "system"},
    "test_mcp_server": {"server_id": "no-such-server"},
    "uninstall_app": {"app_id": PACKAGE},
    "upgrade_app": {"app_id": PACKAGE, "accept_permissions": True},
    "upload_my_avatar": {"file": ("example.png", b"not a picture")},
    "update_mcp_config": {"server_id": "no-such-server", "config": {}},
    "update_my_profile": {"display_name": "Alice"},
    "upload_file": {"file_path": "uploaded.txt"},
    "upsert_module_grant": {"module_id_body": "shell"},
}
"""Arguments of some operations in particular."""

LEARNT: Final[Mapping[str, tuple[str, str]]] = {
    "create_background_session": ("bg_session_id", "id"),
    "create_credential": ("credential_id", "id"),
    "create_draft": ("draft_id", "id"),
    "create_skill": ("skill_id", "skill.id"),
    "create_snippet": ("snippet_id", "snippet.id"),
    "create_watcher": ("watcher_id", "watcher_id"),
    "install_requirement": ("job_id", "job_id"),
    "launch_background_task": ("task_id", "task_id"),
    "login": ("refresh_token", "refresh_token"),
    "register_device": ("device_id", "id"),
    "upload_widget_file": ("file_id", "file_id"),
}
"""What later calls need of an answer: the name of the argument, and where its value is."""

# --- order

# fmt: off
FIRST: Final = (
    "register", "login", "install_app", "create_background_session", "set_background_payload",
    "upload_background_payload_file", "create_credential", "create_credential_grant",
    "create_credential_grant_alias", "upsert_user_credential", "create_draft", "patch_draft",
    "create_skill", "create_snippet", "create_watcher", "install_requirement", "launch_background_task",
    "register_device", "set_secret", "set_secrets", "upsert_module_grant", "write_file",
    "approve_file_hunks", "upload_file", "reject_file_hunks", "ingest_source", "read_inbox_item",
    "upload_widget_file", "resolve_approval", "cancel_queued_message",
)
# fmt: on
"""These make what others need."""

# fmt: off
LAST: Final = (
    "delete_background_payload_file", "clear_background_payload", "delete_background_session",
    "cancel_background_task", "cancel_install_job", "revoke_credential_grant", "delete_credential",
    "delete_user_credential", "deploy_draft", "delete_draft", "delete_skill", "delete_snippet",
    "stop_watcher", "unregister_device", "delete_secret", "delete_module_grant",
    "delete_security_profile", "create_security_profile", "reject_file", "archive_inbox_item",
    "delete_file", "abort_session", "delete_session", "disable_app", "enable_app", "reload_app",
    "uninstall_app", "delete_app", "logout",
)
# fmt: on
"""These take away what others need."""

# --- what is not as usual

NOT_CALLED: Final[Mapping[str, str]] = {
    "install_from_hub": "asks the vendor's hub",
    "install_mcp_server": "downloads and runs a program",
    "install_missing_requirements": "downloads programs",
    "start_copilot_device_flow": "asks GitHub",
    "start_credential_mcp": "downloads and runs a program",
    "start_credential_oauth": "asks the provider",
    "refresh_credential_oauth": "asks the provider",
}
"""Operations that would leave the machine or change it, and how."""

_REFUSALS: Final[Mapping[tuple[int, str], str]] = {
    (500, "a fault of the daemon"): "get_openapi list_active_ops",
    (502, "the vendor's gateway is not there"): (
        "proxy_gateway_delete proxy_gateway_get proxy_gateway_patch proxy_gateway_post proxy_gateway_put"
    ),
    (400, "the app has no MCP module"): "authorize_mcp_oauth complete_mcp_oauth inject_mcp_token",
    (404, "the app has no MCP module"): "revoke_mcp_token",
    (404, "no such MCP server is installed"): (
        "connect_mcp_server get_mcp_server remove_mcp_server test_mcp_server update_mcp_config"
    ),
    (404, "the daemon has no pool of MCP servers"): "get_credential_mcp_status stop_credential_mcp",
    (404, "the app has no triggers"): (
        "download_artifact fire_trigger get_activation head_artifact list_activation_artifacts "
        "list_activation_events test_trigger"
    ),
    (
        404,
        "the task has ended and is forgotten",
    ): "cancel_background_task get_background_task",
    (200, "the task has ended and is forgotten"): "wait_background_task cancel_session_task",
    (404, "the app has no files of its own"): (
        "get_template_asset get_web_static head_template_asset head_web_static"
    ),
    (404, "the package has no icon"): "get_app_icon",
    (404, "nothing was published"): "get_published_file head_published_file",
    (404, "the session has no images"): "get_session_image",
    (404, "the app has no agents to start"): "cancel_session_agent",
    (404, "the app has no language server"): "lsp_cancel lsp_request",
    (404, "the app has no widgets"): "get_widget_data stream_widget_data",
    (400, "the file is new as a whole"): "approve_file_hunks reject_file_hunks",
    (400, "the workspace is no git repository"): "commit_workspace",
    (200, "there is nothing to undo"): "undo_session",
    (200, "the daemon does not reach itself by the address that it uses"): "run_pipeline",
    (404, "there is no such template"): "get_template",
    (404, "there is no such credential"): "delete_system_credential delete_user_credential",
    (404, "the app declares no credentials"): "upsert_user_credential",
    (404, "GitHub was not asked"): "get_copilot_device_status list_copilot_models",
    (400, "nobody was sent to a provider"): "complete_oauth",
    (404, "transcription is off"): "transcribe_audio transcribe_audio_slash",
    (404, "there is no such worker"): "restart_daemon_worker",
    (308, "avatars are the auth service's; the client does not follow"): "get_avatar",
    (404, "avatars are the auth service's; its stand-in has none"): "upload_my_avatar",
    (501, "avatars are the auth service's; its stand-in has none"): "delete_my_avatar",
}

REFUSED: Final = {name: refusal for refusal, names in _REFUSALS.items() for name in names.split()}
"""Operations that answer an error here: its HTTP status, 200 with `success: false`, and why."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one operation.

    Attributes:
        name: Name of the operation.
        request: Method and path.
        status: The HTTP status of an error; 0 for an answer of its type.
        told: The type of the answer, the error, or why it was not called.
        seconds: How long the call took.
        is_fault: Whether the answer is neither of its type nor an error of the API.
    """

    name: str
    request: str
    status: int = 0
    told: str = ""
    seconds: float = 0.0
    is_fault: bool = False


def call_every_operation(
    client: DevClient, known: Mapping[str, object], particular: Mapping[str, Mapping[str, object]]
) -> Iterator[Outcome]:
    """Calls each operation once by its stub.

    Args:
        client: A client of an administrator.
        known: Values for arguments by name, besides those of this module.
        particular: Arguments of some operations, besides those of this module.
    """
    requests = {one.id: f"{one.method} {one.path}" for one in OPERATIONS}
    stubs = _stubs(client.api)
    values = {**KNOWN, **known}
    for name in (*FIRST, *(one for one in sorted(stubs) if one not in {*FIRST, *LAST}), *LAST):
        if name in NOT_CALLED:
            yield Outcome(name, requests[name], told=NOT_CALLED[name])
            continue
        more = {**ARGUMENTS.get(name, {}), **particular.get(name, {})}
        arguments = {**required_arguments(stubs[name], {**values, **more}), **more}
        began = time.monotonic()
        try:
            answer = stubs[name](**arguments)
        except ApiError as error:
            yield Outcome(name, requests[name], error.status, _in_words(error), time.monotonic() - began)
            continue
        except DigitornError as error:
            took = time.monotonic() - began
            yield Outcome(name, requests[name], 0, _in_words(error), took, is_fault=True)
            continue
        if name in LEARNT:
            argument, place = LEARNT[name]
            values[argument] = attrgetter(place)(answer)
        took = time.monotonic() - began
        declared = inspect.signature(stubs[name], eval_str=True).return_annotation
        told = _type_name(declared) if is_of(answer, declared) else f"{answer!r}, not {_type_name(declared)}"
        yield Outcome(name, requests[name], 0, told, took, is_fault=not is_of(answer, declared))


def table(outcomes: list[Outcome], *, with_seconds: bool) -> list[str]:
    """The outcomes as a table, one line each."""
    head = "| operation | request | outcome |" + (" s |" if with_seconds else "")
    lines = [head, "|---" * (head.count("|") - 1) + "|"]
    for one in sorted(outcomes, key=lambda one: one.request.split()[::-1]):
        if one.name in NOT_CALLED:
            told = f"not called: {one.told}"
        elif one.name in REFUSED:
            told = f"{one.told.partition(':')[0]} {one.status}: {REFUSED[one.name][1]}"
        else:
            told = f"`{one.told}`"
        took = f" {one.seconds:.2f} |" if with_seconds else ""
        lines.append(f"| {one.name} | `{one.request}` | {told} |{took}")
    return lines


def _stubs(api: object) -> dict[str, Any]:
    """Every stub by the name of its operation."""
    return {
        name: stub
        for group in vars(api).values()
        for name, stub in inspect.getmembers(group, inspect.ismethod)
        if not name.startswith("_")
    }


def is_of(value: object, kind: Any) -> bool:
    """Whether a value is of a declared type, as deep as lists go."""
    if kind is Any:
        return True
    if kind is None or kind is type(None):
        return value is None
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return any(is_of(value, one) for one in arguments)
    if origin is list:
        return isinstance(value, list) and all(is_of(one, *arguments) for one in cast("list[object]", value))
    return isinstance(value, origin or kind)


def _type_name(kind: Any) -> str:
    """A declared type without the modules."""
    return re.sub(r"[a-z_]+\.", "", kind.__name__ if isinstance(kind, type) else str(kind))


def _in_words(error: DigitornError) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
