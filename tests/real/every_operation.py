"""What each operation of the contract is called with on the released daemon, and what it then answers."""

import inspect
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
DRAFT: Final = """
app: {app_id: every-draft, name: A draft, version: "1.0", description: A draft.}
runtime: {mode: conversation}
agents:
  - {id: main, role: assistant, brain: {provider: openai, model: m}, system_prompt: Be brief.}
"""

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
    "username": "somebody",
    "yaml": DRAFT,
}
"""Values for arguments by name; a name that is missing gets a value by its type."""

ARGUMENTS: Final[Mapping[str, Mapping[str, object]]] = {
    "connect_mcp_server": {"server_id": "no-such-server"},
    "create_background_session": {"name": "A session in the background"},
    "create_draft": {"name": "A draft", "initial_yaml": DRAFT},
    "create_session": {"message": "Hello."},
    "create_snippet": {"title": "A snippet", "body": "Its text."},
    "create_watcher": {"tool": "shell.bash", "params": {"command": "true"}, "interval": 60},
    "delete_system_credential": {"credential_id": "no-such-credential"},
    "disable_app": {"scope": "system"},
    "disconnect_mcp_server": {"server_id": "no-such-server"},
    "enable_app": {"scope": "system"},
    "execute_module_action": {"module_id": "memory", "params": {"goal": "Call everything."}},
    "execute_tool": {"params": {"goal": "Call everything."}},
    "get_mcp_server": {"server_id": "no-such-server"},
    "get_template": {"template_id": "no-such-template"},
    "hide_app": {"scope": "system"},
    "import_workspace": {"snapshot": {"state": {}, "resources": {}, "seq": 0}, "replace": False},
    "install_app": {"source_uri": "/no/such/folder"},
    "install_requirement": {"name": "no-such-requirement"},
    "kill_daemon_session": {"session_id": "no-such-session"},
    "launch_background_task": {"tool": "shell.bash", "params": {"command": "true"}},
    "list_daemon_diagnostics": {"seconds": 2},
    "load_test_session_store": {"sessions": 1, "events_per_session": 1},
    "patch_config": {"logging": {"level": "info"}},
    "patch_draft": {"status": "compiled"},
    "register_device": {"platform": "web", "fcm_token": "no-token"},
    "remove_mcp_server": {"server_id": "no-such-server"},
    "reset_daemon_config": {"key": "agent_spawn.cleanup_age"},
    "set_byok": {"enabled": False},
    "set_daemon_config": {"key": "agent_spawn.cleanup_age", "value": 200},
    "set_notification_prefs": {"events": {}, "quiet_hours": {}, "channels": {}},
    "set_secrets": {"secrets": {"ANOTHER_SECRET": "value"}},
    "show_app": {"scope": "system"},
    "test_mcp_server": {"server_id": "no-such-server"},
    "update_mcp_config": {"server_id": "no-such-server", "config": {}},
    "update_my_profile": {"display_name": "Alice"},
    "upload_file": {"file_path": "uploaded.txt"},
    "upsert_module_grant": {"module_id_body": "shell"},
    "validate_app": {"yaml_path": "/no/such/file.yaml"},
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
}
"""What later calls need of an answer: the name of the argument, and where its value is."""

# --- order

FIRST: Final = (
    *("register", "login"),
    *("create_background_session", "set_background_payload", "upload_background_payload_file"),
    *("create_credential", "create_credential_grant", "create_credential_grant_alias", "upsert_user_credential"),
    *("create_draft", "patch_draft", "create_skill", "create_snippet", "create_watcher", "install_requirement"),
    *("launch_background_task", "register_device", "set_secret", "set_secrets", "upsert_module_grant"),
    *("write_file", "upload_file", "ingest_source"),
)
"""These make what others need."""

LAST: Final = (
    *("delete_background_payload_file", "clear_background_payload", "delete_background_session"),
    *("cancel_background_task", "cancel_install_job", "revoke_credential_grant", "delete_credential"),
    *("delete_user_credential", "deploy_draft", "delete_draft", "delete_skill", "delete_snippet", "stop_watcher"),
    *("unregister_device", "delete_secret", "delete_module_grant", "delete_security_profile", "reject_file"),
    *("reject_file_hunks", "delete_file", "abort_session", "delete_session", "disable_app", "enable_app"),
    *("reload_app", "uninstall_app", "delete_app", "logout"),
)
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

REFUSED: Final[Mapping[str, tuple[int, str]]] = {}
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


def call_every_operation(client: DevClient, known: Mapping[str, object]) -> Iterator[Outcome]:
    """Calls each operation once by its stub.

    Args:
        client: A client of an administrator.
        known: Values for arguments by name, besides those of this module.
    """
    requests = {one.id: f"{one.method} {one.path}" for one in OPERATIONS}
    stubs = _stubs(client.api)
    values = {**KNOWN, **known}
    for name in (*FIRST, *(one for one in sorted(stubs) if one not in FIRST + LAST), *LAST):
        if name in NOT_CALLED:
            yield Outcome(name, requests[name], told=NOT_CALLED[name])
            continue
        more = ARGUMENTS.get(name, {})
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
        declared = inspect.signature(stubs[name]).return_annotation
        yield Outcome(name, requests[name], 0, _type_name(answer), took, is_fault=not is_of(answer, declared))


def table(outcomes: list[Outcome], *, with_seconds: bool) -> list[str]:
    """The outcomes as a table, one line each."""
    head = "| operation | request | outcome |" + (" s |" if with_seconds else "")
    lines = [head, "|---" * (head.count("|") - 1) + "|"]
    for one in sorted(outcomes, key=lambda one: one.request.split()[::-1]):
        if one.name in NOT_CALLED:
            told = f"not called: {one.told}"
        elif one.name in REFUSED:
            told = f"{one.status}: {REFUSED[one.name][1]}"
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


def _type_name(value: object) -> str:
    if isinstance(value, list):
        items = {_type_name(one) for one in cast("list[object]", value)}
        return f"list[{' | '.join(sorted(items))}]"
    return type(value).__name__


def _in_words(error: DigitornError) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
