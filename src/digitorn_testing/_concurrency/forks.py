"""What a forked child has to set right: it has the parent's memory, and none of its threads."""

import os
from typing import Protocol
from weakref import WeakSet


class Forked(Protocol):
    """Something that is set right in a forked child."""

    def after_fork(self) -> None:
        """Called in the child before anything else runs there. Locks may be held by threads that are gone."""
        ...


_ALIVE: "WeakSet[Forked]" = WeakSet()
_LEFT: list[object] = []


def in_forks(one: Forked) -> None:
    """Has something set right in every forked child, as long as it lives.

    Args:
        one: What; it is held weakly.
    """
    _ALIVE.add(one)


def leave_behind(one: object) -> None:
    """Keeps alive, and untouched, what only the parent may close: it shares its sockets and selectors.

    Args:
        one: What the child does not use any more.
    """
    _LEFT.append(one)


def _set_right() -> None:
    for one in list(_ALIVE):
        one.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_set_right)
