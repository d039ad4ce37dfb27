"""The wire under the embedded daemon: servers, sockets, and the envelopes in which events travel.

What a session, a turn or an app is must not be known here, nor which events the daemon sends when. This room
imports no other room of `fakes`.
"""
