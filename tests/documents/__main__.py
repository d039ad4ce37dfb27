"""Checks the sample of public documents: `python -m documents`.

The exit status is 0 if every document is as it should be, and 1 if not. Without the packages that hold the
documents there is a message, and the status is 0.
"""

import argparse
import json
import queue
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from documents import webhooks
from documents.checking import Effort, Fault
from documents.one import CLIENTS
from documents.sample import CACHE, Document, Sample, sample

_REPORT = CACHE / "report.json"
_BATCH = 12
_LONGEST = 900


@dataclass
class Outcome:
    """What became of one document."""

    document: str
    package: str
    seconds: float = 0.0
    refusal: str | None = None
    counts: dict[str, int] = field(default_factory=dict[str, int])
    excused: dict[str, int] = field(default_factory=dict[str, int])
    warnings: int = 0
    faults: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def verdict(self, expected: str | None) -> str:
        """`ok`, `refused` where that is expected, or what is wrong."""
        if self.refusal is not None:
            return "refused" if expected is not None else f"REFUSED {self.refusal}"
        if expected is not None:
            return "NOT REFUSED"
        kinds = Counter(fault["kind"] for fault in self.faults)
        return "FAULTS " + ", ".join(f"{count} {kind}" for kind, count in kinds.items()) if kinds else "ok"


@dataclass
class Run:
    """A run over documents, two at once."""

    waiting: "queue.SimpleQueue[tuple[str, str]]"
    effort: Effort
    with_mypy: bool
    refusals: Mapping[str, str]
    outcomes: list[Outcome] = field(default_factory=list[Outcome])
    began: float = field(default_factory=time.perf_counter)

    def lane(self, number: int) -> None:
        """Checks documents until there are no more, and mypy over some at a time."""
        unchecked: list[Outcome] = []
        while True:
            try:
                name, package = self.waiting.get_nowait()
            except queue.Empty:
                break
            outcome = self._one(name, package)
            self.outcomes.append(outcome)
            verdict = outcome.verdict(self.refusals.get(name))
            print(f"{name}: {verdict} ({outcome.seconds:.0f} s, {outcome.warnings} warnings)", flush=True)
            if outcome.refusal is None and (CLIENTS / package).is_dir():
                unchecked.append(outcome)
            if len(unchecked) == _BATCH:
                self._mypy(unchecked, number)
                unchecked = []
        self._mypy(unchecked, number)

    def _one(self, name: str, package: str) -> Outcome:
        target = CACHE / "found" / f"{package}.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        effort = [str(number) for number in asdict(self.effort).values()]
        command = [sys.executable, "-m", "documents.one", name, str(target), *effort]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=_LONGEST,
                check=False,
                cwd=Path(__file__).parents[1],
            )
        except subprocess.TimeoutExpired:
            return Outcome(
                name, package, faults=[asdict(Fault("timeout", "", "", f"longer than {_LONGEST} s"))]
            )
        if not target.is_file():
            last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
            return Outcome(name, package, faults=[asdict(Fault("crash", "", last, done.stderr[-2000:]))])
        return Outcome(package=package, **json.loads(target.read_text(encoding="utf-8")))

    def _mypy(self, outcomes: list[Outcome], lane: int) -> None:
        if not outcomes or not self.with_mypy:
            return
        options = ["--strict", "--config-file=", f"--cache-dir={CACHE / f'mypy-{lane}'}"]
        packages = [option for one in outcomes for option in ("-p", one.package)]
        command = [sys.executable, "-m", "mypy", *options, *packages]
        done = subprocess.run(
            command, cwd=CLIENTS, capture_output=True, text=True, timeout=_LONGEST, check=False
        )
        found = re.findall(r"^([^/:]+)[/.](.+?): error: (.+)$", done.stdout, re.MULTILINE)
        if done.returncode not in (0, 1) or bool(found) != bool(done.returncode):
            found = [(outcomes[0].package, "", (done.stdout + done.stderr)[-500:])]
        for package, place, text in found:
            outcome = next((one for one in outcomes if one.package == package), outcomes[0])
            outcome.faults.append(asdict(Fault("mypy", place, text, text)))


def main() -> int:
    """Runs, prints a line for each document and a summary, and writes the report for machines."""
    options = argparse.ArgumentParser(prog="documents", description=__doc__)
    options.add_argument("names", nargs="*", help="parts of the names of documents; all if left out")
    options.add_argument("--quick", action="store_true", help="only the documents of the quick subset")
    options.add_argument("--no-mypy", action="store_true", help="leave strict mypy out")
    options.add_argument("--lanes", type=int, default=2, help="how many documents at once")
    options.add_argument("--json", type=Path, default=_REPORT, help="where the report for machines goes")
    for name, number in asdict(Effort()).items():
        options.add_argument(f"--{name}", type=int, default=number, help=f"see Effort.{name}")
    asked = options.parse_args()
    listed = sample()
    if listed.missing:
        print(f"skipped: not downloaded: {', '.join(listed.missing)}; `make fetch-documents` does that")
        return 0
    listed.unpack()
    run = Run(
        queue.SimpleQueue(),
        Effort(asked.schemas, asked.values, asked.mutations),
        with_mypy=not asked.no_mypy,
        refusals=listed.refusals,
    )
    for entry in _chosen(listed, asked.names, quick=asked.quick):
        run.waiting.put(entry)
    lanes = [threading.Thread(target=run.lane, args=(number,)) for number in range(asked.lanes)]
    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join()
    return _report(run, listed, asked.json)


def _chosen(listed: Sample, names: list[str], *, quick: bool) -> list[tuple[str, str]]:
    """What to check, the largest first, so that no lane waits long for the other at the end."""
    documents = [one for one in listed.documents if not quick or one.name in listed.quick]
    documents.sort(key=_size, reverse=True)
    entries = [(one.name, one.slug) for one in documents]
    if not quick:
        entries.insert(0, (webhooks.SLUG, webhooks.SLUG))
    return [entry for entry in entries if not names or any(part in entry[0] for part in names)]


def _size(document: Document) -> int:
    return document.package.extract(document.path).stat().st_size


def _report(run: Run, listed: Sample, target: Path) -> int:
    wrong, kinds, totals, excused = 0, Counter[str](), Counter[str](), Counter[str]()
    outcomes = sorted(run.outcomes, key=lambda one: one.document)
    for one in outcomes:
        verdict = one.verdict(listed.refusals.get(one.document))
        wrong += verdict not in ("ok", "refused")
        kinds.update(fault["kind"] for fault in one.faults)
        totals.update(one.counts)
        excused.update(one.excused)
        if any(fault["kind"] == "mypy" for fault in one.faults):
            print(f"{one.document}: {verdict}")
    seconds = time.perf_counter() - run.began
    refused = sum(one.refusal is not None for one in outcomes)
    print(", ".join(f"{count:,} {name}" for name, count in sorted(totals.items())))
    print(
        "accepted under a warning: "
        + (", ".join(f"{n} {name}" for name, n in excused.most_common()) or "none")
    )
    print("faults: " + (", ".join(f"{count} {kind}" for kind, count in kinds.most_common()) or "none"))
    print(
        f"{len(outcomes)} documents, {wrong} of them wrong, {refused} refused, "
        f"{kinds.total()} faults, {seconds:.0f} s"
    )
    report = {
        "documents": [
            {**asdict(one), "verdict": one.verdict(listed.refusals.get(one.document))} for one in outcomes
        ],
        "faults": kinds,
        "counts": totals,
        "excused": excused,
        "seconds": round(seconds),
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(report, indent=1), encoding="utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
