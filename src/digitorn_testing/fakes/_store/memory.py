"""The agent's memory of a session, as its memory tools leave it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from digitorn_testing._generated.events import MemorySnapshot
from digitorn_testing._generated.models import SessionMemory

MODULE: Final = "memory"
"""The module whose tools write it."""


@dataclass(slots=True)
class Memory:
    """What the agent keeps in mind.

    Attributes:
        goal: What it works towards.
        todos: Its tasks, as a tool last returned them.
    """

    goal: str = ""
    todos: list[Any] = field(default_factory=list[Any])

    def take(self, result: Mapping[str, Any]) -> None:
        """Takes over what a memory tool returned.

        Args:
            result: The tool's result.
        """
        goal, todos = result.get("goal"), result.get("todos")
        if isinstance(goal, str):
            self.goal = goal
        if isinstance(todos, list):
            self.todos = todos

    def snapshot(self, app_id: str, session_id: str) -> MemorySnapshot:
        """What a socket that joins the session is shown.

        Args:
            app_id: The app.
            session_id: The session.
        """
        shown = {"app_id": app_id, "session_id": session_id, "goal": self.goal, "todos": self.todos}
        return MemorySnapshot.from_wire({**shown, "facts": []})

    def view(self, *, is_flat: bool = False) -> SessionMemory:
        """What a client reads.

        Args:
            is_flat: Whether to repeat everything at the top, as for an app with a memory module.
        """
        nested: dict[str, object] = {
            "working": {"goal": self.goal, "todos": self.todos},
            "semantic": {"facts": []},
            "episodes": [],
        }
        flat: dict[str, object] = {"goal": self.goal, "todos": self.todos, "facts": [], "key_facts": []}
        return SessionMemory.from_wire({**nested, **flat} if is_flat else nested)
