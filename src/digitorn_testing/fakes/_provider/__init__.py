"""`FakeModelServer`: the scripted model over HTTP, in the form of OpenAI's chat completions.

The daemon's own interface must not be known here; this room serves daemons that ask their provider over HTTP.
"""
