"""What live tests of the client run against."""

from support.fixtures import chance, daemon, listens, model, session

__all__ = ["chance", "daemon", "listens", "model", "session"]
