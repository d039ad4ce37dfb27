"""Images that come along with a message."""

import base64
import binascii
import uuid
from collections.abc import Iterable
from itertools import islice
from typing import Final

_MOST_IMAGES: Final = 10


def image_ids(images: Iterable[str]) -> tuple[str | None, ...]:
    """One id for each image that is used: the first ten; None for one that cannot be decoded.

    Args:
        images: The images, base64.
    """
    return tuple(_image_id(one) for one in islice(images, _MOST_IMAGES))


def _image_id(data: str) -> str | None:
    try:
        base64.b64decode(data, validate=True)
    except binascii.Error:
        # The daemon swallows these (contract: events, section 3.4).
        return None
    return f"img-{uuid.uuid4().hex[:12]}"
