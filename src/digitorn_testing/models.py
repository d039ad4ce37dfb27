"""Shapes of the REST interface, and the values that name apps and sessions."""

from ._generated import models as _models
from ._generated.models import *  # noqa: F403 - the generated module says what it exports
from ._handles import AppHandle as AppHandle
from ._handles import SessionHandle as SessionHandle
from ._turns.results import TurnResult as TurnResult

__all__ = ["AppHandle", "SessionHandle", "TurnResult"]
__all__ += _models.__all__
