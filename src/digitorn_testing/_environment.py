"""The environment variables that name a daemon, a token and an app."""

import os


def daemon_url() -> str | None:
    """URL of the daemon: `$DIGITORN_DEV_DAEMON_URL`, else `$DIGITORN_DAEMON_URL`; None if neither is set."""
    return os.environ.get("DIGITORN_DEV_DAEMON_URL") or os.environ.get("DIGITORN_DAEMON_URL") or None


def token() -> str | None:
    """Access token: `$DIGITORN_TOKEN`; None if it is not set."""
    return os.environ.get("DIGITORN_TOKEN") or None


def app_id() -> str | None:
    """App: `$DIGITORN_APP`; None if it is not set."""
    return os.environ.get("DIGITORN_APP") or None
