"""Shapes of the REST interface, and the values that name apps and sessions."""

from typing import TYPE_CHECKING

from ._generated import models as _models
from ._generated._lazy import lazily

if TYPE_CHECKING:
    from ._generated.models import *  # noqa: F403 - the generated module says what it exports
    from ._handles import AppHandle as AppHandle
    from ._handles import SessionHandle as SessionHandle
    from ._turns.results import TurnResult as TurnResult

__all__ = ["AppHandle", "SessionHandle", "TurnResult"]
__all__ += _models.__all__

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "._generated.models": _models.__all__,
            "._handles": ("AppHandle", "SessionHandle"),
            "._turns.results": ("TurnResult",),
        },
    )
