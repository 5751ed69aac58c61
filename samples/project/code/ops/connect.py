"""Where this project lives (.cloud/environments.yml), and the client of a workspace for whoever is signed in."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parents[2]
CLOUD = PROJECT / ".cloud"
PIPELINES = PROJECT / "pipelines"


class Problem(Exception):  # noqa: N818 (told to a person, who can do something about it)
    """What is wrong, and what to do: printed without a stack."""


@dataclass(frozen=True)
class Place:
    """One environment. `registry` is that of all environments."""

    name: str
    project: str
    model: str
    registry: str
    resource_group: str
    workspace: str
    compute: str
    endpoint: str


def place(name: str, file: Path = CLOUD / "environments.yml") -> Place:
    """Problem where the file does not know it, or leaves something out."""
    said: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    known: Mapping[str, Mapping[str, str]] = said["environments"]
    if name not in known:
        raise Problem(f"{file.name}: no environment {name!r}, known: {', '.join(known)}")
    wanted = [field for field in Place.__dataclass_fields__ if field != "name"]
    values = {key: value for key, value in said.items() if key in wanted} | dict(known[name])
    missing = [key for key in wanted if not values.get(key)]
    if missing:
        raise Problem(f"{file.name}: environment {name} lacks {', '.join(missing)}")
    return Place(name=name, **{key: str(values[key]) for key in wanted})


def credential(environ: Mapping[str, str] = os.environ) -> Any:
    """Whoever is signed in: in a pipeline by workload identity, on a laptop by `az login`. No secret of ours anywhere."""
    from azure.identity import DefaultAzureCredential

    # Only Microsoft's own hosts are known to the discovery of instances.
    elsewhere = "AZURE_AUTHORITY_HOST" in environ and "microsoftonline" not in environ["AZURE_AUTHORITY_HOST"]
    return DefaultAzureCredential(
        exclude_interactive_browser_credential=True, disable_instance_discovery=elsewhere, process_timeout=60
    )


def registry(where: Place, environ: Mapping[str, str] = os.environ) -> Any:
    """The MLClient of the registry that the environments share."""
    from azure.ai.ml import MLClient

    return MLClient(credential(environ), registry_name=where.registry, enable_telemetry=False, show_progress=False)


def client(where: Place, environ: Mapping[str, str] = os.environ) -> Any:
    """The MLClient of the workspace. It asks for nothing yet."""
    from azure.ai.ml import MLClient

    subscription = environ.get("AZURE_SUBSCRIPTION_ID")
    if not subscription:
        raise Problem("AZURE_SUBSCRIPTION_ID is not set: the pipeline's sign-in says it, on a laptop `az account show`")
    return MLClient(
        credential(environ),
        subscription,
        where.resource_group,
        where.workspace,
        enable_telemetry=False,
        show_progress=False,
    )
