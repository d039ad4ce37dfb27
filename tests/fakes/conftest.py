"""What tests of the embedded daemon run against."""

from support.fixtures import chance, daemon, listens, model, place, session

__all__ = ["chance", "daemon", "listens", "model", "place", "session"]
