"""`python -m digitorn_codegen` is the `digitorn-codegen` command."""

from ._command import main

if __name__ == "__main__":
    raise SystemExit(main())
