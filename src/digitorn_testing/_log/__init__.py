"""A session's events, each once and in order, without IO: the sans-IO core.

`log` keeps and delivers them, `reorder` holds back what comes early, `duplicates` recognises copies,
`capture` is a publisher for tests. No socket, no thread and no event loop belongs here.
"""
