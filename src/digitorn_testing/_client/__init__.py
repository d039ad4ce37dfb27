"""The client: sessions, messages and turns, and short names for REST calls.

What both faces share is here; the faces themselves are in `_async` and `_sync`. Nothing here reads events: a
turn is read by its stream, in `_stream`.
"""
