"""The environments of infra/workspace: their files and templates agree, prod lets nobody in, and the service may what it asks for."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from tests.infra.bicep import File, parameters_of, read, text

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "infra" / "workspace"
TEMPLATES = sorted(HERE.rglob("*.bicep"))
FILES = sorted(HERE.glob("environments/*.bicepparam"))
GUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
ASSIGNMENT = "Microsoft.Authorization/roleAssignments"

_spec = importlib.util.spec_from_file_location("environments", HERE / "environments.py")
assert _spec
assert _spec.loader
environments = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(environments)

BUILT = {path.stem: parameters_of(path) for path in FILES}
EVERY = [environments.named(path, ROOT) for path in FILES]


def template(name: str) -> File:
    return read(HERE / name)


def first(pattern, said):
    """What the group of a pattern finds first."""
    return re.findall(pattern, said)[0]


# --- What holds of all environments together.


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_gives_what_its_template_asks_for(path):
    known = read((path.parent / first(r"(?m)^using '(.*)'$", path.read_text())).resolve()).parameters
    given = parameters_of(path)
    assert set(given) <= set(known)
    assert {one.name for one in known.values() if one.required} <= set(given)
    assert all(value in known[name].allowed for name, value in given.items() if known[name].allowed)


def test_every_module_is_used():
    used = {(path.parent / one.what).resolve() for path in TEMPLATES for one in read(path).modules.values()}
    assert [path.name for path in HERE.glob("modules/*.bicep") if path not in used] == []


def test_the_shipped_environments_are_without_problem_and_each_project_has_a_prod():
    assert list(environments.problems(BUILT, EVERY)) == []
    projects = {values["project"] for values in BUILT.values() if "project" in values}
    assert projects
    assert [one for project in projects for one in (f"{project}-dev", f"{project}-prod") if one not in BUILT] == []


def test_dev_and_prod_share_the_registry_that_is_made():
    made = BUILT["registry"]["name"]
    group = template("registry.bicep").resources["group"].body["name"].replace("${name}", made)
    for name in ("fraud-dev", "fraud-prod"):
        shared = BUILT[name]["registry"]
        assert (shared["name"], shared["resourceGroup"]) == (made, group)
        told = (HERE / "README.md").read_text()
        assert f"--registry-name {made}" in told
        assert f"--workspace-name mlw-{name} --resource-group rg-{name}" in told


DEV_PIPELINE = BUILT["fraud-dev"]["pipelinePrincipalId"]


@pytest.mark.parametrize(
    ("name", "changed", "place", "words"),
    [
        ("fraud-prod", {"dataScientists": ["one"]}, "dataScientists", "persons work in dev"),
        ("fraud-prod", {"computeInstances": [{"name": "sato"}]}, "computeInstances", "persons work in dev"),
        ("fraud-test", {"stage": "test", "dataScientists": ["a"], "pipelinePrincipalId": "t"}, "dataScientists", "persons"),
        ("fraud-prod", {"pipelinePrincipalId": DEV_PIPELINE.upper()}, "pipelinePrincipalId", "fraud-dev has the same one"),
        ("fraud-prod", {"switchyardPrincipalId": DEV_PIPELINE}, "switchyardPrincipalId", "each environment has its own"),
        ("fraud-dev", {"stage": "prod"}, "stage", "about fraud-prod"),
        ("churn-prod", {"project": "churn", "pipelinePrincipalId": "c"}, "project", "no churn-dev"),
        ("fraud-prod", {"registry": {"name": "another"}}, "registry", "would not reach it"),
        ("fraud-staging", {"stage": "staging"}, "", "expected a file named PROJECT-dev"),
        ("x;y-prod", {"project": "x;y"}, "", "expected a file named PROJECT-dev"),
    ],
)  # fmt: skip
def test_a_file_that_prod_or_its_project_cannot_have_is_told(name, changed, place, words):
    like = BUILT.get(name, BUILT["fraud-prod"] | {"switchyardPrincipalId": ""})
    new = environments.Environment(name, name.rsplit("-", 1)[-1], f"{name}.bicepparam")
    told = environments.problems(BUILT | {name: like | changed}, EVERY if name in BUILT else [*EVERY, new])
    assert [(key, words in said) for file, key, said in told if name in file] == [(place, True)]


def test_check_names_file_and_line(tmp_path):
    there = tmp_path / "infra" / "workspace"
    shutil.copytree(HERE, there)
    changed = there / "environments" / "fraud-prod.bicepparam"
    added = "param computeInstances = [\n  {\n    name: 'sato'\n    objectId: 'one'\n  }\n]\n"
    changed.write_text(changed.read_text() + added)
    (tmp_path / "built").mkdir()
    for path in (there / "environments").glob("*.bicepparam"):
        made = {"parameters": {key: {"value": value} for key, value in parameters_of(path).items()}}
        (tmp_path / "built" / f"{path.stem}.json").write_text(json.dumps(made))
    answer = subprocess.run(
        [sys.executable, there / "environments.py", "check", tmp_path / "built"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    line = changed.read_text().splitlines().index(added.splitlines()[0]) + 1
    place = f"infra/workspace/environments/fraud-prod.bicepparam:{line}:1"
    assert answer.returncode == 1
    assert answer.stdout.startswith(f"{place}: computeInstances has to be empty")
    assert len(answer.stdout.splitlines()) == 1


def test_the_stages_are_those_of_the_templates():
    assert template("main.bicep").parameters["stage"].allowed == environments.STAGES[1:]
    assert template("pipeline.bicep").parameters["stage"].allowed == environments.STAGES


# --- Roles.


def roles_by_name(file: File):
    """Every role that has a name in a template: as a variable, as a key of one, or in a comment."""
    for name, value in file.variables.items():
        for key, guid in (value if isinstance(value, dict) else {name: value}).items():
            if isinstance(guid, str) and re.fullmatch(GUID, guid):
                yield re.sub(r"\W", "", key).casefold(), guid
    for guid, name in re.findall(rf"'({GUID})' // (.+)", text(file.root)):
        yield re.sub(r"\W", "", name).casefold(), guid


def assignments(path):
    """Of each resource that gives roles: the principal, what kind it is, what the roles are on, and their names as they stand there."""
    for name, block in read(path).resources.items():
        if block.type == ASSIGNMENT:
            said, given = text(block.node), block.body["properties"]
            listed = re.search(r"for \w+ in \[(.*?)\]", said)
            one = r"'([^']+)'|(\w+)" if listed else r"roles\['([^']+)'\]|, (\w+)\)\n"
            roles = {quoted or bare for quoted, bare in re.findall(one, listed[1] if listed else said)}
            yield name, given["principalId"], given["principalType"], block.body.get("scope"), roles


def test_the_service_has_the_roles_that_its_code_asks_for_and_no_other():
    code = {path.name: path.read_text() for path in (ROOT / "shared" / "cloud").glob("*.py")}
    asked = {
        name: set(re.findall(r"the role '([^']+)' on the (?:workspace|container)", said)) for name, said in code.items()
    }
    wanted = set().union(*asked.values())
    assert len(wanted) > 3
    given = {
        on: roles
        for _, who, _, on, roles in assignments(HERE / "modules/access.bicep")
        if who == "switchyardPrincipalId"
    }
    assert set().union(*given.values()) == wanted
    assert given["workspace"] == asked["azureml.py"] | asked["counts.py"]
    assert given["analytics"] == asked["logs.py"]
    assert given["storage"] == asked["blobs.py"]


def test_a_person_gets_no_role_but_as_a_member_of_a_group_that_main_lets_into_dev_only():
    for path in TEMPLATES:
        for name, who, kind, _, _ in assignments(path):
            assert kind == ("Group" if who == "id" else "ServicePrincipal"), (path.name, name)
    main, refuses = template("main.bicep"), text(template("modules/refuses.bicep").root)
    passed = main.modules["refuses"].body["params"]
    assert passed["personsOutsideDev"] == "stage == 'dev' ? [] : concat(dataScientists, computeInstances)"
    assert main.modules["refuses"].condition == ""
    assert "@maxLength(0)\nparam personsOutsideDev array\n" in refuses
    assert "@allowed([false])\nparam closedWithoutSubnet bool\n" in refuses
    takers = {name: one.body["params"] for name, one in main.modules.items() if name != "refuses"}
    persons = {name for name, given in takers.items() if "dataScientists" in given.values()}
    instances = {name for name, given in takers.items() if "computeInstances" in given.values()}
    assert (persons, instances) == ({"access", "registryAccess"}, {"compute"})


def test_a_role_has_one_name_and_one_id_in_all_templates_of_the_house():
    files = [read(path) for path in (ROOT / "infra").rglob("*.bicep")]
    found = sorted({one for file in files for one in roles_by_name(file)})
    assert len(found) > 20
    assert [(one, other) for one, other in pairwise(found) if one[0] == other[0]] == []
    assert [one for one, other in pairwise(sorted(guid for _, guid in found)) if one == other] == []


def test_the_pipeline_can_give_the_roles_of_the_templates_and_no_other_and_only_dev_to_persons():
    of = dict(one for path in TEMPLATES for one in roles_by_name(read(path)))
    outside = ("pipeline.bicep", "pipeline-identities.bicep", "pipeline-registry.bicep", "registry-access.bicep")
    inside = [path for path in TEMPLATES if path.name not in outside]
    needed = {
        of[re.sub(r"\W", "", role).casefold()] for path in inside for *_, roles in assignments(path) for role in roles
    }
    pipeline, registry = template("pipeline.bicep"), template("modules/pipeline-registry.bicep")
    assert set(pipeline.variables["given"]) == needed
    assert registry.variables["given"] == "stage == 'dev' ? '${azureMLRegistryUser}, ${reader}' : reader"
    for file in (pipeline, registry):
        said = file.variables
        assert said["whom"] == r"stage == 'dev' ? '\'ServicePrincipal\', \'Group\'' : '\'ServicePrincipal\''"
        assert re.fullmatch(
            r"@Request\[\S+RoleDefinitionId\] ForAnyOfAnyValues:GuidEquals \{\$\{.*given.*\}\}"
            r" AND @Request\[\S+PrincipalType\] ForAnyOfAnyValues:StringEqualsIgnoreCase \{\$\{whom\}\}",
            said["asked"],
        )
        assert "roleAssignments/write\\'})) OR (${asked})) AND " in said["condition"]
        assert file.resources["assigns"].body["properties"]["condition"] == "condition"
    main = template("main.bicep").modules["registryAccess"].body["params"]
    assert main["publishes"] == "stage == 'dev'"
    role = template("modules/registry-access.bicep").variables["pipelineRole"]
    assert role == "publishes ? 'AzureML Registry User' : 'Reader'"


LEAVE = {
    "policyDefinitions": "resourcePolicyContributor",
    "policyAssignments": "resourcePolicyContributor",
    "roleAssignments": "roleBasedAccessControlAdministrator",
    "locks": "lock",
}


def test_the_pipeline_may_make_all_that_the_templates_hold():
    """Contributor makes everything but what is of Microsoft.Authorization; and nobody who locks there can unlock."""
    inside = [read(path) for path in TEMPLATES if not path.name.startswith("pipeline")]
    kinds = {block.type for file in inside for block in file.resources.values()}
    needed = {LEAVE[kind.split("/")[1]] for kind in kinds if kind.startswith("Microsoft.Authorization/")}
    pipeline = template("pipeline.bicep")
    deploys = [
        one for one in pipeline.resources.values() if one.type == ASSIGNMENT and "deployPrincipalId" in text(one.node)
    ]
    given = " ".join(one.body["properties"]["roleDefinitionId"] for one in deploys)
    assert [role for role in sorted(needed | {"contributor"}) if not re.search(rf"\b{role}\b", given)] == []
    (permission,) = pipeline.resources["lock"].body["properties"]["permissions"]
    assert permission == {"actions": ["Microsoft.Authorization/locks/read", "Microsoft.Authorization/locks/write"]}


def test_the_pipeline_trusts_one_environment_of_the_repository():
    given = text(template("pipeline.bicep").root)
    assert "param subject string = 'repo:${repository}:environment:workspaces-${stage}'\n" in given
    assert "param planSubject string = 'repo:${repository}:environment:workspaces-${stage}-plan'\n" in given


def test_the_readme_tells_every_role():
    told = (HERE / "README.md").read_text()
    named = [template(f"modules/{name}.bicep").variables["roles"] for name in ("access", "registry-access")]
    names = {role for roles in named for role in roles}
    assert len(names) > 6
    assert [name for name in sorted(names) if name not in told] == []


# --- What is set.


def test_the_policy_is_assigned_with_what_it_asks_for_and_may_do_what_it_does():
    policy = json.loads((HERE / "policies/endpoint-logs.json").read_text())
    endpoints = template("modules/endpoint-logs.bicep")
    assignment = endpoints.resources["assignment"].body
    assert set(assignment["properties"]["parameters"]) == set(policy["parameters"])
    (role,) = policy["policyRule"]["then"]["details"]["roleDefinitionIds"]
    assert role.rsplit("/", 1)[-1] == endpoints.variables["logAnalyticsContributor"]
    main = template("main.bicep")
    assert "loadJsonContent('policies/endpoint-logs.json')" in main.resources["endpointLogs"].body["properties"]
    assert main.modules["endpointLogsAssignment"].body["params"]["definitionId"] == "endpointLogs.id"
    for name in ("github-environment.yml", "azure-pipelines-environment.yml"):
        pipeline = (ROOT / "samples" / "ci" / name).read_text()
        assert re.findall(r"--policy-assignment (\S+)", pipeline) == [assignment["name"]]


SET = [
    ("stores", "storage", "properties.allowSharedKeyAccess", False),
    ("stores", "storage", "properties.allowBlobPublicAccess", False),
    ("stores", "storage", "properties.minimumTlsVersion", "TLS1_2"),
    ("stores", "vault", "properties.enableRbacAuthorization", True),
    ("stores", "vault", "properties.enablePurgeProtection", True),
    ("stores", "images", "properties.adminUserEnabled", False),
    ("stores", "images", "properties.anonymousPullEnabled", False),
    ("workspace", "workspace", "name", "mlw-${name}"),
    ("workspace", "workspace", "properties.systemDatastoresAuthMode", "Identity"),
    ("workspace", "workspace", "properties.v1LegacyMode", False),
    ("workspace", "workspace", "identity.type", "UserAssigned"),
    ("compute", "cluster", "name", "cpu-cluster"),
    ("compute", "cluster", "properties.disableLocalAuth", True),
    ("compute", "cluster", "properties.properties.scaleSettings.minNodeCount", 0),
    ("compute", "cluster", "properties.properties.remoteLoginPortPublicAccess", "Disabled"),
    ("compute", "instance", "properties.disableLocalAuth", True),
    ("compute", "instance", "properties.properties.sshSettings.sshPublicAccess", "Disabled"),
    ("compute", "instance", "properties.properties.idleTimeBeforeShutdown", "instanceIdle"),
    ("compute", "instance", "properties.properties.personalComputeInstanceSettings.assignedUser.objectId", "one.objectId"),
    ("logs", "analytics", "properties.features.enableLogAccessUsingOnlyResourcePermissions", True),
    ("registry", "analytics", "properties.features.enableLogAccessUsingOnlyResourcePermissions", True),
]  # fmt: skip


@pytest.mark.parametrize(("module", "symbol", "path", "expected"), SET)
def test_nothing_stands_open_and_nothing_costs_idle(module, symbol, path, expected):
    found = template(f"modules/{module}.bicep").resources[symbol].body
    for step in path.split("."):
        found = found[step]
    assert found == expected


def test_names_of_compute_instances_fit():
    assert template("modules/compute.bicep").resources["instance"].body["name"] == "ci-${project}-${one.name}"
    names = [f"ci-{of['project']}-{one['name']}" for of in BUILT.values() for one in of.get("computeInstances", [])]
    assert names
    assert [name for name in names if not re.fullmatch(r"[a-z][a-z0-9-]{2,23}", name)] == []
