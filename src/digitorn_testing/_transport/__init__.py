"""How bytes reach a daemon and come back: HTTP, Socket.IO, TLS, limits, retries, and daemons in process.

The client's connections are opened here and nowhere else. Nothing here knows what an event means, what a turn
is, or which session a stream follows.
"""
