"""The names of tools: a call and its approval may spell the name of the same tool in different ways."""

from collections.abc import Collection


def is_named(wanted: str, names: Collection[str]) -> bool:
    """Whether a tool has a name, in whatever way it is spelled.

    The model is offered `Bash` and `AskUser`; approvals are for `shell.bash` and `ask_user`
    (contract: events, sections 5.3 and 5.5).

    Args:
        wanted: The name.
        names: All names of the tool, as on the wire.
    """
    if wanted in names:
        return True
    if "." in wanted and any("." in one for one in names):
        # Modules may have tools of the same name.
        return False
    return _action(wanted) in map(_action, names)


def _action(name: str) -> str:
    """A name without the module and without what distinguishes the spellings."""
    return name.rpartition(".")[2].replace("_", "").lower()
