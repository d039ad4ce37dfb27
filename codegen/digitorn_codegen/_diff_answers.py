"""Compares what operations answer: statuses, results, the bodies of errors, headers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ._changes import Notes, Where, became
from ._compare import Schemas
from ._diff_media import by_base, is_covered, schemas_of
from ._restrictions import canonical
from ._sides import Place, Response, is_json


@dataclass
class Answers:
    """Compares the answers of operations.

    Attributes:
        notes: Where changes go.
        schemas: Compares schemas.
    """

    notes: Notes
    schemas: Schemas

    def compare(
        self,
        where: Where,
        places: tuple[Place, Place],
        before: Mapping[str, Response],
        after: Mapping[str, Response],
    ) -> None:
        """Compares all answers of an operation.

        Args:
            where: The operation.
            places: Where the answers stand in the old and the new contract.
            before: The old answers by status.
            after: The new ones.

        Raises:
            ContractError: A reference leads nowhere.
        """
        for name, of in (("success", _successes), ("redirect", _redirects), ("error", _errors)):
            left, right = of(before), of(after)
            lost, gained = (
                [one for one in left if one not in right],
                [one for one in right if one not in left],
            )
            if lost:
                self.notes.note(f"{name}-removed", where, f"{name} {', '.join(lost)} was removed", *places)
            if gained:
                self.notes.note(f"{name}-added", where, f"{name} {', '.join(gained)} was added", *places)
        for status in [status for status in before if status in after]:
            self._headers(where.within(f"answer {status}"), before[status], after[status])
        self._results(where, _successes(before), _successes(after), places)
        self._error_bodies(where, _errors(before), _errors(after))

    def _headers(self, where: Where, old: Response, new: Response) -> None:
        for rule, names in (("removed", old.headers - new.headers), ("added", new.headers - old.headers)):
            for name in sorted(names):
                said = f"header {name} was {rule}"
                self.notes.note(f"response-header-{rule}", where, said, old.place, new.place)

    def _results(
        self,
        where: Where,
        before: Mapping[str, Response],
        after: Mapping[str, Response],
        places: tuple[Place, Place],
    ) -> None:
        old, new = _with_body(before), _with_body(after)
        if old and not new:
            self.notes.note("result-removed", where, "the result was removed", *places)
        elif new and not old:
            self.notes.note("result-added", where, "a result was added", *places)
        elif old and new:
            empty = len(old) < len(before), len(new) < len(after)
            if empty[0] != empty[1]:
                rule = "result-optional" if empty[1] else "result-required"
                said = f"the result became {'optional' if empty[1] else 'required'}"
                self.notes.note(rule, where, said, *places)
            for one, other in _pairs(old, new):
                self._response(where, "result", one, other)

    def _error_bodies(
        self, where: Where, before: Mapping[str, Response], after: Mapping[str, Response]
    ) -> None:
        for status, new in after.items():
            ranges = (status, f"{status[0]}XX", "default")
            old = next((before[one] for one in ranges if one in before), None)
            if old is None:
                continue
            if old.body is not None and new.body is None:
                said = f"the body of error {status} was removed"
                self.notes.note("error-body-removed", where, said, old.place, new.place)
            elif old.body is None and new.body is not None:
                self.notes.note("error-body-added", where, f"error {status} got a body", old.place, new.place)
            else:
                self._response(where, f"error {status}", old, new)

    def _response(self, where: Where, part: str, old: Response, new: Response) -> None:
        shared = old.name == new.name != ""
        keys = ((old.name, ""),), ((new.name, ""),)
        if shared and not self.schemas.is_first("response", "answer", *keys):
            return
        at = where.within(new.name if shared else part)
        before, after = by_base(old.content), by_base(new.content)
        # Whatever kind of JSON comes, it is read as JSON.
        kept = {*after, *(name for name in before if is_json(name) and any(map(is_json, after)))}
        for name in [name for name in before if not is_covered(name, kept)]:
            self.notes.note("response-media-removed", at, f"{name} was removed", before[name], new.place)
        for name in [name for name in after if not is_covered(name, before)]:
            self.notes.note("response-media-added", at, f"{name} was added", old.place, after[name])
        for below, one, other in schemas_of(at, before, after):
            envelopes = (
                self.schemas.said(one, "x-envelope", is_old=True),
                self.schemas.said(other, "x-envelope", is_old=False),
            )
            if canonical(envelopes[0]) != canonical(envelopes[1]):
                self.notes.note(
                    "result-envelope-changed", below, became(*map(canonical, envelopes)), one, other
                )
            self.schemas.compare(below, one, other, "response")


def _successes(responses: Mapping[str, Response]) -> dict[str, Response]:
    found = {status: one for status, one in responses.items() if status.startswith("2")}
    if not found and not _redirects(responses) and "default" in responses:
        return {"default": responses["default"]}
    return found


def _redirects(responses: Mapping[str, Response]) -> dict[str, Response]:
    return {status: one for status, one in responses.items() if status.startswith("3")}


def _errors(responses: Mapping[str, Response]) -> dict[str, Response]:
    good = {*_successes(responses), *_redirects(responses)}
    return {
        status: one for status, one in responses.items() if status not in good and not status.startswith("1")
    }


def _with_body(responses: Mapping[str, Response]) -> dict[str, Response]:
    return {status: response for status, response in responses.items() if response.body is not None}


def _pairs(old: Mapping[str, Response], new: Mapping[str, Response]) -> Iterator[tuple[Response, Response]]:
    """Which answers to compare: those of one status; a new status with one that it may replace."""
    left = [response for status, response in old.items() if status not in new]
    for status, response in new.items():
        if status in old:
            yield old[status], response
            continue
        listed = [*left, *old.values()]
        same = [
            one for one in listed if one.body and response.body and one.body.schema == response.body.schema
        ]
        ranged = [old[name] for name in (f"{status[0]}XX", "default") if name in old]
        found = [*same, *ranged, *listed][0]
        left = [one for one in left if one is not found]
        yield found, response
