"""The names of tools: a call and its approval may spell the same tool in different ways."""

import re
from collections.abc import Iterable
from typing import Final

_WORDS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def spellings(name: str) -> tuple[str, ...]:
    """A name as it is, without the module, and in the other ways of writing it.

    The model is offered `Bash` and `AskUser`; approvals are for `shell.bash` and `ask_user`
    (contract: events, sections 5.3 and 5.5).

    Args:
        name: The name on the wire.
    """
    action = name.rpartition(".")[2]
    snake = _WORDS.sub("_", action).lower()
    pascal = "".join(word[:1].upper() + word[1:] for word in snake.split("_"))
    return tuple(dict.fromkeys((name, action, pascal, snake)))


def is_named(wanted: str, names: Iterable[str]) -> bool:
    """Whether a tool has a name, in any of its spellings.

    Args:
        wanted: The name.
        names: All names of the tool.
    """
    known = set(names)
    if wanted in known:
        return True
    # A tool whose module is known is another one than that of the same name in another module.
    has_module = any("." in one for one in known)
    return "." in wanted and not has_module and not known.isdisjoint(spellings(wanted))
