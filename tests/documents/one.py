"""Checks one document in a process of its own, and writes what was found as JSON.

A process of its own, since a generated client stays in memory, and a crash must not end the whole run.
"""

import dataclasses
import json
import sys
import time
import warnings
from pathlib import Path

from digitorn_codegen import Settings
from documents import webhooks
from documents.checking import Effort, Findings, check
from documents.sample import CACHE, sample
from documents.shapes import read

CLIENTS = CACHE / "clients"


def check_named(name: str, effort: Effort, clients: Path = CLIENTS) -> Findings:
    """Checks one document of the sample.

    Args:
        name: Its name in the sample, or that of GitHub's webhook schemas.
        effort: How much is tried.
        clients: The folder that the client goes to.
    """
    listed = sample()
    clients.mkdir(parents=True, exist_ok=True)
    if str(clients) not in sys.path:
        sys.path.insert(0, str(clients))
    if name == webhooks.SLUG:
        source, root = webhooks.contract(listed)
        settings = Settings(openapi=source, package=name, out=clients / name)
        return check(source, root, settings, effort, webhooks.payloads(listed, root))
    document = next(one for one in listed.documents if one.name == name)
    source = document.package.extract(document.path)
    root = read(document.package.extract(document.twin))
    settings = Settings(openapi=source, package=document.slug, out=clients / document.slug)
    return check(source, root, settings, effort)


def main() -> int:
    """Takes the name of a document, a file to write, and how much to try."""
    name, target, effort = sys.argv[1], Path(sys.argv[2]), Effort(*map(int, sys.argv[3:]))
    warnings.simplefilter("ignore", DeprecationWarning)
    began = time.process_time()
    findings = check_named(name, effort)
    found = {
        "document": name,
        "seconds": round(time.process_time() - began, 1),
        "refusal": findings.refusal,
        "counts": findings.counts,
        "excused": findings.excused,
        "warnings": findings.warnings,
        "faults": [dataclasses.asdict(fault) for fault in findings.faults],
    }
    target.write_text(json.dumps(found), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
