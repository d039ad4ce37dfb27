"""The scripted model: what a test scripts, what the model answers, what it was asked.

A daemon, an event and a wire format must not be known here: the same script serves the embedded daemon and
`FakeModelServer`. This room imports no other room of `fakes`.
"""
