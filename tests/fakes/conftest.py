"""What tests of the embedded daemon run against."""

from support.fixtures import chance, daemon, kind, model, session

__all__ = ["chance", "daemon", "kind", "model", "session"]
