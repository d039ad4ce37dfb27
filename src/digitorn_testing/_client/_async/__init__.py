"""One face of the client; the blocking face is generated from the asynchronous one.

The client composes REST stubs, shared streams and approvals. Code without IO, and code that is written by
hand for each face, is in the room above.
"""
