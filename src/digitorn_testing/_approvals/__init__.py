"""Who decides when an agent asks: approval policies, and which policy applies to a request.

It decides about one request at a time. The stream receives the requests and sends the daemon the decisions.
"""
