"""Public OpenAPI documents: a client is generated of each, and held against the document itself.

`make fetch-documents` downloads the packages that hold them; `make documents` checks the whole sample.
"""
