"""Shapes of the REST interface, and the values that name apps and sessions."""

from ._generated.models import *  # noqa: F403 - the generated module holds nothing else
from ._handles import AppHandle as AppHandle
from ._handles import SessionHandle as SessionHandle
from ._turn_result import TurnResult as TurnResult
