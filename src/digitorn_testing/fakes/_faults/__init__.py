"""What goes wrong on purpose: the rules that a test makes, and how they hit HTTP calls and sockets.

Only the wire is disturbed. What the daemon would have done must not be known here.
"""
