"""Rewrites code of the predecessor: what is certain, leaving a note for a person about the rest.

`names` has the tables, `uses` looks at a module as a whole, `rewriting` changes it, and `files` does so for
paths. Needs the extra `digitorn-testing[migrate]`.
"""
