"""Writes what an installation brings: an SBOM (CycloneDX 1.6, JSON), and licences and sizes as a table.

    python scripts/sbom.py dist/          the SBOM of the running environment and LICENSES.md, into a folder
    python scripts/sbom.py --sizes        the installed size of each extra, measured in fresh environments

Only the standard library and pip are needed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
import venv
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageMetadata, distributions
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
OURS: Final = "digitorn-testing"


def licence(metadata: PackageMetadata) -> str:
    """The licence that a distribution states: an SPDX expression where it has one."""
    if "License-Expression" in metadata:
        return metadata["License-Expression"]
    classified = [
        one.rpartition(" :: ")[2]
        for one in metadata.get_all("Classifier", [])
        if one.startswith("License ::")
    ]
    named = metadata["License"].strip().splitlines() if "License" in metadata else []
    return "; ".join(classified) or (named[0] if named else "not stated")


def component(found: Distribution) -> dict[str, object]:
    """A distribution as a component of the SBOM."""
    name, stated = found.metadata["Name"], licence(found.metadata)
    is_expression = "License-Expression" in found.metadata
    return {
        "type": "library",
        "name": name,
        "version": found.version,
        "purl": f"pkg:pypi/{name.lower().replace('_', '-')}@{found.version}",
        "licenses": [{"expression": stated} if is_expression else {"license": {"name": stated}}],
    }


def installed() -> list[Distribution]:
    """What is installed, by name, without this package and the installer."""
    own = {OURS, "pip", "setuptools"}
    found = {one.metadata["Name"].lower(): one for one in distributions()}
    return [found[name] for name in sorted(found) if name not in own]


def sbom() -> dict[str, object]:
    """The SBOM of the running environment."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "library", "name": OURS}},
        "components": [component(one) for one in installed()],
    }


def licences() -> str:
    """The licences as a table."""
    rows = [f"| {one.metadata['Name']} | {one.version} | {licence(one.metadata)} |" for one in installed()]
    return "\n".join(["| package | version | licence |", "|---|---|---|", *rows, ""])


def sizes() -> Iterator[str]:
    """The size of each extra, as rows of a table."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for extra in ("", *project["optional-dependencies"]):
        if extra in ("bench", "dev"):
            continue
        with tempfile.TemporaryDirectory() as folder:
            venv.EnvBuilder(with_pip=True).create(folder)
            python = Path(folder, "bin", "python")
            wanted = f"{ROOT}[{extra}]" if extra else str(ROOT)
            quiet = ("--quiet", "--disable-pip-version-check")
            pinned = ("--no-compile", "--constraint", str(ROOT / "constraints.txt"))
            subprocess.run([python, "-m", "pip", "install", *quiet, *pinned, wanted], check=True, timeout=600)
            subprocess.run(
                [python, "-m", "pip", "uninstall", "--yes", *quiet, "pip", "setuptools"],
                check=True,
                timeout=60,
            )
            files = [one for one in Path(folder, "lib").rglob("*") if one.is_file() and not one.is_symlink()]
            count = len(list(Path(folder, "lib").rglob("*.dist-info")))
            megabytes = sum(one.stat().st_size for one in files) / 1e6
            yield f"| {extra or '(none)'} | {megabytes:.1f} MB | {count} |"


def main() -> None:
    """Writes them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, default=Path("dist"))
    parser.add_argument(
        "--sizes", action="store_true", help="measure the installed size of each extra instead"
    )
    options = parser.parse_args()
    if options.sizes:
        for row in sizes():
            sys.stdout.write(f"{row}\n")
        return
    options.folder.mkdir(parents=True, exist_ok=True)
    (options.folder / "sbom.cdx.json").write_text(json.dumps(sbom(), indent=1) + "\n", encoding="utf-8")
    (options.folder / "LICENSES.md").write_text(licences(), encoding="utf-8")


if __name__ == "__main__":
    main()
