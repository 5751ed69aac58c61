"""infra/workspace beside the code and the pipelines: the judge finds what it reads, and an environment is made from main only.

The templates themselves are read in tests/infra.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from shared.cloud import counts

ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT / "infra" / "workspace"
GITHUB = ROOT / "samples" / "ci" / "github-environment.yml"
AZURE = ROOT / "samples" / "ci" / "azure-pipelines-environment.yml"

_spec = importlib.util.spec_from_file_location("environments", HERE / "environments.py")
assert _spec
assert _spec.loader
environments = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(environments)


def copied(folder):
    """The workspace's folder, as somebody has it who changes it."""
    shutil.copytree(HERE, folder / "infra" / "workspace", ignore=shutil.ignore_patterns("__pycache__"))
    return folder / "infra" / "workspace"


def asked(there, *arguments, said=""):
    return subprocess.run(
        [sys.executable, there / "environments.py", *arguments], input=said, capture_output=True, text=True, check=False
    )


def test_a_change_concerns_its_own_environment_and_a_template_all_of_them_dev_before_prod(tmp_path):
    there = copied(tmp_path)

    def git(*arguments):
        who = ("-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false")
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


DAY = (datetime(2026, 11, 24, tzinfo=UTC), datetime(2026, 11, 25, tzinfo=UTC))
TRAFFIC = counts.query("e", DAY, []).split(" |", 1)[0]


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


def test_the_commands_of_the_readme_name_what_is_there():
    told = (HERE / "README.md").read_text()
    assert [one for one in re.findall(r"infra/workspace/[\w./-]+\.\w+", told) if not (ROOT / one).exists()] == []
