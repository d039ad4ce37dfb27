"""Threads, event loops, deadlines, backoff, forks and finalizers.

Nothing here knows what a daemon, an event or a client is, and only the standard library is imported. Code
that waits for something in particular belongs to the room of that thing.
"""
