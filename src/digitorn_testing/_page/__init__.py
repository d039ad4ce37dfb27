"""The page of a failure: what a recording or a failed test saw, as one HTML file that needs no network.

It only shows what it is given. Secrets are hidden before: by the recorder, or by the pytest plugin.
"""
