"""The demo, and the code of the README and of the first page, on the released daemon."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from digitorn_testing import DevClient

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(150)
def test_the_demo(dev_client: DevClient) -> None:
    outside = {name: value for name, value in os.environ.items() if not name.startswith("DIGITORN_")}
    token = dev_client._get_auth_token()
    assert token is not None
    ran = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "docs" / "examples" / "demo.py")],
        env={**outside, "DIGITORN_DAEMON_URL": dev_client.daemon_url, "DIGITORN_TOKEN": token},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    print(ran.stdout)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"daemon: {dev_client.daemon_url}" in ran.stdout
    assert "answer: There are three: README.md, schema and src." in ran.stdout
    assert ran.stdout.count("PASS") == 4
