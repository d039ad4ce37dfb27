"""Keeps tokens out of the logs of other packages, some of which log whole packets, URLs and headers."""

import logging
import traceback
from collections.abc import Callable, MutableMapping
from typing import Any, Final
from weakref import WeakSet

from .redaction import Redactor

# The loggers of the packages that carry REST calls.
_CARRIERS: Final = ("httpx", "httpcore2.connection", "httpcore2.http11", "httpcore2.proxy", "asyncio")
# What those packages report is a typed error here. What was raised in code of this library stays an error.
_LEVELS: Final = {logging.INFO: logging.DEBUG, logging.WARNING: logging.INFO, logging.ERROR: logging.INFO}

_redactors: WeakSet[Redactor] = WeakSet()


class _HideSecrets(logging.Filter):
    """Hides the secrets that any client of this process knows. Attached to other packages' loggers."""

    def filter(self, record: logging.LogRecord) -> bool:
        said = record.getMessage()
        hidden = said
        for redactor in list(_redactors):
            hidden = redactor.text(hidden)
        if hidden != said:
            record.msg, record.args = hidden, ()
        return True


_FILTER: Final = _HideSecrets()


def hide_in_logs(redactor: Redactor) -> None:
    """Keeps secrets out of the logs of the packages that carry REST calls, for as long as the redactor lives.

    Args:
        redactor: Knows the secrets; only a weak reference is kept.
    """
    _redactors.add(redactor)
    for name in _CARRIERS:
        # Adding the same filter again has no effect.
        logging.getLogger(name).addFilter(_FILTER)


class QuietLogger(logging.LoggerAdapter[logging.Logger]):
    """Logs for python-socketio and python-engineio: at lower levels, with secrets hidden.

    Args:
        name: Name of the logger to write to.
        hide: Hides the secrets in a text.
    """

    def __init__(self, name: str, hide: Callable[[str], str]) -> None:
        super().__init__(logging.getLogger(name))
        self._hide = hide

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Logs a message."""
        if not kwargs.get("exc_info"):
            level = _LEVELS.get(level, level)
        if not self.isEnabledFor(level):
            return
        text = str(msg) % args if args else str(msg)
        if kwargs.pop("exc_info", None):
            text += f"\n{traceback.format_exc()}"
        self.logger.log(level, "%s", self._hide(text))

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Returns the message unchanged."""
        return msg, kwargs
