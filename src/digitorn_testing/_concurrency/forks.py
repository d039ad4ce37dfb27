"""Repairs objects in a forked child, which has the parent's memory but none of its threads."""

import os
from typing import Protocol
from weakref import WeakSet


class Forked(Protocol):
    """Something that must be repaired in a forked child."""

    def after_fork(self) -> None:
        """Called in the child before anything else runs. Threads that no longer exist may hold locks."""
        ...


_ALIVE: "WeakSet[Forked]" = WeakSet()
_LEFT: list[object] = []


def in_forks(one: Forked) -> None:
    """Repairs an object in every forked child, for as long as the object lives.

    Args:
        one: The object; only a weak reference is kept.
    """
    _ALIVE.add(one)


def leave_behind(one: object) -> None:
    """Keeps an object alive and untouched, because closing it would close sockets that the parent uses.

    Args:
        one: An object that the child no longer uses.
    """
    _LEFT.append(one)


def _repair() -> None:
    for one in list(_ALIVE):
        one.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_repair)
