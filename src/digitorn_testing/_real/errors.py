"""Why there is no real daemon."""

from digitorn_testing._errors import DigitornError


class RealDaemonUnavailable(DigitornError):
    """The real daemon cannot be installed here; the message says what is missing and what to do."""


class RealDaemonNotRunning(DigitornError, RuntimeError):
    """The real daemon or its auth service did not come up, has ended, or is stopped."""
