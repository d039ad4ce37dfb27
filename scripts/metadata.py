"""The metadata that depends on where the package is built: its addresses, and the README for an index.

`$REPOSITORY_URL` is the address of the repository; the release workflow sets it. An index shows the README
outside of the repository, so relative links become links into it, or plain text if the address is unknown.
"""

import os
import re
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface

DOCUMENTATION = "https://docs.digitorn.ai"
RELATIVE_LINK = re.compile(r"\[([^\]]+)\]\((?![a-z]+:|#)([^)\s]+)\)")


def urls(repository: str) -> dict[str, str]:
    """The addresses in the metadata.

    Args:
        repository: Address of the repository; empty if it is unknown.
    """
    found = {"Documentation": DOCUMENTATION}
    if repository:
        found |= {
            "Source": repository,
            "Issues": f"{repository}/issues",
            "Changelog": f"{repository}/blob/main/CHANGELOG.md",
        }
    return found


def readme(text: str, repository: str) -> str:
    """The README without relative links."""
    return RELATIVE_LINK.sub(rf"[\1]({repository}/blob/main/\2)" if repository else r"\1", text)


class AddressesHook(MetadataHookInterface):
    """Adds them to the metadata."""

    def update(self, metadata: dict[str, object]) -> None:
        """Called by hatchling."""
        repository = os.environ.get("REPOSITORY_URL", "").rstrip("/")
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        metadata["urls"] = urls(repository)
        metadata["readme"] = {"content-type": "text/markdown", "text": readme(text, repository)}
