"""Media types of bodies, and which schemas of two contents belong together."""

from collections.abc import Iterable, Iterator, Mapping

from ._changes import Where
from ._sides import Place, chosen, is_json


def base(media_type: str) -> str:
    """A media type without its parameters."""
    return media_type.partition(";")[0].strip().lower()


def by_base(content: Mapping[str, Place]) -> dict[str, Place]:
    """Schemas by media types without parameters, which only tell two of one type apart."""
    found: dict[str, Place] = {}
    for media_type, place in content.items():
        name = base(media_type)
        found[media_type if name in found else name] = place
    return found


def is_covered(media_type: str, others: Iterable[str]) -> bool:
    """Whether a media type is one of others, or one of those that a range such as `text/*` stands for."""
    ranges = {media_type, "*/*", f"{media_type.partition('/')[0]}/*"}
    return any(other in ranges for other in others)


def schemas_of(
    where: Where, before: Mapping[str, Place], after: Mapping[str, Place]
) -> Iterator[tuple[Where, Place, Place]]:
    """The schemas of two contents that belong together: those of one media type; bytes have none."""
    shared = [name for name in before if name in after and _is_read(name)]
    for name in shared:
        yield where.below(f" ({name})") if len(shared) > 1 else where, before[name], after[name]
    if not shared and before and after:
        one, other = chosen(before), chosen(after)
        if (is_json(one) or "*" in one) and (is_json(other) or "*" in other):
            yield where, before[one], after[other]


def _is_read(media_type: str) -> bool:
    """Whether bodies of a media type are more than bytes."""
    forms = ("multipart/", "text/", "application/x-www-form-urlencoded", "application/x-ndjson")
    return is_json(media_type) or "*" in media_type or media_type.startswith(forms)
