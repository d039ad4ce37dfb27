"""What the embedded daemon keeps in memory: users, apps, sessions with their logs, queues and files.

It answers questions about that state. Nothing here sends an event, runs a turn, or shapes an HTTP answer.
"""
