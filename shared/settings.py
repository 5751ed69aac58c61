"""Settings: the one place that reads the environment and the configuration folder. Names are those of the contract."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Final, Literal

from shared.bounds import DEFAULTS, Bounds, read_bounds
from shared.bounds import SETTING as LIMITS
from shared.errors import PermanentError

WORK_QUEUE: Final = "switchyard-work"
"""Messages of our own: events that arrived, decisions that wait, intents to do."""

ROLLOUT_QUEUE: Final = "switchyard-rollouts"
"""Rollouts that begin, or that somebody spoke to."""

INTAKE_QUEUE: Final = "switchyard-events"
"""Filled by Event Grid itself: the keyless, buffered way in."""


SOURCES: Final = "SWITCHYARD_SOURCES"
ALLOWED_HOSTS: Final = "SWITCHYARD_ALLOWED_HOSTS"
PRIVATE_HOSTS: Final = "SWITCHYARD_PRIVATE_HOSTS"
GITHUB_REPOS: Final = "SWITCHYARD_GITHUB_REPOS"

type SignIn = Literal["key", "entra", "entra-roles"]
"""`key`: the keys of the Functions host; `entra`: App Service authentication stands in front, and whoever is signed in may do what
the console offers; `entra-roles`: who changes something needs a role of the app for it.
"""

_OURS: Final = re.compile(
    r"(SWITCHYARD|AZURE|ACS|MSI|IDENTITY|WEBSITE|FUNCTIONS|APPLICATIONINSIGHTS|APPINSIGHTS|DURABLE)_\w*"
    r"|SMTP_URL|GITHUB_(TOKEN|APP_\w+)|AZUREWEBJOBS\w*|CONTAINER_ENCRYPTION_KEY|\w*CONNECTION_?STRING",
    re.IGNORECASE,
)
NOT_FOR_RULES: Final = (
    "is a setting of the service itself, which no rule may name: put what the rule needs in a setting of its own"
)

_UNRESOLVED: Final = "@Microsoft.KeyVault("
"""What stands in the environment where Azure could not read the secret that a setting refers to: no value, and nothing to sign with."""

_FOLDERS: Final = ("rules", "rollouts", "quality", "templates", "pipelines", "samples")
_CONFIGURATION: Final = re.compile(
    r"switchyard\.yaml|(rules|rollouts|quality|templates|pipelines)/.+\.ya?ml|samples/.+\.json"
)


def read_folder(folder: Path) -> dict[str, str]:
    """The texts of a configuration folder, by their names in it."""
    return {name: as_text(path.read_bytes()) for name, path in configuration(folder)}


def configuration(folder: Path) -> Iterator[tuple[str, Path]]:
    """The files of a configuration folder that are loaded, by name; what else lies there is not looked into."""
    for path in sorted(
        [folder / "switchyard.yaml", *chain.from_iterable((folder / one).rglob("*") for one in _FOLDERS)]
    ):
        name = path.relative_to(folder).as_posix()
        if is_configuration(name) and path.is_file():
            yield name, path


def is_configuration(name: str) -> bool:
    """Whether a file by this name in the folder is one that is loaded."""
    return _CONFIGURATION.fullmatch(name) is not None


def as_text(raw: bytes) -> str:
    """What is not UTF-8 becomes characters that YAML refuses, with their place."""
    return raw.decode("utf-8-sig", errors="surrogateescape")


@dataclass(frozen=True)
class Settings:
    """Defaults are the public cloud; sovereign clouds and the simulated Azure set them."""

    config: str = "config"
    """A folder, or the URL of a blob container."""
    public_url: str = "http://localhost:7071"
    signing_key: str = field(default="", repr=False)
    resource_manager: str = "https://management.azure.com"
    monitor: str = "https://metrics.monitor.azure.com"
    logs: str = "https://api.loganalytics.io/v1"
    authority: str = "https://login.microsoftonline.com"
    acs_endpoint: str = ""
    acs_sender: str = ""
    sms_from: str = ""
    smtp_url: str = field(default="", repr=False)
    github_api: str = "https://api.github.com"
    devops: str = "https://dev.azure.com"
    synapse_suffix: str = "dev.azuresynapse.net"
    event_hubs_suffix: str = "servicebus.windows.net"
    blob_suffix: str = "blob.core.windows.net"
    studio: str = "https://ml.azure.com"
    storage: str = field(default="", repr=False)
    """A connection string (AzureWebJobsStorage). Without one, the app's identity signs in at the three addresses that follow, which
    AzureWebJobsStorage__accountName stands for in the cloud of AZURE_BLOB_SUFFIX.
    """
    storage_blobs: str = ""
    storage_queues: str = ""
    storage_tables: str = ""
    topic: str = ""
    """The endpoint of an Event Grid topic that hears of rollouts, where one is set."""
    client_id: str = ""
    """Of the user-assigned identity; empty: the default chain of azure-identity."""
    sources: tuple[str, ...] = ()
    """Topics that events may come from, as ARM ids; empty: any."""
    allowed_hosts: tuple[str, ...] = ()
    """Hosts that actions may call, `*.example.com` for all below one; empty: any that is public."""
    private_hosts: tuple[str, ...] = ()
    """Hosts, and networks in CIDR, that may be private addresses."""
    github_repos: tuple[str, ...] = ()
    """owner/name or owner/*, in which workflows may be started; empty: any."""
    bounds: Bounds = DEFAULTS
    """How much is taken on at most."""
    wrong: tuple[str, ...] = ()
    """What the environment says and nobody can read, in sentences: whoever builds the service says so in the log."""
    sign_in: SignIn = "key"
    authenticated: bool = False
    """Whether App Service authentication stands in front: the platform says so, and nobody else can."""

    @property
    def container(self) -> bool:
        """Whether the configuration is in a blob container."""
        return self.config.startswith(("https://", "http://"))

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "Settings":
        """From the environment. An empty variable counts as absent, and so does a Key Vault reference that Azure could not follow."""
        names = {
            "config": "SWITCHYARD_CONFIG",
            "public_url": "SWITCHYARD_PUBLIC_URL",
            "signing_key": "SWITCHYARD_SIGNING_KEY",
            "resource_manager": "AZURE_RESOURCE_MANAGER_URL",
            "monitor": "AZURE_MONITOR_URL",
            "logs": "AZURE_LOGS_URL",
            "authority": "AZURE_AUTHORITY_HOST",
            "acs_endpoint": "ACS_ENDPOINT",
            "acs_sender": "ACS_EMAIL_SENDER",
            "sms_from": "ACS_SMS_FROM",
            "smtp_url": "SMTP_URL",
            "github_api": "GITHUB_API_URL",
            "devops": "AZURE_DEVOPS_URL",
            "synapse_suffix": "SYNAPSE_DEV_SUFFIX",
            "event_hubs_suffix": "EVENT_HUBS_SUFFIX",
            "blob_suffix": "AZURE_BLOB_SUFFIX",
            "studio": "AZURE_ML_STUDIO_URL",
            "storage": "AzureWebJobsStorage",
            "storage_blobs": "AzureWebJobsStorage__blobServiceUri",
            "storage_queues": "AzureWebJobsStorage__queueServiceUri",
            "storage_tables": "AzureWebJobsStorage__tableServiceUri",
            "topic": "SWITCHYARD_TOPIC_ENDPOINT",
            "client_id": "AZURE_CLIENT_ID",
        }
        found: dict[str, Any] = {
            setting: value for setting, name in names.items() if (value := given(environ, name)) is not None
        }
        lists = {
            "sources": SOURCES,
            "allowed_hosts": ALLOWED_HOSTS,
            "private_hosts": PRIVATE_HOSTS,
            "github_repos": GITHUB_REPOS,
        }
        found |= {setting: listed(environ.get(name, "")) for setting, name in lists.items()}
        found["bounds"], found["wrong"] = read_bounds(environ.get(LIMITS, ""))
        found["sign_in"] = sign_in(environ)
        found["authenticated"] = environ.get("WEBSITE_AUTH_ENABLED", "").lower() == "true"
        account = environ.get("AzureWebJobsStorage__accountName")
        if account:
            suffix = found.get("blob_suffix", cls.blob_suffix).removeprefix("blob.")
            for kind in ("blob", "queue", "table"):
                found.setdefault(f"storage_{kind}s", f"https://{account}.{kind}.{suffix}")
        if "client_id" not in found and environ.get("AzureWebJobsStorage__clientId"):
            found["client_id"] = environ["AzureWebJobsStorage__clientId"]  # as the Functions host is told of it
        urls = (
            "public_url",
            "resource_manager",
            "monitor",
            "logs",
            "authority",
            "acs_endpoint",
            "github_api",
            "devops",
            "synapse_suffix",
            "event_hubs_suffix",
            "studio",
            "storage_blobs",
            "storage_queues",
            "storage_tables",
        )
        for url in urls:
            if url in found:
                found[url] = found[url].rstrip("/")
        return cls(**found)


def given(environ: Mapping[str, str], name: str) -> str | None:
    """The value of a setting; None where it is empty, or a Key Vault reference that Azure could not follow."""
    value = environ.get(name)
    return None if not value or value.startswith(_UNRESOLVED) else value


def listed(text: str) -> tuple[str, ...]:
    """The entries of a list with commas, in lower case: neither hosts nor ARM ids nor repositories know another."""
    return tuple(dict.fromkeys(entry for one in text.split(",") if (entry := one.strip().rstrip("/").lower())))


def in_list(name: str, entries: Iterable[str]) -> bool:
    """Whether it is one of them; `*.example.com` are all below that, `owner/*` all in that."""
    name = name.lower()
    return any(
        name == one
        or (one.startswith("*.") and name.endswith(one[1:]))
        or (one.endswith("/*") and name.startswith(one[:-1]))
        for one in entries
    )


def sign_in(environ: Mapping[str, str]) -> SignIn:
    """How people prove who they are. A word that is none of the known ones asks for the keys of the Functions host, as none does."""
    given = environ.get("SWITCHYARD_SIGN_IN", "").strip().lower()
    return "entra" if given == "entra" else "entra-roles" if given == "entra-roles" else "key"


def ours(name: str) -> bool:
    """Whether a setting is the service's own: no rule may name it, for its author could have it sent anywhere."""
    return _OURS.fullmatch(name) is not None


class Secrets:
    """Secrets that rules name, from the environment (on Azure: Key Vault references)."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def __call__(self, name: str) -> str:
        """PermanentError, naming the name only, where there is none, and where it is the service's own."""
        if ours(name):
            raise PermanentError(f"{name} {NOT_FOR_RULES}")
        return self.own(name)

    def own(self, name: str) -> str:
        """The same for what the service itself needs."""
        value = self._environ.get(name)
        if not value:
            raise PermanentError(
                f"the setting {name} is not there: set it in the environment, or as a Key Vault reference"
            )
        if value.startswith(_UNRESOLVED):
            raise PermanentError(
                f"the Key Vault reference of the setting {name} is not resolved: put the secret into the vault, let the app's "
                "identity read it ('Key Vault Secrets User'), and restart the app"
            )
        return value

    def __repr__(self) -> str:
        return "Secrets(…)"
