"""What the pipelines of environments ask, where a compiler cannot answer. Python alone, nothing to install.

`changed BASE`: which environments differ from a commit, as JSON, in the order in which they are deployed; `changed BASE STAGE`: the files
of those of one stage. `check FOLDER`: what must hold of all of them together; the folder has, for each, what `az bicep build-params` made of it. `persons NAME`: who has a role in an
environment, of `az role assignment list --all` on standard input; exit 1 where nobody may.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

HERE: Final = Path(__file__).resolve().parent
FILES: Final = HERE / "environments"

STAGES: Final = ("registry", "dev", "test", "prod")
"""In the order in which they are deployed: what fails in one is not tried on the next."""

_PERSONAL: Final = ("dataScientists", "computeInstances")
_PRINCIPALS: Final = ("pipelinePrincipalId", "switchyardPrincipalId")
_NAME: Final = re.compile(rf"registry|[a-z][a-z0-9]{{1,9}}-({'|'.join(STAGES[1:])})")
_NOT_DEPLOYED: Final = re.compile(r"README.*\.md|environments\.py")


class Environment(NamedTuple):
    name: str
    stage: str
    file: str
    """From the root of the repository."""


def named(path: Path, root: Path) -> Environment:
    """The environment that a parameter file is about, by its name: PROJECT-STAGE.bicepparam, or registry.bicepparam."""
    return Environment(path.stem, path.stem.rsplit("-", 1)[-1], path.relative_to(root).as_posix())


def concerned(paths: Sequence[str], every: Sequence[Environment]) -> list[Environment]:
    """Which environments are to be deployed when these files changed. A template is everybody's."""
    folder = f"{Path(every[0].file).parents[1].as_posix()}/" if every else ""
    inside = [path.removeprefix(folder) for path in paths if folder and path.startswith(folder)]
    shared = [path for path in inside if not path.startswith("environments/") and not _NOT_DEPLOYED.fullmatch(path)]
    found = every if shared else [one for one in every if one.file in paths]
    return sorted(found, key=lambda one: (_order(one.stage), one.name))


def _order(stage: str) -> int:
    return STAGES.index(stage) if stage in STAGES else len(STAGES)


def problems(built: Mapping[str, Mapping[str, Any]], every: Sequence[Environment]) -> Iterator[tuple[str, str, str]]:
    """What is wrong, as file, parameter and words. `built`: by name, the values that each file gives."""
    of = {one.name: one for one in every if one.stage != "registry" and _NAME.fullmatch(one.name)}
    for one in every:
        if not _NAME.fullmatch(one.name):
            known = ", ".join(f"PROJECT-{stage}" for stage in STAGES[1:])
            yield (
                one.file,
                "",
                f"expected a file named {known} or registry, PROJECT of 2 to 10 small letters and digits: its name says who may deploy it",
            )
        elif one.name not in built:
            yield one.file, "", "it was not built: az bicep build-params says why"
    for name, one in of.items():
        if name not in built:
            continue
        given = built[name]
        called = f"{given.get('project')}-{given.get('stage')}"
        if called != name:
            yield (
                one.file,
                "stage",
                f"it is about {called}: its name has to be {called}.bicepparam, by which it is reviewed and deployed",
            )
        if one.stage != "dev":
            for key in _PERSONAL:
                if given.get(key):
                    yield (
                        one.file,
                        key,
                        f"has to be empty: persons work in dev, {one.stage} is changed by its pipeline only",
                    )
        if one.stage == "prod" and f"{given.get('project')}-dev" not in of:
            yield (
                one.file,
                "project",
                f"there is no {given.get('project')}-dev: a project has a place to work beside the one that serves",
            )
    yield from _shared(built, of)


def _shared(built: Mapping[str, Mapping[str, Any]], of: Mapping[str, Environment]) -> Iterator[tuple[str, str, str]]:
    """What one project's environments must have in common, and what they must not."""
    holders: dict[str, tuple[str, str]] = {}
    registries: dict[object, str] = {}
    for name in sorted(of, key=lambda name: (_order(of[name].stage), name)):
        given = built.get(name, {})
        for key in _PRINCIPALS:
            principal = str(given.get(key) or "").casefold()
            if not principal:
                continue
            if (before := holders.setdefault(principal, (name, key))) != (name, key):
                yield (
                    of[name].file,
                    key,
                    f"{before[0]} has the same one as {before[1]}: each environment has its own, or dev could change prod",
                )
        registry = json.dumps(given.get("registry"), sort_keys=True).casefold()
        project = given.get("project")
        if registries.setdefault(project, registry) != registry:
            yield (
                of[name].file,
                "registry",
                f"differs from that of {project}'s other environments: what dev publishes would not reach it",
            )


def persons(assignments: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    """Who has a role in the environment's resource group or below, and is no service principal."""
    group = re.compile(rf"/resourceGroups/rg-{re.escape(name)}(/|$)", re.IGNORECASE)
    return sorted(
        f"{one.get('principalName') or one.get('principalId')} ({one.get('principalType')}): "
        f"{one.get('roleDefinitionName')} on {one.get('scope')}"
        for one in assignments
        if one.get("principalType") != "ServicePrincipal" and group.search(str(one.get("scope")))
    )


def _place(root: Path, file: str, key: str) -> str:
    """The line of a parameter, as far as the file has one."""
    lines = (root / file).read_text(encoding="utf-8").splitlines()
    found = [number for number, line in enumerate(lines, 1) if key and re.match(rf"param\s+{key}\b", line)]
    return f"{file}:{found[0]}:1" if found else f"{file}:1:1"


def _values(path: Path) -> dict[str, Any]:
    parameters = json.loads(path.read_text(encoding="utf-8"))["parameters"]
    return {key: one.get("value") for key, one in parameters.items()}


def _git(*arguments: str) -> str:
    return subprocess.run(["git", "-C", str(HERE), *arguments], check=True, capture_output=True, text=True).stdout  # noqa: S603, S607


def main(arguments: Sequence[str]) -> int:
    root = HERE.parents[1]
    every = [named(path, root) for path in sorted(FILES.glob("*.bicepparam"))]
    match arguments:
        case ["changed", base, *stage]:
            paths = _git("diff", "--name-only", "--no-relative", base, "HEAD").splitlines()
            found = concerned(paths, every)
            print(
                " ".join(one.file for one in found if one.stage in stage)
                if stage
                else json.dumps([one._asdict() for one in found])
            )
            return 0
        case ["check", folder]:
            built = {path.stem: _values(path) for path in sorted(Path(folder).glob("*.json"))}
            wrong = [
                f"{_place(root, file, key)}: {f'{key} ' if key else ''}{words}"
                for file, key, words in problems(built, every)
            ]
            print("\n".join(wrong) or f"{len(every)} environments, no problem")
            return 1 if wrong else 0
        case ["persons", name]:
            who = persons(json.load(sys.stdin), name)
            print("\n".join(who) or f"{name}: nobody but service principals has a role here")
            return 1 if who and not name.endswith("-dev") else 0
        case _:
            print(__doc__)
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
