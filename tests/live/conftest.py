"""What live tests of the client run against."""

from support.fixtures import chance, daemon, kind, model, session

__all__ = ["chance", "daemon", "kind", "model", "session"]
