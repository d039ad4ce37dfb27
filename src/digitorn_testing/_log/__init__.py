"""The sans-IO core: a session's events, deduplicated and in order.

`log` keeps and delivers them, `duplicates` recognises copies, `capture` is a publisher for tests.
Sockets, threads and event loops do not belong here.
"""
