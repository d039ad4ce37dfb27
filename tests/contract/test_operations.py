"""The contract has every operation that the daemon's published interface has."""

import csv
from collections import Counter
from pathlib import Path

from contract.document import openapi

HERE = Path(__file__).parent
METHODS = ("get", "put", "post", "delete", "patch", "head", "options", "trace")

# Not in the table: the probes and the metrics, which are no part of the daemon's API document.
PROBES = {
    ("get_liveness", "GET", "/healthz"),
    ("get_readiness", "GET", "/readyz"),
    ("get_metrics", "GET", "/metrics"),
}

# Not in the table either: the handlers have them, the daemon's API document does not.
UNDOCUMENTED = {
    ("get_session_state", "GET", "/api/apps/{app_id}/sessions/{session_id}/state"),
    ("get_session_snapshot", "GET", "/api/apps/{app_id}/sessions/{session_id}/snapshot"),
}

Row = tuple[str, str, str]


def published() -> list[Row]:
    with (HERE / "operations.tsv").open(encoding="utf-8", newline="") as table:
        return [(one["id"], one["method"], one["path"]) for one in csv.DictReader(table, delimiter="\t")]


def in_contract() -> list[Row]:
    return [
        (item[method]["operationId"], method.upper(), path)
        for path, item in openapi()["paths"].items()
        for method in METHODS
        if method in item
    ]


def test_every_published_operation_is_in_the_contract() -> None:
    assert set(in_contract()) == set(published()) | PROBES | UNDOCUMENTED


def test_ids_are_unique() -> None:
    counts = Counter(one for one, _, _ in in_contract())
    assert [one for one, count in counts.items() if count > 1] == []


def test_the_table_has_no_row_twice() -> None:
    rows = published()
    assert len(rows) == len(set(rows)) == 250
