"""Tokens, and the removal of secrets from texts, JSON values and logs.

Whatever shows or stores text from the wire asks this room first. Code that sends anything, and the rule that
tokens may not go over plain HTTP to another machine, are in `_transport`.
"""
