"""What changed between two contracts, and which changes break a client."""

from ._changes import RULES, Change, Notes, as_json, as_lines
from ._compare import Schemas
from ._diff_calls import Calls
from ._diff_events import Events
from ._errors import ContractError
from ._sides import Side

__all__ = ["RULES", "Change", "as_json", "as_lines", "compare"]


def compare(old: Side, new: Side) -> list[Change]:
    """Every difference that a client can notice, operations first, then events, constants and commands.

    Args:
        old: What a client was generated from.
        new: What the server has now.

    Raises:
        ContractError: A reference leads nowhere, or a value is nested too deeply.
    """
    notes = Notes(old.openapi.path.parent, new.openapi.path.parent)
    schemas = Schemas(old, new, notes)
    try:
        Calls(old, new, notes, schemas).compare()
        Events(old, new, notes, schemas).compare()
    except RecursionError as error:
        # Schemas may be nested as deeply as they like, examples and other plain values may not.
        raise ContractError(new.openapi.path, "", "holds a value that is nested too deeply") from error
    return notes.in_order()
