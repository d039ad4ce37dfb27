"""Downloads the packages of the sample: `python -m documents.fetch`."""

import shutil
import subprocess
import sys

from documents.sample import CACHE, sample


def main() -> int:
    """Downloads what is missing, from the registry that npm is set up for."""
    missing = sample().missing
    npm = shutil.which("npm")
    if missing and npm is None:
        print("npm is not installed; the documents were not downloaded", file=sys.stderr)
        return 1
    folder = CACHE / "packages"
    folder.mkdir(parents=True, exist_ok=True)
    for name in missing:
        print(f"downloading {name}")
        command = [str(npm), "pack", "--silent", "--pack-destination", str(folder), name]
        done = subprocess.run(command, cwd=folder, timeout=600, check=False)
        if done.returncode:
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
