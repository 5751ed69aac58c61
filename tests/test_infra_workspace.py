"""The environments of infra/workspace: their files and templates agree, prod lets nobody in, and the judge finds what it reads."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from shared.cloud import azureml, counts

ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT / "infra" / "workspace"
TEMPLATES = sorted([*HERE.glob("*.bicep"), *HERE.glob("modules/*.bicep")])
FILES = sorted(HERE.glob("environments/*.bicepparam"))
GITHUB = ROOT / "samples" / "ci" / "github-environment.yml"
AZURE = ROOT / "samples" / "ci" / "azure-pipelines-environment.yml"
GUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"

_spec = importlib.util.spec_from_file_location("environments", HERE / "environments.py")
assert _spec
assert _spec.loader
environments = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(environments)


def short(path):
    return path.relative_to(ROOT).as_posix()


def first(pattern, text):
    """What the group of a pattern finds first."""
    return re.findall(pattern, text)[0]


def code(path):
    """A template without its comments."""
    return re.sub(r"(?m)(^|\s)//[^\n]*", "", path.read_text(encoding="utf-8"))


# --- Bicep, as far as these files go: declarations of parameters, and literal values.

_PARAM = re.compile(r"(?m)^((?:@[^\n]*\n)*)param (\w+) ([\w\[\]]+)(?: = (.*))?$")


def declared(path):
    """Each parameter of a template: its decorators, its type and its default."""
    return {name: (marks, kind, default) for marks, name, kind, default in _PARAM.findall(path.read_text())}


def literal(text: str) -> Any:
    """A value of a parameter file."""
    value, rest = _value(re.findall(r"'(?:[^'\\]|\\.)*'|-?\d+|\w+|[\[\]{}:]", text))
    assert rest == []
    return value


def _value(tokens: list[str]) -> tuple[Any, list[str]]:
    head, *rest = tokens
    if head == "[":
        listed = []
        while rest[0] != "]":
            one, rest = _value(rest)
            listed.append(one)
        return listed, rest[1:]
    if head == "{":
        mapped = {}
        while rest[0] != "}":
            key, colon, *rest = rest
            assert colon == ":"
            mapped[key], rest = _value(rest)
        return mapped, rest[1:]
    if head.startswith("'"):
        return head[1:-1].replace("\\'", "'"), rest
    return {"true": True, "false": False, "null": None}[head] if head.isalpha() else int(head), rest


def given(path: Path) -> dict[str, Any]:
    """The values of a parameter file, as `az bicep build-params` makes them."""
    return {
        name: literal(value)
        for name, value in re.findall(r"(?ms)^param (\w+) = (.*?)(?=\n\n|\nparam |\n//|\Z)", path.read_text())
    }


def using(path):
    return (path.parent / first(r"(?m)^using '(.*)'$", path.read_text())).resolve()


def resources(path):
    """Each resource of a template with its body, by its name there."""
    found = re.split(r"(?m)^resource (\w+) '([^']+)' (existing )?= ", code(path))[1:]
    return {name: (kind, body) for name, kind, old, body in zip(*[iter(found)] * 4, strict=True) if not old}


BUILT = {path.stem: given(path) for path in FILES}
EVERY = [environments.named(path, ROOT) for path in FILES]


# --- Files and templates.


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_gives_what_its_template_asks_for(path):
    asked, values = declared(using(path)), given(path)
    assert [name for name in values if name not in asked] == []
    assert [name for name, (_, _, default) in asked.items() if not default and name not in values] == []
    kinds: dict[str, Any] = {
        "string": str,
        "int": int,
        "bool": bool,
        "array": list,
        "object": dict,
        "registryType": dict,
    }
    for name, value in values.items():
        marks, kind, _ = asked[name]
        assert isinstance(value, kinds[kind]), name
        if allowed := re.search(r"@allowed\((.*)\)", marks):
            assert value in re.findall(r"'([^']*)'", allowed[1])
        for bound, size in re.findall(r"@(\w+)\((-?\d+)\)", marks):
            measured = value if isinstance(value, int) else len(value)
            assert measured >= int(size) if bound.startswith("min") else measured <= int(size), (name, bound)


@pytest.mark.parametrize("path", TEMPLATES, ids=short)
def test_modules_get_what_they_ask_for_and_give_what_is_taken(path):
    text = code(path)
    for name, where, body in re.findall(r"(?ms)^module (\w+) '([^']+)' = (.*?)^\}", text):
        if where.startswith("br/public:"):
            assert re.fullmatch(r"br/public:avm/[\w/-]+:\d+\.\d+\.\d+", where)
            continue
        module = path.parent / where
        asked = declared(module)
        passed = re.findall(r"(?m)^    (\w+):", body[body.index("params: {") :])
        assert sorted(passed) == sorted(asked), name
        taken = set(re.findall(rf"\b{name}\.outputs\.(\w+)", text))
        assert taken <= set(re.findall(r"(?m)^output (\w+) ", module.read_text())), name


@pytest.mark.parametrize("path", TEMPLATES, ids=short)
def test_nothing_is_declared_in_vain(path):
    text = code(path)
    names = re.findall(r"(?m)^(?:param|var|type) (\w+)", text)
    assert [name for name in names if len(re.findall(rf"\b{name}\b", text)) < 2] == []


def test_every_template_is_used():
    used = {
        (path.parent / where).resolve()
        for path in TEMPLATES
        for where in re.findall(r"(?m)^module \w+ '([^']+)'", code(path))
    }
    assert [short(path) for path in TEMPLATES if path.parent.name == "modules" and path not in used] == []


# --- What holds of all environments together.


def test_the_shipped_environments_are_without_problem_and_each_project_has_a_prod():
    assert list(environments.problems(BUILT, EVERY)) == []
    projects = {values["project"] for values in BUILT.values() if "project" in values}
    assert projects
    assert [one for project in projects for one in (f"{project}-dev", f"{project}-prod") if one not in BUILT] == []


def test_dev_and_prod_share_the_registry_that_is_made():
    made = BUILT["registry"]
    group = first(r"(?m)^  name: '(rg-.*)'$", code(HERE / "registry.bicep")).replace("${name}", made["name"])
    for name in ("fraud-dev", "fraud-prod"):
        assert BUILT[name]["registry"]["name"] == made["name"]
        assert BUILT[name]["registry"]["resourceGroup"] == group


DEV_PIPELINE = BUILT["fraud-dev"]["pipelinePrincipalId"]


@pytest.mark.parametrize(
    ("name", "changed", "place", "words"),
    [
        ("fraud-prod", {"dataScientists": ["one"]}, "dataScientists", "persons work in dev"),
        (
            "fraud-prod",
            {"computeInstances": [{"name": "sato", "objectId": "one"}]},
            "computeInstances",
            "persons work in dev",
        ),
        (
            "fraud-test",
            {"stage": "test", "dataScientists": ["one"], "pipelinePrincipalId": "t"},
            "dataScientists",
            "persons",
        ),
        (
            "fraud-prod",
            {"pipelinePrincipalId": DEV_PIPELINE.upper()},
            "pipelinePrincipalId",
            "fraud-dev has the same one",
        ),
        (
            "fraud-prod",
            {"switchyardPrincipalId": DEV_PIPELINE},
            "switchyardPrincipalId",
            "each environment has its own",
        ),
        ("fraud-dev", {"stage": "prod"}, "stage", "about fraud-prod"),
        ("churn-prod", {"project": "churn", "pipelinePrincipalId": "c"}, "project", "no churn-dev"),
        ("fraud-prod", {"registry": {"name": "another"}}, "registry", "would not reach it"),
        ("fraud-staging", {"stage": "staging"}, "", "expected a file named PROJECT-dev"),
        ("x;y-prod", {"project": "x;y"}, "", "expected a file named PROJECT-dev"),
    ],
)
def test_a_file_that_prod_or_its_project_cannot_have_is_told(name, changed, place, words):
    like = BUILT.get(name, BUILT["fraud-prod"] | {"switchyardPrincipalId": ""})
    every = (
        EVERY
        if name in BUILT
        else [*EVERY, environments.Environment(name, name.rsplit("-", 1)[-1], f"{name}.bicepparam")]
    )
    told = list(environments.problems(BUILT | {name: like | changed}, every))
    assert [(key, words in said) for file, key, said in told if name in file] == [(place, True)]


def copied(folder):
    """The workspace's folder, as somebody has it who changes it."""
    shutil.copytree(HERE, folder / "infra" / "workspace", ignore=shutil.ignore_patterns("__pycache__"))
    return folder / "infra" / "workspace"


def asked(there, *arguments, said=""):
    return subprocess.run(
        [sys.executable, there / "environments.py", *arguments], input=said, capture_output=True, text=True, check=False
    )


def test_check_names_file_and_line(tmp_path):
    there = copied(tmp_path)
    changed = there / "environments" / "fraud-prod.bicepparam"
    changed.write_text(
        changed.read_text() + "param computeInstances = [\n  {\n    name: 'sato'\n    objectId: 'one'\n  }\n]\n"
    )
    (tmp_path / "built").mkdir()
    for path in (there / "environments").glob("*.bicepparam"):
        made = {"parameters": {key: {"value": value} for key, value in given(path).items()}}
        (tmp_path / "built" / f"{path.stem}.json").write_text(json.dumps(made))
    answer = asked(there, "check", str(tmp_path / "built"))
    line = changed.read_text().splitlines().index("param computeInstances = [") + 1
    assert answer.returncode == 1
    assert answer.stdout.startswith(
        f"infra/workspace/environments/fraud-prod.bicepparam:{line}:1: computeInstances has to be empty"
    )
    assert len(answer.stdout.splitlines()) == 1


def test_a_change_concerns_its_own_environment_and_a_template_all_of_them_dev_before_prod(tmp_path):
    there = copied(tmp_path)

    def git(*arguments):
        who = (
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@t",
            "-c",
            "commit.gpgsign=false",
            "-c",
            "init.defaultBranch=main",
        )
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    def revision(name):
        return subprocess.run(
            ["git", "rev-parse", name], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.strip()

    def concerned(base="HEAD~1"):
        return [one["name"] for one in json.loads(asked(there, "changed", base).stdout)]

    git("init", "-q")
    for step in (
        lambda: None,
        lambda: (there / "environments" / "churn-dev.bicepparam").write_text("using '../main.bicep'\n"),
        lambda: (there / "modules" / "stores.bicep").write_text("//\n"),
        lambda: (there / "README.md").write_text("x"),
        (there / "environments" / "churn-dev.bicepparam").unlink,
    ):
        step()
        git("add", "-A")
        git("commit", "-q", "-m", "step")
    assert concerned() == []  # what is gone is left alone
    assert concerned("HEAD~2") == []  # nothing of a readme is deployed
    git("checkout", "-q", "HEAD~2")
    assert concerned() == ["registry", "churn-dev", "fraud-dev", "fraud-prod"]
    git("checkout", "-q", "HEAD~1")
    assert concerned() == ["churn-dev"]

    def stepped(script, **given):
        """A step of a pipeline, as its runner runs it: what it leaves for the next."""
        left = tmp_path / "left"
        left.unlink(missing_ok=True)
        environment = {"PATH": os.environ["PATH"], "GITHUB_OUTPUT": str(left), **given}  # noqa: TID251
        done = subprocess.run(
            ["bash", "-e", "-c", script], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
        )
        return left.read_text() if left.exists() else done.stdout

    (github,) = [one["run"] for one in loaded(GITHUB)["jobs"]["which"]["steps"] if one.get("id") == "changed"]
    for before in (revision("HEAD~1"), "0" * 40):  # the first push of a branch has nothing before it
        said = stepped(github, BEFORE=before).removeprefix("environments=")
        assert [one["name"] for one in json.loads(said)] == ["churn-dev"]
    (azure,) = [one["bash"] for one in loaded(AZURE)["stages"][0]["jobs"][0]["steps"] if one.get("name") == "files"]
    left = re.findall(
        r"(?m)^##vso\[task.setvariable variable=(\w+);isOutput=true\](.*)$", stepped(azure, BUILD_REASON="IndividualCI")
    )
    assert left == [
        ("registry", ""),
        ("dev", "infra/workspace/environments/churn-dev.bicepparam"),
        ("test", ""),
        ("prod", ""),
    ]


@pytest.mark.parametrize(
    ("name", "kind", "scope", "code"),
    [
        ("fraud-prod", "User", "/subscriptions/s/resourceGroups/rg-fraud-prod", 1),
        (
            "fraud-prod",
            "Group",
            "/subscriptions/s/resourcegroups/RG-Fraud-Prod/providers/Microsoft.Storage/storageAccounts/x",
            1,
        ),
        ("fraud-prod", "ServicePrincipal", "/subscriptions/s/resourceGroups/rg-fraud-prod", 0),
        ("fraud-prod", "User", "/subscriptions/s/resourceGroups/rg-fraud-prod-app", 0),
        ("fraud-dev", "User", "/subscriptions/s/resourceGroups/rg-fraud-dev", 0),
    ],
)
def test_a_person_with_a_role_in_prod_is_named_after_each_deployment(name, kind, scope, code):
    one = {
        "principalName": "sato@contoso.com",
        "principalType": kind,
        "roleDefinitionName": "Contributor",
        "scope": scope,
    }
    answer = asked(HERE, "persons", name, said=json.dumps([one]))
    assert answer.returncode == code
    assert (f"sato@contoso.com ({kind}): Contributor on {scope}" in answer.stdout) is (code == 1 or name == "fraud-dev")


# --- Roles.


def principals(path):
    """Who gets a role, by resource: the principal, its type, what it is on, and the roles as they stand there."""
    for name, (kind, body) in resources(path).items():
        if kind.startswith("Microsoft.Authorization/roleAssignments@"):
            who = first(r"principalId: (\S+)", body)
            listed = re.search(r"for \w+ in \[(.*?)\]", body)
            roles = (
                re.findall(r"'([^']+)'|(\w+)", listed[1])
                if listed
                else re.findall(r"roles\['([^']+)'\]|, (\w+)\)\n", body)
            )
            on = re.search(r"(?m)^ +scope: (\w+)", body)
            yield (
                name,
                who,
                first(r"principalType: '(\w+)'", body),
                on and on[1],
                {one or other for one, other in roles},
            )


def test_the_service_has_the_roles_that_its_code_asks_for_and_no_other():
    said = "".join(path.read_text() for path in (ROOT / "shared" / "cloud").glob("*.py"))
    wanted = set(re.findall(r"the role '([^']+)' on the (?:workspace|container)", said))
    assert len(wanted) > 3
    access = list(principals(HERE / "modules" / "access.bicep"))
    of_service = [(on, roles) for _, who, _, on, roles in access if who == "switchyardPrincipalId"]
    assert set().union(*(roles for _, roles in of_service)) == wanted
    assert dict(of_service)["workspace"] == set(re.findall(r"'([^']+)'", counts._ROLE + azureml.ROLE))


def test_a_person_gets_no_role_but_as_a_member_of_a_group_that_main_lets_into_dev_only():
    for path in TEMPLATES:
        for name, who, kind, _, _ in principals(path):
            assert kind == ("Group" if who == "id" else "ServicePrincipal"), (path.name, name)
        assert "'User'" not in code(path)
    main = code(HERE / "main.bicep")
    assert "personsOutsideDev: stage == 'dev' ? [] : concat(dataScientists, computeInstances)" in main
    refuses = declared(HERE / "modules" / "refuses.bicep")
    assert "@maxLength(0)" in refuses["personsOutsideDev"][0]
    assert "@allowed([false])" in refuses["closedWithoutSubnet"][0]
    assert re.findall(r"(\w+): dataScientists\n", main) == ["persons", "persons"]
    assert re.findall(r"(\w+): computeInstances\n", main) == ["instances"]


def roles_by_name(paths):
    """Every role that has a name in these templates: as a key, or as a variable."""
    for path in paths:
        for key, name, guid in re.findall(rf"(?m)^(?:  '?([\w ()]+?)'?:|var (\w+) =) '({GUID})'", path.read_text()):
            yield re.sub(r"\W", "", key or name).casefold(), guid
        for guid, name in re.findall(rf"'({GUID})' // (.+)", path.read_text()):
            yield re.sub(r"\W", "", name).casefold(), guid


def test_a_role_has_one_name_and_one_id_in_all_templates_of_the_house():
    found = sorted(set(roles_by_name([*TEMPLATES, *ROOT.glob("infra/modules/*.bicep")])))
    assert len(found) > 10
    assert [(one, other) for one, other in pairwise(found) if one[0] == other[0]] == []
    ids = sorted(guid for _, guid in found)
    assert [one for one, other in pairwise(ids) if one == other] == []


def test_the_pipeline_can_give_the_roles_of_the_templates_and_no_other_and_only_dev_to_persons():
    of = {name: guid for path in TEMPLATES for name, guid in roles_by_name([path])}
    outside = ("pipeline.bicep", "pipeline-identities.bicep", "pipeline-registry.bicep", "registry-access.bicep")
    inside = [path for path in TEMPLATES if path.name not in outside]
    needed = {
        of[re.sub(r"\W", "", role).casefold()] for path in inside for *_, roles in principals(path) for role in roles
    }
    pipeline = code(HERE / "pipeline.bicep")
    assert set(re.findall(GUID, first(r"(?s)var given = \[(.*?)\]", pipeline))) == needed
    there = code(HERE / "modules" / "pipeline-registry.bicep")
    assert "var given = stage == 'dev' ? '${azureMLRegistryUser}, ${reader}' : reader" in there
    for text in (pipeline, there):
        assert r"var whom = stage == 'dev' ? '\'ServicePrincipal\', \'Group\'' : '\'ServicePrincipal\''" in text
        assert re.search(
            r"var asked = '@Request\[.*RoleDefinitionId\].*\{\$\{.*given.*\}\} AND @Request\[.*PrincipalType\].*\{\$\{whom\}\}'",
            text,
        )
        assigns = resources(
            HERE / "pipeline.bicep" if text is pipeline else HERE / "modules" / "pipeline-registry.bicep"
        )["assigns"][1]
        assert "condition: condition\n" in assigns
    assert "var pipelineRole = publishes ? 'AzureML Registry User' : 'Reader'" in code(
        HERE / "modules" / "registry-access.bicep"
    )
    assert "publishes: stage == 'dev'\n" in code(HERE / "main.bicep")


LEAVE = {
    "policyDefinitions": "resourcePolicyContributor",
    "policyAssignments": "resourcePolicyContributor",
    "roleAssignments": "roleBasedAccessControlAdministrator",
    "locks": "lock",
}


def test_the_pipeline_may_make_all_that_the_templates_hold():
    """Contributor makes everything but what is of Microsoft.Authorization; and nobody who locks there can unlock."""
    inside = [path for path in TEMPLATES if not path.name.startswith("pipeline")]
    kinds = {kind for path in inside for kind, _ in resources(path).values()}
    needed = {LEAVE[kind.split("/")[1].split("@")[0]] for kind in kinds if kind.startswith("Microsoft.Authorization/")}
    given = [body for _, body in resources(HERE / "pipeline.bicep").values() if "deployPrincipalId" in body]
    assert [
        role for role in sorted(needed | {"contributor"}) if not any(re.search(rf"\b{role}\b", one) for one in given)
    ] == []
    unlocking = re.findall(r"'Microsoft.Authorization/locks/(\w+|\*)'", code(HERE / "pipeline.bicep"))
    assert unlocking == ["read", "write"]


# --- What is set.


@pytest.mark.parametrize(
    ("module", "resource", "lines"),
    [
        ("stores", "storage", ["allowSharedKeyAccess: false", "allowBlobPublicAccess: false", "minimumTlsVersion: 'TLS1_2'"]),
        ("stores", "vault", ["enableRbacAuthorization: true", "enablePurgeProtection: true"]),
        ("stores", "images", ["adminUserEnabled: false", "anonymousPullEnabled: false"]),
        ("workspace", "workspace", ["systemDatastoresAuthMode: 'Identity'", "v1LegacyMode: false", "type: 'UserAssigned'"]),
        ("compute", "cluster", ["minNodeCount: 0", "remoteLoginPortPublicAccess: 'Disabled'", "disableLocalAuth: true", "name: 'cpu-cluster'"]),
        ("compute", "instance", ["sshPublicAccess: 'Disabled'", "idleTimeBeforeShutdown: instanceIdle", "disableLocalAuth: true", "objectId: one.objectId"]),
        ("logs", "analytics", ["enableLogAccessUsingOnlyResourcePermissions: true"]),
        ("registry", "analytics", ["enableLogAccessUsingOnlyResourcePermissions: true"]),
    ],
)  # fmt: skip
def test_nothing_stands_open_and_nothing_costs_idle(module, resource, lines):
    _, body = resources(HERE / "modules" / f"{module}.bicep")[resource]
    assert [line for line in lines if not re.search(rf"(?m)^ *{re.escape(line)}$", body)] == []


def test_names_are_those_that_projects_use_and_fit():
    assert "name: 'rg-${name}'" in code(HERE / "main.bicep")
    assert "name: 'mlw-${name}'" in code(HERE / "modules" / "workspace.bicep")
    for values in BUILT.values():
        for one in values.get("computeInstances", []):
            assert re.fullmatch(r"[a-z][a-z0-9-]{2,23}", f"ci-{values['project']}-{one['name']}")


# --- What the judge reads.

POLICY = json.loads((HERE / "policies" / "endpoint-logs.json").read_text())
DETAILS = POLICY["policyRule"]["then"]["details"]


def holds(condition, setting):
    """A condition of Azure Policy, of a diagnostic setting: as far as this one goes."""
    if "allOf" in condition:
        return all(holds(one, setting) for one in condition["allOf"])
    if "anyOf" in condition:
        return any(holds(one, setting) for one in condition["anyOf"])
    if "count" in condition:
        field, where = condition["count"]["field"], condition["count"]["where"]
        assert field == "Microsoft.Insights/diagnosticSettings/logs[*]"
        return sum(holds(where, one) for one in setting["logs"]) >= condition["greaterOrEquals"]
    value = setting.get(condition["field"].rsplit("/", 1)[-1].removeprefix("logs[*]."), "")
    wanted = "/ours" if condition["equals"] == "[parameters('logAnalytics')]" else condition["equals"]
    return str(value).casefold() == wanted.casefold()


TRAFFIC = counts.query("e", (datetime(2026, 11, 24, tzinfo=UTC), datetime(2026, 11, 25, tzinfo=UTC)), []).split(
    " |", 1
)[0]


@pytest.mark.parametrize(
    ("workspace", "log", "enough"),
    [
        ("/ours", {"category": TRAFFIC, "enabled": True}, True),
        ("/ours", {"categoryGroup": "allLogs", "enabled": True}, True),
        ("/ours", {"category": TRAFFIC, "enabled": False}, False),
        ("/ours", {"category": "AmlOnlineEndpointConsoleLog", "enabled": True}, False),
        ("/theirs", {"category": TRAFFIC, "enabled": True}, False),
    ],
)
def test_an_endpoint_is_given_its_setting_unless_it_sends_what_the_judge_reads(workspace, log, enough):
    assert holds(DETAILS["existenceCondition"], {"workspaceId": workspace, "logs": [log]}) is enough


def test_the_policy_is_about_the_endpoints_that_the_judge_reads_and_is_content_with_what_it_makes():
    assert POLICY["policyRule"]["if"] == {"field": "type", "equals": counts._NAMESPACE}
    assert DETAILS["type"] == "Microsoft.Insights/diagnosticSettings"
    template = DETAILS["deployment"]["properties"]["template"]
    (made,) = template["resources"]
    assert made["type"].startswith(counts._NAMESPACE + "/")
    assert holds(DETAILS["existenceCondition"], {"workspaceId": "/ours", "logs": made["properties"]["logs"]})
    assert "AmlOnlineEndpointConsoleLog" not in [one["category"] for one in made["properties"]["logs"]]
    assert set(template["parameters"]) == set(DETAILS["deployment"]["properties"]["parameters"])
    passed = re.findall(r"(?m)^      (\w+): \{", resources(HERE / "modules" / "endpoint-logs.bicep")["assignment"][1])
    assert passed == list(POLICY["parameters"])


def test_the_policy_may_do_what_it_does():
    (role,) = DETAILS["roleDefinitionIds"]
    assert role.rsplit("/", 1)[-1] in code(HERE / "modules" / "endpoint-logs.bicep")
    assert "loadJsonContent('policies/endpoint-logs.json')" in code(HERE / "main.bicep")


# --- The pipelines.


def loaded(path):
    return YAML(typ="safe").load(path.read_text())


@pytest.mark.parametrize("path", [GITHUB, AZURE], ids=lambda path: path.stem)
def test_a_pipeline_has_no_secret_deletes_nothing_and_names_what_is_there(path):
    text = "\n".join(line for line in path.read_text().splitlines() if not line.lstrip().startswith("#"))
    assert re.findall(r"(?i)secrets\.|password|client-secret|creds:|connectionstring", text) == []
    assert re.findall(r"(?i)\bdelete\b|--mode|\bstack\b|\bgroup create\b", text) == []
    named = set(re.findall(r"infra/workspace/[\w./-]+\.(?:bicep|py)\b", text))
    assert named == {f"infra/workspace/{one}" for one in ("main.bicep", "registry.bicep", "environments.py")}
    assert all((ROOT / one).exists() for one in named)
    assert set(re.findall(r"environments\.py (\w+)", text)) == {"check", "changed", "persons"}
    assignment = first(r"(?m)^  name: '(.*)'$", code(HERE / "modules" / "endpoint-logs.bicep"))
    assert re.findall(r"--policy-assignment (\S+)", text) == [assignment]
    assert len(set(re.findall(r"az bicep install --version (\S+)", text))) == 1


def test_on_github_a_pull_request_reads_and_main_deploys_behind_an_environment():
    flow = loaded(GITHUB)
    jobs = flow["jobs"]
    assert flow["permissions"] == {"contents": "read"}
    assert "id-token" not in jobs["which"].get("permissions", {})
    plan, deploy = jobs["plan"], jobs["deploy"]
    assert plan["if"].startswith("github.event_name == 'pull_request' && ")
    assert plan["environment"] == "workspaces-${{ matrix.it.stage }}-plan"
    assert deploy["if"].startswith("github.event_name == 'push' && github.ref == 'refs/heads/main' && ")
    assert deploy["environment"] == "workspaces-${{ matrix.it.stage }}"
    assert deploy["strategy"]["max-parallel"] == 1
    assert deploy["strategy"]["fail-fast"] is True
    assert [name for name, job in jobs.items() if "sub create" in json.dumps(job)] == ["deploy"]
    assert [name for name, job in jobs.items() if "what-if" in json.dumps(job)] == ["plan"]
    for job in jobs.values():
        for step in job["steps"]:
            assert re.search(r"@[0-9a-f]{40}$", step.get("uses", "@" + "0" * 40))
    subjects = code(HERE / "pipeline.bicep")
    assert "'repo:${repository}:environment:workspaces-${stage}'" in subjects
    assert "'repo:${repository}:environment:workspaces-${stage}-plan'" in subjects


def test_on_azure_pipelines_too():
    flow = loaded(AZURE)
    order = [one["name"] for one in flow["parameters"][0]["default"]]
    assert tuple(order) == environments.STAGES
    assert [one["after"][-1] for one in flow["parameters"][0]["default"]] == [
        "which",
        *(f"deploy_{one}" for one in order[:-1]),
    ]
    (each,) = [one for stage in flow["stages"] for one in stage.values() if isinstance(one, list) and len(one) == 2]
    plan, deploy = each
    assert "eq(variables['Build.Reason'], 'PullRequest')" in plan["condition"]
    assert re.findall(r'"azureSubscription": "([^"]+)"', json.dumps(plan)) == ["workspaces-${{ stage.name }}-plan"]
    assert "eq(variables['Build.SourceBranch'], 'refs/heads/main')" in deploy["condition"]
    assert "ne(variables['Build.Reason'], 'PullRequest')" in deploy["condition"]
    (job,) = deploy["jobs"]
    assert job["environment"] == "workspaces-${{ stage.name }}"
    assert re.findall(r'"azureSubscription": "([^"]+)"', json.dumps(deploy)) == ["workspaces-${{ stage.name }}"]
    assert "sub create" not in json.dumps(plan)


def test_the_stages_are_those_of_the_templates():
    for path, name in ((HERE / "main.bicep", environments.STAGES[1:]), (HERE / "pipeline.bicep", environments.STAGES)):
        allowed = first(r"@allowed\(\[(.*?)\]\)\nparam stage ", path.read_text())
        assert tuple(re.findall(r"'(\w+)'", allowed)) == name


# --- What is told.


def test_the_readme_tells_every_role():
    told = (HERE / "README.md").read_text()
    names = {role for path in TEMPLATES for role in re.findall(rf"(?m)^  '?([\w ]+?)'?: '{GUID}'", path.read_text())}
    assert len(names) > 6
    assert [name for name in sorted(names) if name not in told] == []


def test_the_commands_of_the_readme_name_what_is_there():
    told = (HERE / "README.md").read_text()
    assert [one for one in re.findall(r"infra/workspace/[\w./-]+\.\w+", told) if not (ROOT / one).exists()] == []
    prod = BUILT["fraud-prod"]
    assert f"--registry-name {prod['registry']['name']}" in told
    for name in ("fraud-dev", "fraud-prod"):
        assert f"--workspace-name mlw-{name} --resource-group rg-{name}" in told
