"""One face of the transport of REST calls; the blocking face is generated from the asynchronous one.

Tokens, retries and the reading of answers meet here. What the two faces do differently, such as connections
below httpx, is written by hand in the room above.
"""
