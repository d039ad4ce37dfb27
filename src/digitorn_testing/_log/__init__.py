"""The sans-IO core: a session's events, deduplicated and in order.

`log` keeps and delivers them, `reorder` holds back events that arrive early, `duplicates` recognises copies,
`capture` is a publisher for tests. Sockets, threads and event loops do not belong here.
"""
