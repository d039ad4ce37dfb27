"""Recordings: writing streams and REST calls as JSON lines, and reading them back.

Nothing is written here before its secrets are hidden. Serving a recording as a daemon is done by `fakes`.
"""
