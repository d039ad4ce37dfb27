"""The released daemon and its auth service, started for tests."""

import os
import random
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import httpx

from .environment import Environment, ignore
from .errors import RealDaemonNotRunning
from .process import GuardedProcess

DEFAULT_ROOT: Final = Path(".real")
"""Folder of the environment and of the daemon's data, in the working directory."""

_HOST: Final = "127.0.0.1"
# Below the ports that systems give to outgoing connections, which could take one before the daemon does.
_PORTS: Final = range(20_000, 32_000)
_POLL_SECONDS: Final = 0.1
_CALL_SECONDS: Final = 5.0
_DAY: Final = 86_400
_SERVICE: Final = Path(__file__).with_name("auth_service.py")
# The daemon gets these variables of this process and no others: keys of providers, proxies and settings of
# another daemon would change what it does.
_INHERITED: Final = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")


class RealDaemon:
    """The released daemon on a free loopback port, with a stand-in for its auth service; a context manager.

    The first start installs it, which takes about a minute; later ones take seconds. Nothing but that install
    leaves the machine. All its processes end with this one at the latest, whatever ends it.

        with RealDaemon() as daemon:
            with DevClient.with_token(daemon.token("alice"), daemon_url=daemon.url) as client: ...

    Args:
        root: Folder of the environment, which several daemons may share.
        home: Folder of this daemon's data and log; left out, it is a new one below `root`, which is removed
            when the daemon is stopped, unless the `with` block raised.
        settings: Environment variables of the daemon besides those that it needs here.
        timeout: Seconds for a start, not counting the installation.
        say: Takes messages about the progress.

    Attributes:
        home: The daemon's home directory, with `.digitorn` in it.
    """

    def __init__(
        self,
        root: Path | str = DEFAULT_ROOT,
        *,
        home: Path | str | None = None,
        settings: Mapping[str, str] | None = None,
        timeout: float = 120.0,
        say: Callable[[str], None] = ignore,
    ) -> None:
        self._environment = Environment(Path(root))
        self._owns_home = home is None
        self.home = self._environment.folder / "homes" / "none" if home is None else Path(home).absolute()
        self._settings = dict(settings or {})
        self._timeout = timeout
        self._say = say
        self._mint_key = secrets.token_hex(16)
        self._port = 0
        self._auth_url = ""
        self._auth: GuardedProcess | None = None
        self._daemon: GuardedProcess | None = None

    # --- what it is

    @property
    def url(self) -> str:
        """Its base URL."""
        self._running()
        return f"http://{_HOST}:{self._port}"

    @property
    def auth_url(self) -> str:
        """Base URL of its auth service."""
        self._running()
        return self._auth_url

    @property
    def log_path(self) -> Path:
        """The daemon's log."""
        return self.home / "daemon.log"

    def token(self, user: str = "alice", *, is_admin: bool = False, seconds: int = _DAY) -> str:
        """An access token.

        Args:
            user: Whose; any name will do.
            is_admin: Whether the user has every permission.
            seconds: How long the token is valid.

        Raises:
            RealDaemonNotRunning: The auth service does not run.
        """
        asked = {"user": user, "is_admin": is_admin, "seconds": seconds}
        shown = {"Authorization": f"Bearer {self._mint_key}"}
        try:
            with _http() as http:
                answer = http.post(f"{self.auth_url}/mint", json=asked, headers=shown).raise_for_status()
        except httpx.HTTPError as error:
            raise RealDaemonNotRunning(f"the auth service gave no token: {error}") from error
        return str(answer.json()["access_token"])

    # --- life

    def start(self) -> Self:
        """Installs the daemon if necessary, starts it and waits until it is ready.

        Raises:
            RealDaemonUnavailable: It cannot be installed.
            RealDaemonNotRunning: It did not become ready in time.
            RuntimeError: It runs already.
        """
        if self._auth is not None:
            raise RuntimeError("the daemon runs already")
        self._environment.prepare(say=self._say)
        self._make_home()
        try:
            self._start_auth()
            self._start_daemon()
        except BaseException:
            self.stop(keep=True)
            raise
        return self

    def restart(self) -> None:
        """Starts the daemon again on its data and its port, after `kill` or instead of the running one.

        The auth service goes on, so that tokens stay valid.

        Raises:
            RealDaemonNotRunning: It did not become ready in time, or was not started before.
        """
        if self._auth is None:
            raise RealDaemonNotRunning("the daemon was not started")
        if self._daemon is not None:
            self._daemon.stop()
        self._start_daemon()

    def kill(self) -> None:
        """Ends the daemon and what it started by SIGKILL, as a crash does. Its auth service goes on."""
        if self._daemon is not None:
            self._daemon.kill()

    def stop(self, *, keep: bool = False) -> None:
        """Stops the daemon and its auth service. May be called again.

        Args:
            keep: Whether to keep a home directory that this daemon created.
        """
        for process in (self._daemon, self._auth):
            if process is not None:
                process.stop()
        self._daemon = self._auth = None
        if self._owns_home and not keep:
            shutil.rmtree(self.home, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(keep=kind is not None)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._environment.folder}>"

    # --- steps

    def _running(self) -> None:
        if self._auth is None:
            raise RealDaemonNotRunning("the daemon is not running; use it in a with statement")

    def _make_home(self) -> None:
        if self._owns_home:
            homes = self._environment.folder / "homes"
            homes.mkdir(exist_ok=True)
            self.home = Path(tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-"), dir=homes))
        for folder in (".digitorn", "auth", "bin"):
            (self.home / folder).mkdir(parents=True, exist_ok=True)
        # Without this file the daemon asks questions on the terminal.
        config = f"database:\n  url: {self._database()}\n"
        (self.home / ".digitorn" / "config.yaml").write_text(config, encoding="utf-8")
        worker = self.home / "bin" / "digitorn-worker"
        worker.write_text("#!/no/such/interpreter\n", encoding="utf-8")
        worker.chmod(0o755)

    def _database(self) -> str:
        return f"sqlite+aiosqlite:///{self.home}/.digitorn/digitorn.db"

    def _start_auth(self) -> None:
        folder = self.home / "auth"
        address = folder / "url"
        address.unlink(missing_ok=True)
        self._auth = GuardedProcess(
            [str(self._environment.python), "-I", str(_SERVICE), str(folder)],
            environment={**_inherited(), "MINT_KEY": self._mint_key},
            folder=folder,
            log=folder / "auth.log",
        )
        self._wait(self._auth, "the auth service", address.exists)
        self._auth_url = address.read_text(encoding="utf-8")

    def _start_daemon(self) -> None:
        self._port = self._port or _free_port()
        began = time.monotonic()
        program = str(self._environment.program("digitorn"))
        self._daemon = GuardedProcess(
            [program, "start", "--host", _HOST, "--port", str(self._port), "--no-sandbox"],
            environment={**_inherited(), **self._variables(), **self._settings},
            # It writes `events.ndjson` into its working directory.
            folder=self.home,
            log=self.log_path,
        )
        self._wait(self._daemon, "the daemon", self._is_ready)
        self._say(f"the daemon is ready after {time.monotonic() - began:.1f} s")

    def _variables(self) -> dict[str, str]:
        """The daemon's settings."""
        off = "false"
        path = os.environ.get("PATH", os.defpath)
        return {
            # All its state goes to ~/.digitorn.
            "HOME": str(self.home),
            # It tells what git says of its workspaces, which may lie below the repository of a project.
            "GIT_CEILING_DIRECTORIES": str(self.home),
            "DIGITORN_DATABASE__URL": self._database(),
            # Without these it asks its public auth service.
            "DIGITORN_AUTH__SERVICE_URL": self._auth_url,
            "DIGITORN_AUTH__ACCEPT_ISSUERS": f'["{self._auth_url}"]',
            # The default is Redis.
            "DIGITORN_SESSION__QUEUE__BACKEND": "memory",
            # Every model call would go to the vendor's gateway; what still asks it finds nobody at port 1.
            "DIGITORN_RUNTIME__GATEWAY_ENABLED": off,
            "DIGITORN_RUNTIME__GATEWAY_BASE_URL": f"http://{_HOST}:1/v1",
            # Each of these would download something or call out.
            "DIGITORN_DISCOVERY__SKIP_EMBEDDINGS": "true",
            "DIGITORN_SERVER__NODE_AUTO_INSTALL": off,
            "DIGITORN_SKIP_BUILTINS": "1",
            "DIGITORN_TRANSCRIBE__ENABLED": off,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
            "DO_NOT_TRACK": "1",
            "ANONYMIZED_TELEMETRY": "False",
            # No sandbox processes.
            "DIGITORN_SERVER__SANDBOX": off,
            "DIGITORN_SANDBOX__POOL_SIZE": "0",
            # /docs, for people.
            "DIGITORN_SERVER__EXPOSE_DOCS": "true",
            # After a start it waits up to a minute for its workers, even without any, before it loads the
            # apps that it knew. A worker that cannot be executed is reported at once, and no process starts.
            "DIGITORN_WORKERS__ENABLED": "true",
            "DIGITORN_WORKERS__WORKERS": '[{"id": "none", "port": 1, "modules": []}]',
            "PATH": f"{self.home / 'bin'}{os.pathsep}{path}",
        }

    def _is_ready(self) -> bool:
        """Whether it answers, and has loaded the apps that it knew."""
        try:
            with _http() as http:
                answer = http.get(f"{self.url}/healthz")
        except httpx.HTTPError:
            return False
        return answer.is_success and answer.json().get("warming_up") is False

    def _wait(self, process: GuardedProcess, name: str, is_ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + self._timeout
        while not is_ready():
            if process.has_ended(within=_POLL_SECONDS):
                raise RealDaemonNotRunning(
                    f"{name} ended while it started; its log ends with:\n{process.tail()}"
                )
            if time.monotonic() >= deadline:
                raise RealDaemonNotRunning(
                    f"{name} was not ready after {self._timeout:g} s; its log ends with:\n{process.tail()}"
                )


def _http() -> httpx.Client:
    # Proxies are not for loopback.
    return httpx.Client(trust_env=False, timeout=_CALL_SECONDS)


def _inherited() -> dict[str, str]:
    return {name: os.environ[name] for name in _INHERITED if name in os.environ}


def _free_port() -> int:
    for port in random.sample(_PORTS, 100):
        with socket.socket() as probe:
            try:
                probe.bind((_HOST, port))
            except OSError:
                continue
            return port
    raise RealDaemonNotRunning("no free port was found on loopback")
