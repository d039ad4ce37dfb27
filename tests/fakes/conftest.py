"""What tests of the embedded daemon run against."""

from support.fixtures import chance, daemon, listens, model, session

__all__ = ["chance", "daemon", "listens", "model", "session"]
