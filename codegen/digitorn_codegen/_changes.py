"""What `diff` reports: the rules, and the changes that it noted by them."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ._sides import Place

RULES: Mapping[str, tuple[bool, str]] = {
    "servers-changed": (False, "whoever makes a client names the server"),
    "operation-removed": (True, "code that calls it has nothing to call"),
    "operation-added": (False, "nobody calls it yet"),
    "operation-renamed": (True, "its stub has another name"),
    "operation-moved": (True, "its stub is in another group"),
    "operation-deprecated": (False, "it can still be called"),
    "operation-servers-changed": (True, "an old client calls another server"),
    "security-tightened": (True, "credentials that were enough are refused"),
    "security-loosened": (False, "credentials that were enough still are"),
    "parameter-removed": (True, "code that passes it no longer type-checks"),
    "parameter-added": (False, "it may be left out"),
    "parameter-added-required": (True, "calls without it are refused"),
    "parameter-required": (True, "calls without it are refused"),
    "parameter-optional": (False, "calls with it still work"),
    "parameter-renamed": (True, "code that passes it by name no longer type-checks"),
    "parameter-rewritten": (True, "an old client writes it in the old form"),
    "parameter-deprecated": (False, "it can still be passed"),
    "body-removed": (True, "code that sends it no longer type-checks"),
    "body-added": (False, "it may be left out"),
    "body-added-required": (True, "calls without it are refused"),
    "body-required": (True, "calls without it are refused"),
    "body-optional": (False, "calls with it still work"),
    "body-media-removed": (True, "an old client may write it in this form"),
    "body-media-added": (False, "the other forms are still accepted"),
    "body-rewritten": (True, "an old client writes it in the old form"),
    "request-field-removed": (True, "code that passes it no longer type-checks"),
    "request-field-added": (False, "it may be left out"),
    "request-field-added-required": (True, "requests without it are refused"),
    "request-field-required": (True, "requests without it are refused"),
    "request-field-optional": (False, "requests with it still work"),
    "request-fields-closed": (True, "values that were accepted are refused"),
    "request-fields-opened": (False, "values that were accepted still are"),
    "request-type-narrowed": (True, "values that were accepted are refused"),
    "request-type-widened": (False, "values that were accepted still are"),
    "request-value-removed": (True, "a value that was accepted is refused"),
    "request-value-added": (False, "one more value may be sent"),
    "request-variant-removed": (True, "a shape that was accepted is refused"),
    "request-variant-added": (False, "one more shape may be sent"),
    "request-limit-tightened": (True, "values that were accepted are refused"),
    "request-limit-loosened": (False, "values that were accepted still are"),
    "request-check-added": (True, "values that were accepted are refused"),
    "request-check-changed": (True, "values that were accepted may be refused"),
    "request-check-removed": (False, "values that were accepted still are"),
    "request-default-changed": (True, "omitted members now mean something else"),
    "request-default-added": (False, "nobody relies on it yet"),
    "class-renamed": (True, "code that names the class no longer type-checks"),
    "class-removed": (True, "code that names the class no longer type-checks"),
    "result-removed": (True, "code that reads the result has none"),
    "result-added": (False, "nobody reads it yet"),
    "result-optional": (True, "code that reads it must expect None"),
    "result-required": (False, "code that expects None still works"),
    "result-envelope-changed": (True, "the result is found in another place"),
    "success-added": (False, "it is read like the others"),
    "success-removed": (False, "every success that arrives was expected before"),
    "redirect-added": (True, "the stub does not follow it"),
    "redirect-removed": (False, "code that expects it still works"),
    "error-added": (False, "it is raised like every other error"),
    "error-removed": (False, "code that catches it still works"),
    "error-body-removed": (True, "code that reads it has none"),
    "error-body-added": (False, "nobody reads it yet"),
    "response-media-removed": (True, "an old client may expect this form"),
    "response-media-added": (False, "clients that ask for the other forms still get them"),
    "response-header-removed": (False, "stubs do not read headers"),
    "response-header-added": (False, "stubs do not read headers"),
    "response-field-removed": (True, "code that reads it no longer type-checks"),
    "response-field-added": (False, "unknown members are kept"),
    "response-field-added-closed": (True, "an old client refuses members that it does not know here"),
    "response-field-optional": (True, "code that reads it must expect None"),
    "response-field-required": (False, "code that expects None still works"),
    "response-fields-opened": (True, "an old client refuses members that it does not know here"),
    "response-fields-closed": (False, "every value that arrives was expected before"),
    "response-type-widened": (True, "values arrive that an old client refuses"),
    "response-type-narrowed": (False, "every value that arrives was expected before"),
    "response-value-added": (True, "a value arrives that an old client refuses"),
    "response-value-removed": (False, "every value that arrives was expected before"),
    "response-variant-added": (True, "a shape arrives that an old client refuses"),
    "response-variant-removed": (False, "every shape that arrives was expected before"),
    "response-limit-loosened": (True, "values arrive that an old client refuses"),
    "response-limit-tightened": (False, "every value that arrives was expected before"),
    "response-check-removed": (True, "values arrive that an old client refuses"),
    "response-check-changed": (True, "values may arrive that an old client refuses"),
    "response-check-added": (False, "every value that arrives was expected before"),
    "response-default-changed": (True, "an old client fills in the old value"),
    "response-default-added": (False, "nobody relies on it yet"),
    "webhook-removed": (True, "code that waits for it waits forever"),
    "webhook-added": (False, "nobody waits for it yet"),
    "event-removed": (True, "code that waits for it waits forever"),
    "event-added": (False, "an old client keeps it as an unknown payload"),
    "event-variant-removed": (True, "code that waits for it waits forever"),
    "event-variant-added": (True, "an old client reads it as another variant"),
    "event-renamed": (True, "its payload class has another name"),
    "event-moved": (True, "it arrives under another Socket.IO name"),
    "event-default-changed": (True, "its envelope normally says something else"),
    "event-default-removed": (True, "its envelope no longer says it reliably"),
    "event-default-added": (False, "nobody expects it yet"),
    "envelope-removed": (True, "code that reads it no longer type-checks"),
    "envelope-added": (False, "nobody reads it yet"),
    "envelope-copies-changed": (True, "an old client reads copies of events differently"),
    "constant-removed": (True, "code that imports it no longer type-checks"),
    "constant-added": (False, "nobody imports it yet"),
    "constant-value-removed": (True, "code that relies on it gets another value, or none"),
    "constant-value-added": (False, "code that uses the constant covers it"),
    "command-removed": (True, "code that sends it has nothing to send"),
    "command-added": (False, "nobody sends it yet"),
    "command-moved": (True, "an old client sends it to another namespace"),
    "message-removed": (True, "code that uses its class no longer type-checks"),
    "message-added": (False, "nobody uses it yet"),
}
"""Each rule: whether such a change breaks a client, and why."""


@dataclass(frozen=True)
class Change:
    """One difference between two contracts.

    Attributes:
        rule: Name of the rule, a key of `RULES`.
        where: Operation, event or command, and the place in it.
        breaking: Whether code written for the old contract can fail.
        reason: What changed, and why it breaks or does not.
        old: File and JSON pointer in the old contract, as `file#pointer`; None for what is new.
        new: File and JSON pointer in the new contract; None for what was removed.
    """

    rule: str
    where: str
    breaking: bool
    reason: str
    old: str | None = None
    new: str | None = None

    def __str__(self) -> str:
        return f"{'BREAKING  ' if self.breaking else 'compatible'}  {self.where}: {self.reason} [{self.rule}]"


@dataclass(frozen=True)
class Where:
    """A place as people read it.

    Attributes:
        group: An operation, an event, a command or the like.
        part: A part of it, such as `body.name`, or a component that it uses.
    """

    group: str
    part: str = ""

    def __str__(self) -> str:
        return f"{self.group}{'' if self.part[:1] in ('', '.', '[') else ', '}{self.part}"

    def below(self, step: str) -> "Where":
        """A place below this one, such as `.name`."""
        return Where(self.group, self.part + step)

    def within(self, part: str) -> "Where":
        """Another part of the same group."""
        return Where(self.group, part)


@dataclass
class Notes:
    """Collects changes, each once.

    Attributes:
        old: The folder of the old contract.
        new: The folder of the new contract.
        changes: What was noted, by the group of its place.
    """

    old: Path
    new: Path
    changes: dict[str, dict[Change, None]] = field(default_factory=dict[str, dict[Change, None]])

    def note(
        self, rule: str, where: Where, what: str, old: Place | None = None, new: Place | None = None
    ) -> None:
        """Notes a change."""
        breaking, why = RULES[rule]
        change = Change(
            rule,
            str(where),
            breaking,
            f"{what}; {why}",
            _pointer(self.old, old) if old else None,
            _pointer(self.new, new) if new else None,
        )
        self.changes.setdefault(where.group, {}).setdefault(change)

    def in_order(self) -> list[Change]:
        """All changes, those of one group together."""
        return [change for group in self.changes.values() for change in group]


def became(before: object, after: object) -> str:
    """That something became something else."""
    return f"{before!r} became {after!r}"


def _pointer(folder: Path, place: Place) -> str:
    return f"{Path(os.path.relpath(place.document.path, folder)).as_posix()}#{place.pointer}"


def as_json(changes: Iterable[Change]) -> str:
    """The changes as a JSON array."""
    return json.dumps([asdict(change) for change in changes], indent=2, ensure_ascii=False)


def as_lines(changes: Iterable[Change]) -> list[str]:
    """The changes for people: one a line, those that break first, and a last line that counts them."""
    listed = sorted(changes, key=lambda one: not one.breaking)
    breaking = sum(change.breaking for change in listed)
    return [*map(str, listed), f"{len(listed)} changes, {breaking} of them breaking"]
