"""The commands, one for each step of a pipeline. Each can be run again: what is there already is left as it is."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from connect import CLOUD, PIPELINES, PROJECT, Place, Problem, client, place, registry

type Wait = Callable[[float], object]
"""Lets so many seconds pass: time.sleep, or a test's."""

ENDED = {"Completed", "Failed", "Canceled", "NotResponding"}
LOOK = 20.0
REQUESTS = CLOUD / "switchyard" / "samples" / "fraud"
"""The same that Switchyard's smoke test sends."""
CODE = PROJECT / "code"
SCORE = "fraud-score"
STEPS = ("prepare", "train", "evaluate", "register")


def check(ml: Any, where: Place) -> str:
    """The cluster is there and could take a job. First, because a job for a cluster that is not there waits for ever."""
    from azure.core.exceptions import ResourceNotFoundError

    try:
        found = ml.compute.get(where.compute)
    except ResourceNotFoundError as error:
        known = ", ".join(sorted(one.name for one in ml.compute.list())) or "none"
        raise Problem(
            f"workspace {where.workspace} has no compute {where.compute!r} (it has: {known}). The workspace's template makes it; "
            f"by hand: az ml compute create -f {(CLOUD / 'compute.yml').relative_to(PROJECT)} -g {where.resource_group} "
            f"-w {where.workspace}"
        ) from error
    if found.provisioning_state != "Succeeded":
        raise Problem(f"compute {where.compute} is {found.provisioning_state}: see its page in the studio")
    return f"compute {where.compute} is there: {found.size}, {found.min_instances} to {found.max_instances} nodes"


def publish(ml: Any, where: Place) -> str:
    """Environment, steps and graph as registered assets: a retraining by Switchyard uploads nothing, it names them.

    An asset's version is a digest of what it is made of: the same files make no new one, and no version ever changes.
    """
    from azure.ai.ml import load_component, load_environment
    from azure.ai.ml.entities._assets import Code  # the SDK has no public name for code that is registered under one

    environment = load_environment(PIPELINES / "environments" / "fraud.yml")
    made = _once(ml.environments, environment, environment.name, environment_version())
    script = _once(ml._code, Code(path=str(CODE)), SCORE, code_version())  # noqa: SLF001 (as above)
    named = [f"environment {made.name}:{made.version}", f"code {SCORE}:{script.version}"]
    graph = load_component(PIPELINES / "components" / "fraud_train.yml")
    for step in STEPS:
        file = PIPELINES / "components" / f"{step}.yml"
        component = load_component(file)
        component.environment = f"azureml:{made.name}:{made.version}"
        kept = _once(ml.components, component, component.name, _digest(file, seed=made.version + code_version()))
        graph.jobs[step]._component = kept  # noqa: SLF001 (no public way to name a node's component)
        named.append(f"component {kept.name}:{kept.version}")
    files = sorted((PIPELINES / "components").glob("*.yml"))
    whole = _once(ml.components, graph, graph.name, _digest(*files, seed=made.version + code_version()))
    named.append(f"component {whole.name}:{whole.version}")
    return f"{where.workspace} has {', '.join(named)}"


def environment_version() -> str:
    return _digest(CODE / "conda.yml", PIPELINES / "environments" / "fraud.yml")


def code_version() -> str:
    return _digest(*sorted(CODE.glob("*.py")), CODE / "conda.yml")


def submit(ml: Any, where: Place, wait: Wait, name: str | None, *, follow: bool) -> tuple[str, str]:
    """The training job, to its end where it is followed. Returns its name, and how it ended or how it stands."""
    from azure.ai.ml import load_job
    from azure.core.exceptions import ResourceNotFoundError

    made = None
    if name:
        with suppress(ResourceNotFoundError):
            made = ml.jobs.get(name)  # by an earlier try of the same pipeline
    if made is None:
        job = load_job(PIPELINES / "train.yml", params_override=[{"name": name}] if name else None)
        job.settings.default_compute = where.compute
        made = ml.jobs.create_or_update(job)
    print(f"submitted {made.name}: {made.studio_url}", flush=True)
    status = _said(made.status)
    while follow and status not in ENDED:
        wait(LOOK)
        now = _said(ml.jobs.get(made.name).status)
        if now != status:
            print(f"{made.name}: {now}", flush=True)
        status = now
    if follow and status != "Completed":
        raise Problem(f"job {made.name} ended as {status}: {made.studio_url}")
    return made.name, status


def register(ml: Any, where: Place, job: str) -> tuple[str, str]:
    """The version that the job registered in the workspace, also shared to the registry. Returns name and version."""
    from azure.ai.ml.exceptions import ValidationException
    from azure.core.exceptions import ResourceNotFoundError

    try:
        versions = [one for one in ml.models.list(where.model) if _job(ml, where, one) == job]
    except ResourceNotFoundError:
        versions = []
    if not versions:
        raise Problem(f"job {job} registered no version of model {where.model}: its step register says why")
    version = str(versions[0].version)
    try:
        ml.models.share(
            where.model, version, share_with_name=where.model, share_with_version=version, registry_name=where.registry
        )
    except ValidationException as error:
        if "already exists in registry" not in str(error):  # by an earlier try
            raise
    return where.model, version


def deploy(ml: Any, where: Place, model: str, version: str) -> str:
    """A deployment of this version beside those that are there, on the endpoint, which is made where it is missing.

    It gets no request: who gets traffic is Switchyard's to decide, step by step.
    """
    from azure.ai.ml import load_online_deployment, load_online_endpoint
    from azure.core.exceptions import ResourceNotFoundError

    try:
        ml.models.get(model, version)
    except ResourceNotFoundError as error:
        raise Problem(f"workspace {where.workspace} has no model {model}:{version}") from error
    try:
        ml.online_endpoints.get(where.endpoint)
    except ResourceNotFoundError:
        made = load_online_endpoint(PIPELINES / "endpoint.yml", params_override=[{"name": where.endpoint}])
        ml.online_endpoints.begin_create_or_update(made).result()
        print(f"made endpoint {where.endpoint}", flush=True)
    name = deployment_name(model, version)
    changes = [{"name": name}, {"endpoint_name": where.endpoint}, {"model": f"azureml:{model}:{version}"}]
    deployment = load_online_deployment(PIPELINES / "deployment.yml", params_override=changes)
    ml.online_deployments.begin_create_or_update(deployment).result()
    return name


def try_out(ml: Any, where: Place, name: str) -> str:
    """Known requests (.cloud/switchyard/samples) to this deployment alone: each row has to get a probability."""
    import requests

    endpoint = ml.online_endpoints.get(where.endpoint)
    token = ml.online_endpoints.get_keys(where.endpoint).access_token
    headers = {
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
        "azureml-model-deployment": name,  # whatever traffic it has
    }
    files = sorted(REQUESTS.glob("*.json"))
    for file in files:
        raw = file.read_bytes()
        rows = len(json.loads(raw)["input_data"]["data"])
        reply = requests.post(endpoint.scoring_uri, data=raw, headers=headers, timeout=30)
        if not reply.ok:
            raise Problem(f"{name} answers {file.name} with HTTP {reply.status_code}: {reply.text[:300]}")
        said = reply.json()
        good = isinstance(said, list) and len(said) == rows and all(0 <= float(one) <= 1 for one in said)
        if not good:
            raise Problem(f"{name} answers {file.name} with {str(said)[:300]}, expected {rows} probabilities")
    return f"{name} answers {len(files)} known requests"


def remove(ml: Any, where: Place, name: str) -> str:
    """Takes a deployment away that nobody is sent to: the rollout makes its own, and the quota is for both."""
    from azure.core.exceptions import ResourceNotFoundError

    try:
        ml.online_deployments.begin_delete(name, where.endpoint).result()
    except ResourceNotFoundError:  # its creation failed, or somebody was faster
        return f"{where.endpoint} has no {name}"
    return f"removed {name} from {where.endpoint}"


def bring(ml: Any, where: Place, model: str, version: str, shared: Callable[[Place], Any] = registry) -> str:
    """The version of the registry becomes one of this workspace, as a candidate: Switchyard rolls it out.

    A registry raises no event, a workspace does. The metrics come along as tags, since the run of the training is elsewhere.
    """
    from azure.ai.ml.entities import Model
    from azure.core.exceptions import ResourceNotFoundError

    source = shared(where)
    try:
        found = source.models.get(model, version)
    except ResourceNotFoundError as error:
        raise Problem(
            f"registry {where.registry} has no model {model}:{version}: train and register it first"
        ) from error
    at = f"azureml://registries/{where.registry}/models/{model}/versions/{version}"
    known = _brought(ml, model, at)
    if known is not None:  # by an earlier try
        return f"{where.workspace} has {model}:{known} as a candidate already"
    with TemporaryDirectory() as folder:
        source.models.download(model, version, download_path=folder)
        path = next(Path(folder).rglob("MLmodel")).parent
        tags = {**(found.tags or {}), "stage": "candidate", "source": at}
        # Under the next number of this workspace, which may have trained versions of its own.
        kept = ml.models.create_or_update(Model(name=model, path=str(path), type=found.type, tags=tags))
    return f"{where.workspace} has {kept.name}:{kept.version} as a candidate"


def deployment_name(model: str, version: str) -> str:
    """At most 32 characters, as Azure wants it."""
    return f"{model[:20]}-try-{version}"[:32].rstrip("-")


def _once(operations: Any, entity: Any, name: str, version: str) -> Any:
    from azure.core.exceptions import ResourceNotFoundError

    try:
        return operations.get(name, version)
    except ResourceNotFoundError:
        entity.name, entity.version = name, version
        return operations.create_or_update(entity)


def _job(ml: Any, where: Place, model: Any) -> str | None:
    """The job that made a version: a list leaves it out."""
    full = ml.models.get(where.model, model.version)
    return str(full.job_name) if full.job_name else None


def _said(status: Any) -> str:
    """As the service writes it: the SDK gives a text, or a member of an enumeration of its own."""
    return str(getattr(status, "value", status))


def _brought(ml: Any, model: str, at: str) -> str | None:
    from azure.core.exceptions import ResourceNotFoundError

    try:
        return next((str(one.version) for one in ml.models.list(model) if (one.tags or {}).get("source") == at), None)
    except ResourceNotFoundError:
        return None


def _digest(*files: Path, seed: str = "") -> str:
    digest = sha256(seed.encode())
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="ops", description=__doc__)
    commands = made.add_subparsers(dest="command", required=True)
    for name, what in (
        ("check", check),
        ("publish", publish),
        ("submit", submit),
        ("register", register),
        ("deploy", deploy),
        ("try", try_out),
        ("remove", remove),
        ("bring", bring),
    ):
        one = commands.add_parser(name, help=(what.__doc__ or "").splitlines()[0])
        one.add_argument("--environment", required=True, help="of .cloud/environments.yml")
        one.add_argument("--output", type=Path, help="a file to which NAME=VALUE lines are added: $GITHUB_OUTPUT")
        if name == "submit":
            one.add_argument("--name", help="of the job; a second submission of the same name is the same job")
            one.add_argument(
                "--follow", action="store_true", help="until it has ended; exit 1 where that is not Completed"
            )
        if name == "register":
            one.add_argument("--job", required=True)
        if name in {"deploy", "bring", "try", "remove"}:
            one.add_argument("--model", required=True)
            one.add_argument("--version", required=True)
    return made


def run(args: argparse.Namespace, ml: Any, where: Place, wait: Wait) -> dict[str, str]:
    """Does it, and returns what later steps need to know."""
    if args.command == "submit":
        job, _ = submit(ml, where, wait, args.name, follow=args.follow)
        return {"job": job}
    if args.command == "register":
        model, version = register(ml, where, args.job)
        print(f"job {args.job} registered {model}:{version}, shared to registry {where.registry}")
        return {"model": model, "version": version}
    if args.command == "deploy":
        name = deploy(ml, where, args.model, args.version)
        print(f"deployment {name} of endpoint {where.endpoint} is there, beside the others and without traffic")
        return {"deployment": name}
    if args.command in {"try", "remove"}:
        do = try_out if args.command == "try" else remove
        print(do(ml, where, deployment_name(args.model, args.version)))
    elif args.command == "bring":
        print(bring(ml, where, args.model, args.version))
    else:
        print((check if args.command == "check" else publish)(ml, where))
    return {}


def main(argv: Sequence[str], wait: Wait = time.sleep) -> int:
    """0, or 1 with what is wrong in one line; 2 for a wrong command line."""
    from azure.core.exceptions import AzureError

    args = parser().parse_args(argv)
    try:
        where = place(args.environment)
        known = run(args, client(where), where, wait)
    except Problem as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    except AzureError as error:
        print(f"error: {args.command} in {args.environment}: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    if args.output and known:
        with args.output.open("a", encoding="utf-8") as file:
            file.writelines(f"{name}={value}\n" for name, value in known.items())
    return 0
