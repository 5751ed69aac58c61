"""What templates cannot do, before, between and behind them: `azd up` runs it, and so do the pipelines of samples/ci.

    check         the environment says what has to be said (before provisioning)
    provisioned   the signing key is made where there is none, the configuration uploaded where there is none
    configuration the configuration folder takes the place of what is in the container
    code          the package is deployed (azd does it itself; pipelines say `make package` before)
    deployed      event subscriptions as the rules need them, and the app is asked how it is

Asks Azure by its command line, az, as whoever is signed in there. Names come from the outputs of the deployment: in the
environment, as azd sets them, or with --deployment NAME from Azure. Secrets pass through a file that nobody else can read.
"""

import argparse
import contextlib
import hashlib
import http.client
import io
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from shared.cli import main as switchyard  # noqa: E402 (found beside this folder)
from shared.settings import configuration  # noqa: E402

VAULT_API: Final = "2024-11-01"
CONTAINER: Final = "switchyard-config"
SIGNING_KEY: Final = "SWITCHYARD_SIGNING_KEY"
LAST: Final = "switchyard.yaml"
"""Uploaded when the others are there: a container without it is one whose first upload broke off."""

PATIENCE: Final = 40
PAUSE: Final = 15.0
"""Tries, and seconds between them: a role that has just been given is known everywhere after up to ten minutes."""

_PASSING: Final = re.compile(
    r"authoriz|forbidden|permission|\b40[13]\b|\b429\b|\b50[0234]\b|identity|timed out|no answer|not ready",
    re.IGNORECASE,
)
"""What passes by itself, in the words of az: a role or an identity that is not known everywhere yet, a service that is busy."""


class StoppedError(Exception):
    """Says what is wrong, and what to do."""


class Azure:
    """The command line of Azure."""

    def __init__(
        self, program: str, subscription: str | None = None, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self._program = program
        self._of = ["--subscription", subscription] if subscription else []  # else that in which az happens to be
        self._pause = pause

    def __call__(self, *words: str) -> Any:
        """What it answers; None for nothing. Raises StoppedError with its own words."""
        more = [*([] if "--subscription" in words else self._of), "--output", "json"]
        done = subprocess.run([self._program, *words, *more], capture_output=True, text=True, check=False)  # noqa: S603 (our own words)
        if done.returncode:
            raise StoppedError(f"az {' '.join(words[:3])}: {_last(done.stderr)}")
        return json.loads(done.stdout) if done.stdout.strip() else None

    def patiently[Answer](self, ask: Callable[[], Answer]) -> Answer:
        """Again while it fails for what passes: what was made a moment ago is not known everywhere at once."""
        for n in range(PATIENCE):
            try:
                return ask()
            except StoppedError as error:
                if n == PATIENCE - 1 or not _PASSING.search(str(error)):
                    raise
                print(f"waiting: {error}")
            self._pause(PAUSE)
        raise AssertionError


def _last(said: str) -> str:
    """The line with the reason; az warns above it."""
    lines = [line for line in said.splitlines() if line.strip() and not line.startswith("WARNING")]
    return lines[0].removeprefix("ERROR: ") if lines else "failed, and said nothing"


def check(found: Mapping[str, str]) -> None:
    """Before anything costs money."""
    lacking = {
        "SWITCHYARD_MAIL": "who hears of alerts and of the budget: azd env set SWITCHYARD_MAIL you@example.com",
        "SWITCHYARD_WORKSPACE_ID": "the workspace whose events arrive, by its ARM id: "
        'azd env set SWITCHYARD_WORKSPACE_ID "$(az ml workspace show -g GROUP -n NAME --query id -o tsv)"',
    }
    missing = [f"  {name} is not set. It says {what}" for name, what in lacking.items() if not found.get(name)]
    if missing:
        raise StoppedError("\n".join(["this environment does not say everything yet", *missing]))
    id_ = found["SWITCHYARD_WORKSPACE_ID"]
    form = r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.MachineLearningServices/workspaces/[^/]+"
    if not re.fullmatch(form, id_, re.IGNORECASE):
        raise StoppedError(
            f"SWITCHYARD_WORKSPACE_ID is {id_!r}; expected /subscriptions/SUBSCRIPTION/resourceGroups/GROUP/providers/"
            "Microsoft.MachineLearningServices/workspaces/NAME"
        )


def provisioned(azure: Azure, found: Mapping[str, str], folder: Path) -> None:
    vault = found["SWITCHYARD_VAULT_ID"]
    if _has_secret(azure, vault, SIGNING_KEY):
        print("signing key: is there, and stays")
    else:
        _put_secret(azure, vault, SIGNING_KEY, secrets.token_urlsafe(48))
        print("signing key: made, in the vault alone")
    for name in found.get("SWITCHYARD_SECRETS", "").split():
        if not _has_secret(azure, vault, name):
            print(
                f"{name}: not in the vault yet; what needs it fails until you say: az keyvault secret set "
                f"--vault-name {_name(vault)} --name {_secret(name)} --file FILE"
            )
    if found.get("SWITCHYARD_CONFIGURATION") == "container":
        account = _name(found["SWITCHYARD_STORAGE_ID"])
        if LAST in azure.patiently(lambda: _blobs(azure, account)):
            print("configuration: the container has one, and keeps it; `hooks.py configuration` replaces it")
        else:
            upload(azure, found, folder)


def upload(azure: Azure, found: Mapping[str, str], folder: Path) -> None:
    """What is not in the folder any more goes from the container too: a rule that is deleted is not in force."""
    if found.get("SWITCHYARD_CONFIGURATION") == "package":
        print("configuration: comes with the package")
        return
    if switchyard(["check", str(folder)]):
        raise StoppedError(f"{folder} has mistakes (above): nothing was uploaded")
    account, names = _name(found["SWITCHYARD_STORAGE_ID"]), [name for name, _ in configuration(folder)]
    before = azure.patiently(lambda: _blobs(azure, account))
    with tempfile.TemporaryDirectory() as text:
        for name, path in configuration(folder):
            if name == LAST and LAST not in before:
                continue
            copy = Path(text, name)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        words = ["storage", "blob", "upload-batch", "--auth-mode", "login", "--account-name", account]
        azure.patiently(lambda: azure(*words, "--destination", CONTAINER, "--source", text, "--overwrite"))
    if LAST in names and LAST not in before:
        file = ["--name", LAST, "--file", str(folder / LAST), "--overwrite"]
        azure.patiently(lambda: azure("storage", "blob", "upload", *_where(account), *file))
    for name in sorted(set(before) - set(names)):
        azure("storage", "blob", "delete", *_where(account), "--name", name)
    print(f"configuration: {len(names)} files in {account}/{CONTAINER}")


def code(azure: Azure, found: Mapping[str, str], package: Path) -> None:
    """Azure installs the libraries itself, by the hashes of requirements.txt."""
    if not package.is_file():
        raise StoppedError(f"there is no package {package}: make package")
    app = ["--resource-group", found["AZURE_RESOURCE_GROUP"], "--name", found["AZURE_FUNCTION_APP_NAME"]]
    words = ["functionapp", "deployment", "source", "config-zip", *app, "--src", str(package)]
    azure.patiently(lambda: azure(*words, "--build-remote", "true", "--timeout", "1800"))
    print(f"code: {package.name} is in {found['AZURE_FUNCTION_APP_NAME']}")


def deployed(
    azure: Azure, found: Mapping[str, str], folder: Path, get: Callable[[str, Mapping[str, str]], str]
) -> None:
    subscribe(azure, found, folder)
    healthy(azure, found, get)


def subscribe(azure: Azure, found: Mapping[str, str], folder: Path) -> None:
    """Each topic gets the subscriptions that the rules need. Those of ours that no rule needs any more are deleted."""
    storage, names = found["SWITCHYARD_STORAGE_ID"], _stem(found)
    needed = json.loads(_printed(["filters", "--config", str(folder), "--json"]))["topics"]
    pairs = [pair.split("|") for pair in found.get("SWITCHYARD_TOPICS", "").split()]
    for source, topic in pairs:
        wanted = next((one for one in needed if _brings(source, one)), None)
        name = _name(topic)
        if wanted is not None:
            one = wanted["source"] or wanted["name"]  # workspaces of one name in two groups have two topics
            text = _printed(["filters", "--config", str(folder), "--deliver", "queue", "--topic", one])
            _deploy(azure, text, topic, {"storageId": storage, "names": names})
        kept = {
            f"{names}{one['name'].removeprefix('switchyard')}"
            for one in (wanted or {"subscriptions": []})["subscriptions"]
        }
        for old in _ours(azure, topic, storage) - kept:
            azure("eventgrid", "system-topic", "event-subscription", "delete", *_of(topic), "--name", old, "--yes")
            print(f"{name}: {old} is needed no more, and gone")
        print(f"{name}: {len(kept)} subscriptions, {', '.join(sorted(kept)) or 'for no rule asks for its events'}")
    for one in needed:
        if not any(_brings(source, one) for source, _ in pairs):
            print(
                f"rules ask for events of {one['name']}, which no topic of this deployment brings: name it in its parameters"
            )


def _deploy(azure: Azure, text: str, topic: str, values: Mapping[str, str]) -> None:
    """The Bicep file has one parameter more: the name of the topic, called after the workspace."""
    (parameter,) = set(re.findall(r"^param (\w+) string", text, re.MULTILINE)) - set(values)
    name = _name(topic)
    with tempfile.TemporaryDirectory() as where:
        file = Path(where, "subscriptions.bicep")
        file.write_text(text, "utf-8")
        words = ["deployment", "group", "create", *_group(topic), "--name", f"{values['names']}-{name}"[:64]]
        given = [f"{one}={value}" for one, value in {**values, parameter: name}.items()]
        # The topic's leave to write to the queue is as young as the topic.
        azure.patiently(lambda: azure(*words, "--template-file", str(file), "--parameters", *given))


def _brings(source: str, topic: Mapping[str, Any]) -> bool:
    if topic["kind"] == "storage account":
        return "/storageaccounts/" in source.casefold()
    return (topic["source"] or "").casefold() == source.casefold()


def _ours(azure: Azure, topic: str, storage: str) -> set[str]:
    """Subscriptions of the topic that fill our queue, whoever made them; how deep az nests the address differs by its version."""
    found = azure("eventgrid", "system-topic", "event-subscription", "list", *_of(topic)) or []
    return {one["name"] for one in found if f'"{storage}"'.casefold() in json.dumps(one).casefold()}


def healthy(azure: Azure, found: Mapping[str, str], get: Callable[[str, Mapping[str, str]], str]) -> None:
    """The app answers, and its configuration is whole."""
    app = ["--resource-group", found["AZURE_RESOURCE_GROUP"], "--name", found["AZURE_FUNCTION_APP_NAME"]]
    key = azure.patiently(lambda: azure("functionapp", "keys", "list", *app))["functionKeys"]["default"]
    headers = {"x-functions-key": key}  # asked for here also where people sign in

    def asked() -> Any:
        said = json.loads(get(f"{found['SWITCHYARD_URL']}/api/health", headers))
        if said["status"] == "red" and list(said["rejected_files"]) == [
            LAST
        ]:  # it says so too while it can't read anything
            raise StoppedError(f"health is red: {LAST} is refused, or the app is not ready to read its configuration")
        return said

    said = azure.patiently(asked)
    print(f"health: {said['status']}, {said['rules']} rules in force, configuration {said['config_version']}")
    if said["status"] != "ok":
        raise StoppedError(f"health is {said['status']}; refused files: {', '.join(said['rejected_files']) or 'none'}")


def ask(url: str, headers: Mapping[str, str]) -> str:
    """What the app answers, however it is; StoppedError where that is nothing of the app's."""
    request = urllib.request.Request(url, headers=dict(headers))  # noqa: S310 (https, from our own outputs)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        said = error.read().decode(errors="replace")
        if not _is_health(said):
            raise StoppedError(f"{url}: no answer ({error})") from None
        return said
    except (OSError, http.client.HTTPException) as error:
        raise StoppedError(f"{url}: no answer ({error})") from None


def _is_health(said: str) -> bool:
    """A problem of the app's, or the page of whatever stands in front, is something else."""
    try:
        found = json.loads(said)
    except ValueError:
        return False
    return isinstance(found, dict) and isinstance(found.get("status"), str)


def _printed(words: Sequence[str]) -> str:
    """What `switchyard` prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        status = switchyard(words)
    if status:
        raise StoppedError(f"`switchyard {' '.join(words)}` failed (above): the subscriptions stay as they are")
    return out.getvalue()


def _has_secret(azure: Azure, vault: str, name: str) -> bool:
    """By Azure Resource Manager, which tells names and no values, and asks for no role in the vault."""
    try:
        azure("rest", "--method", "get", "--url", _secret_url(vault, name))
    except StoppedError as error:
        if re.search(r"not ?found", str(error), re.IGNORECASE):
            return False
        raise
    return True


def _put_secret(azure: Azure, vault: str, name: str, value: str) -> None:
    with _private({"properties": {"value": value}}) as file:
        azure("rest", "--method", "put", "--url", _secret_url(vault, name), "--body", f"@{file}", "--query", "name")


@contextlib.contextmanager
def _private(body: object) -> Iterator[Path]:
    """A file that nobody else can read, while it is needed: what stands on a command line, others see."""
    with tempfile.TemporaryDirectory() as where:
        path = Path(where, "body.json")
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(body, file)
        yield path


def _secret_url(vault: str, name: str) -> str:
    return f"{vault}/secrets/{_secret(name)}?api-version={VAULT_API}"


def _secret(name: str) -> str:
    """As modules/app.bicep calls it: a vault knows no underscore."""
    return name.replace("_", "-").lower()


def _blobs(azure: Azure, account: str) -> list[str]:
    return [one["name"] for one in azure("storage", "blob", "list", *_where(account)) or []]


def _where(account: str) -> list[str]:
    return ["--auth-mode", "login", "--account-name", account, "--container-name", CONTAINER]


def _group(topic: str) -> list[str]:
    """That of a topic, which may be another one's than the app's."""
    parts = topic.split("/")
    return ["--subscription", parts[2], "--resource-group", parts[4]]


def _of(topic: str) -> list[str]:
    return [*_group(topic), "--system-topic-name", _name(topic)]


def _name(id_: str) -> str:
    return id_.rpartition("/")[2]


def _stem(found: Mapping[str, str]) -> str:
    """How names of subscriptions begin: another for each environment, for several may listen to the same topic."""
    name = found["AZURE_ENV_NAME"].lower()
    short = name if re.fullmatch(r"[a-z0-9-]{1,5}", name) else hashlib.sha256(name.encode()).hexdigest()[:5]
    return f"switchyard-{short}"


def _outputs(azure: Azure, deployment: str | None, environ: Mapping[str, str]) -> dict[str, str]:
    found = dict(environ)
    if deployment:
        said = azure("deployment", "sub", "show", "--name", deployment, "--query", "properties.outputs")
        found |= {name.upper(): str(one["value"]) for name, one in said.items()}
    return found


def main(argv: Sequence[str], environ: Mapping[str, str], get: Callable[[str, Mapping[str, str]], str] = ask) -> int:
    parser = argparse.ArgumentParser(prog="hooks.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("step", choices=("check", "provisioned", "configuration", "code", "deployed"))
    parser.add_argument("--config", type=Path, default=ROOT / "config", metavar="DIR", help="(config)")
    parser.add_argument(
        "--package", type=Path, default=ROOT / ".state/package.zip", metavar="FILE", help="(.state/package.zip)"
    )
    parser.add_argument("--deployment", metavar="NAME", help="take the outputs of this deployment of the subscription")
    arguments = parser.parse_args(argv)
    try:
        program = shutil.which("az", path=environ.get("PATH")) or _no_az()
        azure = Azure(program, environ.get("AZURE_SUBSCRIPTION_ID"))
        found = _outputs(azure, arguments.deployment, environ)
        if arguments.step == "check":
            check(found)
        elif arguments.step == "provisioned":
            provisioned(azure, found, arguments.config)
        elif arguments.step == "configuration":
            upload(azure, found, arguments.config)
        elif arguments.step == "code":
            code(azure, found, arguments.package)
        else:
            deployed(azure, found, arguments.config, get)
    except KeyError as error:
        print(f"hooks.py: {error.args[0]} is not known: run it by azd, or name the --deployment", file=sys.stderr)
        return 1
    except StoppedError as error:
        print(f"hooks.py: {error}", file=sys.stderr)
        return 1
    return 0


def _no_az() -> str:
    raise StoppedError(
        "the command line of Azure, az, is not on the path: https://learn.microsoft.com/cli/azure/install-azure-cli"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
