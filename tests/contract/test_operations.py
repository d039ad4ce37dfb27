"""The contract has every operation of the daemon, and the five of its auth service."""

import csv
from collections import Counter
from pathlib import Path

from contract.document import openapi

HERE = Path(__file__).parent
METHODS = ("get", "put", "post", "delete", "patch", "head", "options", "trace")

Row = tuple[str, str, str]


def listed() -> list[Row]:
    with (HERE / "operations.tsv").open(encoding="utf-8", newline="") as table:
        return [(one["id"], one["method"], one["path"]) for one in csv.DictReader(table, delimiter="\t")]


def in_contract() -> list[Row]:
    return [
        (item[method]["operationId"], method.upper(), path)
        for path, item in openapi()["paths"].items()
        for method in METHODS
        if method in item
    ]


def test_every_operation_of_the_daemon_is_in_the_contract() -> None:
    assert set(in_contract()) == set(listed())


def test_ids_are_unique() -> None:
    counts = Counter(one for one, _, _ in in_contract())
    assert [one for one, count in counts.items() if count > 1] == []


def test_the_table_has_no_row_twice() -> None:
    rows = listed()
    assert len(rows) == len(set(rows)) == 313
