"""`FakeModelServer`: a model over HTTP as OpenAI and Anthropic serve theirs, scripted or recorded.

Each wire has a module that reads its requests and writes its answers. The daemon's own interface must not be
known here; this room serves daemons that ask their provider over HTTP.
"""
