"""The templates of infra/, without Azure: each file can be read, its names are there, nothing in it is open.

In an environment of their own: see the Makefile. The compiler itself runs in the pipelines of samples/ci.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.infra.bicep import Expr, File, outputs_used, parameters_of, parse, read, used

ROOT = Path(__file__).resolve().parents[2]
INFRA = ROOT / "infra"
TEMPLATES = sorted(INFRA.rglob("*.bicep"))
ROLE = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

BUILT_IN = {
    "azureMLDataScientist": "f6c7c914-8db3-469d-8ca1-694a8f32e121",
    "communicationAndEmailServiceOwner": "09976791-48a7-449e-bb21-39d1a415f350",
    "durableTaskDataContributor": "0ad04412-c4d5-4796-b79c-f76d14c8d402",
    "eventGridDataSender": "d5a91429-5739-47e2-a06b-3470a27159e7",
    "keyVaultSecretsUser": "4633458b-17de-408a-b874-0445c86b69e6",
    "logAnalyticsDataReader": "3b03c2da-16b3-4a49-8834-0f8130efdd3b",
    "monitoringMetricsPublisher": "3913510d-42f4-4e42-8a64-420c390055eb",
    "monitoringReader": "43d0d8ad-25c7-4714-9337-8ba259a9fe05",
    "storageBlobDataContributor": "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
    "storageBlobDataOwner": "b7e6dc6d-f1e8-4753-8033-0f276bb0955b",
    "storageBlobDataReader": "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1",
    "storageQueueDataContributor": "974c5e8b-45b9-4653-ba55-5f855dd0fb88",
    "storageQueueDataMessageSender": "c6a89b2d-59bc-44d0-9896-0f6e12d7b80a",
    "storageTableDataContributor": "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3",
}
"""Roles of Azure by the names of our variables, from Microsoft's list of built-in roles."""

template = pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.relative_to(INFRA).as_posix())


@template
def test_a_template_can_be_read(path):
    assert read(path).broken == ()


def test_what_cannot_be_read_is_told_by_its_place():
    assert parse("resource a 'x@1' = {\n  name 'b'\n}\n").broken != ()


@template
def test_every_name_is_declared_and_every_declaration_used(path):
    file = read(path)
    names = {name for name, _ in used(file)}
    types = set(re.findall(r"^type (\w+)", path.read_text("utf-8"), re.MULTILINE))
    assert [f"{path.name}:{line}: {name}" for name, line in used(file) if name not in file.declared | types] == []
    assert [name for name in [*file.parameters, *file.variables] if name not in names] == []


@template
def test_a_module_gets_what_it_asks_for_and_is_asked_for_what_it_has(path):
    file = read(path)
    for module in file.modules.values():
        if module.what.startswith("br/public:avm/"):
            assert re.fullmatch(r"br/public:avm/(res|ptn)/[a-z/-]+:\d+\.\d+\.\d+", module.what)
            continue
        inner = read((path.parent / module.what).resolve())
        given = module.body.get("params", {})
        assert set(given) <= set(inner.parameters), f"{module.symbol} gets what {module.what} does not know"
        required = {name for name, one in inner.parameters.items() if one.required}
        assert required <= set(given), f"{module.symbol} does not get what {module.what} asks for"
        for name, value in given.items():
            if (allowed := inner.parameters[name].allowed) and not isinstance(value, Expr):
                assert value in allowed, f"{module.symbol}.{name}"
    for name, output in outputs_used(file):
        what = file.modules[name].what
        if not what.startswith("br/"):
            assert output in read((path.parent / what).resolve()).outputs, f"{what} has no output {output}"


@template
def test_every_resource_says_its_type_and_version(path):
    for block in read(path).resources.values():
        assert re.fullmatch(r"Microsoft\.[A-Za-z]+(/[A-Za-z]+)+@20\d\d-\d\d-\d\d(-preview)?", block.what), block.what


@pytest.mark.parametrize("name", ["test", "prod"])
def test_an_environment_sets_what_the_template_knows_and_all_it_asks_for(name):
    known, given = read(INFRA / "main.bicep").parameters, parameters_of(INFRA / f"{name}.bicepparam")
    assert set(given) <= set(known)
    assert {one.name for one in known.values() if one.required} <= set(given)
    assert given["stage"] == name
    assert all(value in known[one].allowed for one, value in given.items() if known[one].allowed)


def test_dev_sets_what_the_template_knows_from_the_environment_of_azd():
    known = read(INFRA / "main.bicep").parameters
    given = json.loads((INFRA / "main.parameters.json").read_text())["parameters"]
    assert set(given) <= set(known)
    assert {one.name for one in known.values() if one.required} <= set(given)
    assert given["stage"]["value"] == "dev"


def test_the_readme_knows_every_parameter_and_every_module():
    told = (INFRA / "README.md").read_text("utf-8")
    assert [name for name in read(INFRA / "main.bicep").parameters if f"`{name}`" not in told] == []
    assert [path.name for path in OURS if f"{path.name}`" not in told] == []


def test_every_secret_of_the_shipped_configuration_is_asked_for_in_every_environment():
    texts = [
        path.read_text("utf-8") for path in [ROOT / "config/switchyard.yaml", *(ROOT / "config/rules").glob("*.yaml")]
    ]
    live = [line for text in texts for line in text.splitlines() if not line.lstrip().startswith("#")]
    wanted = {name for line in live for name in re.findall(r"\$\{([A-Z_]+)\}", line)}
    dev = json.loads((INFRA / "main.parameters.json").read_text())["parameters"]["secrets"]["value"]
    assert wanted
    for given in (dev, *(parameters_of(INFRA / f"{name}.bicepparam")["secrets"] for name in ("test", "prod"))):
        assert wanted <= set(given)


def test_production_has_no_role_for_a_person_and_refuses_one():
    main, prod = read(INFRA / "main.bicep"), read(INFRA / "modules/prod.bicep")
    assert prod.parameters["deployerPrincipalType"].allowed == ("ServicePrincipal",)
    assert main.modules["prod"].condition == "(stage == 'prod')"
    assert main.modules["prod"].body["params"]["deployerPrincipalType"] == "any(deployerPrincipalType)"
    assert main.modules["deployer"].condition == "(deploys)"
    assert "(stage != 'prod' || deployerPrincipalType == 'ServicePrincipal')" in main.variables["deploys"]
    assert parameters_of(INFRA / "prod.bicepparam")["deployerPrincipalType"] == "ServicePrincipal"


def assignments(file: File):
    """Variable of the role, symbol of the scope, kind of principal."""
    for block in file.resources.values():
        if block.type == "Microsoft.Authorization/roleAssignments":
            said = block.body["properties"]["roleDefinitionId"]
            found = re.fullmatch(r"subscriptionResourceId\('Microsoft.Authorization/roleDefinitions', (\w+)\)", said)
            assert found, f"{file.path.name}: {said}"
            yield found[1], block.body.get("scope"), block.body["properties"]["principalType"]


OURS = [path for path in TEMPLATES if "workspace" not in path.relative_to(INFRA).parts[0]]


def test_every_role_is_the_one_it_is_called():
    seen = set()
    for path in OURS:
        file = read(path)
        for role, scope, kind in assignments(file):
            assert file.variables[role] == BUILT_IN[role]
            assert scope in file.resources, f"{path.name}: {role} is for more than one resource"
            assert kind == "ServicePrincipal" or path.name == "deployer.bicep"
            seen.add(role)
    assert seen == set(BUILT_IN)
    assert len(set(BUILT_IN.values())) == len(BUILT_IN)
    assert all(ROLE.fullmatch(id_) for id_ in BUILT_IN.values())


OPEN = [
    ("storage", "account", "properties.allowSharedKeyAccess", False),
    ("storage", "account", "properties.allowBlobPublicAccess", False),
    ("storage", "account", "properties.allowCrossTenantReplication", False),
    ("storage", "account", "properties.minimumTlsVersion", "TLS1_2"),
    ("storage", "account", "properties.supportsHttpsTrafficOnly", True),
    ("storage", "account", "properties.networkAcls.bypass", "AzureServices"),
    ("storage", "containers", "properties.publicAccess", "None"),
    ("vault", "vault", "properties.enableRbacAuthorization", True),
    ("vault", "vault", "properties.enablePurgeProtection", True),
    ("app", "app", "properties.httpsOnly", True),
    ("app", "app", "properties.siteConfig.minTlsVersion", "1.2"),
    ("app", "app", "properties.siteConfig.ftpsState", "Disabled"),
    ("app", "app", "identity.type", "UserAssigned"),
    ("app", "app", "properties.functionAppConfig.deployment.storage.authentication.type", "UserAssignedIdentity"),
    ("app", "app", "properties.functionAppConfig.runtime", {"name": "python", "version": "3.13"}),
    ("app", "scm", "properties.allow", False),
    ("app", "ftp", "properties.allow", False),
    ("topic", "topic", "identity.type", "SystemAssigned"),
]


@pytest.mark.parametrize(("module", "symbol", "path", "expected"), OPEN)
def test_nothing_is_open(module, symbol, path, expected):
    found = read(INFRA / f"modules/{module}.bicep").resources[symbol].body
    for step in path.split("."):
        found = found[step]
    assert found == expected


def test_a_private_network_closes_storage_and_vault_and_leads_to_each():
    storage, vault = read(INFRA / "modules/storage.bicep"), read(INFRA / "modules/vault.bicep")
    for file, symbol in ((storage, "account"), (vault, "vault")):
        assert file.resources[symbol].body["properties"]["networkAcls"]["defaultAction"] == "others"
        assert file.variables["others"] == "privateNetwork ? 'Deny' : 'Allow'"
    assert vault.resources["vault"].body["properties"]["publicNetworkAccess"] == "access"
    assert vault.variables["access"] == "privateNetwork ? 'Disabled' : 'Enabled'"
    network = read(INFRA / "modules/network.bicep")
    assert [one["group"] for one in network.variables["reached"]] == ["blob", "queue", "table", "vault"]
    assert read(INFRA / "modules/app.bicep").resources["app"].body["properties"]["virtualNetworkSubnetId"] != ""


# --- What `switchyard filters` prints ---


@cache
def printed(*options: str) -> str:
    done = subprocess.run(
        [ROOT / ".venv/bin/switchyard", "filters", "--config", ROOT / "config", *options],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


@pytest.mark.parametrize(
    "options", [(), ("--deliver", "queue"), ("--deliver", "queue", "--one", "--cloudevents")], ids=" ".join
)
def test_the_subscriptions_of_the_rules_are_bicep(options):
    file = parse(printed(*options))
    assert file.broken == ()
    assert [name for name, _ in used(file) if name not in file.declared] == []
    subscriptions = [one for one in file.resources.values() if one.type.endswith("/eventSubscriptions")]
    assert subscriptions
    assert all(one.body["properties"]["filter"]["includedEventTypes"] for one in subscriptions)


def test_the_queue_and_the_container_of_the_subscriptions_are_those_of_the_storage_account():
    made = read(INFRA / "modules/storage.bicep").variables
    delivery = read(INFRA / "modules/delivery.bicep").resources
    for one in parse(printed("--deliver", "queue")).resources.values():
        if one.existing:
            continue
        by_identity = one.body["properties"]["deliveryWithResourceIdentity"]
        letters = one.body["properties"]["deadLetterWithResourceIdentity"]
        queue = by_identity["destination"]["properties"]
        container = letters["deadLetterDestination"]["properties"]
        assert queue["queueName"] in made["queueNames"]
        assert container["blobContainerName"] in made["containerNames"]
        assert (delivery["queue"].body["name"], delivery["letters"].body["name"]) == (
            queue["queueName"],
            container["blobContainerName"],
        )
        # The kind of identity that topic.bicep gives, and that may pass the firewall of a storage account.
        assert by_identity["identity"] == letters["identity"] == {"type": "SystemAssigned"}
        assert queue["queueMessageTimeToLiveInSeconds"] == -1


# --- checkov ---


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """What checkov says of each template, and of what `switchyard filters` prints. It asks nothing outside of this machine."""
    copy = tmp_path_factory.mktemp("judged")
    shutil.copytree(INFRA, copy, dirs_exist_ok=True)
    (copy / "subscriptions.bicep").write_text(printed("--deliver", "queue"), "utf-8")
    done = subprocess.run(
        [
            Path(sys.executable).with_name("checkov"), "--framework", "bicep", "--output", "json", "--skip-download",
            "--directory", copy,
        ],
        capture_output=True, text=True, check=False,
        env=os.environ | {"CHECKOV_PARALLELIZATION_TYPE": "none", "PYTHONHASHSEED": "0"},  # noqa: TID251 (the same each time)
    )  # fmt: skip
    return json.loads(done.stdout)["results"], done.stderr


BROKEN = {
    (
        "CKV_AZURE_70",
        "app.bicep",
        "Microsoft.Web/sites/config.signIn",
    ),  # httpsOnly, of a resource that has no such property
    (
        "CKV_AZURE_189",
        "vault.bicep",
        "Microsoft.KeyVault/vaults.vault",
    ),  # reads a choice as a text: see the test of the network
}
"""Checks of checkov that fall over what is right, and what holds in their place."""


def test_checkov_finds_nothing_and_could_read_everything(judged):
    results, errors = judged
    assert results["parsing_errors"] == []
    failed = [
        f"{one['file_path']}: {one['resource']}: {one['check_id']} {one['check_name']}"
        for one in results["failed_checks"]
    ]
    assert failed == []
    passed = {(check["check_id"], check["resource"]) for check in results["passed_checks"]}
    assert ("CKV_AZURE_44", "Microsoft.Storage/storageAccounts.account") in passed
    assert ("CKV_AZURE_110", "Microsoft.KeyVault/vaults.vault") in passed
    broke = set(re.findall(r"Failed to run check (\w+) on \S*?(\w+\.bicep):(\S+)", errors))
    assert broke <= BROKEN, "a check that broke has found nothing"


def test_a_check_that_is_skipped_says_why():
    for path in TEMPLATES:
        for line in path.read_text("utf-8").splitlines():
            if "checkov:skip" in line:
                assert re.search(r"// checkov:skip=CKV\w+: ?\S.{9,}$", line), f"{path.name}: {line.strip()}"


def test_a_role_that_both_templates_give_is_one_assignment():
    """A workspace may be made by infra/workspace with the identity of the service named: Azure refuses the same role under another name."""
    ours, theirs = read(INFRA / "modules/workspace.bicep"), read(INFRA / "workspace/modules/access.bicep")
    given = theirs.variables["roles"]
    assert given["AzureML Data Scientist"] == ours.variables["azureMLDataScientist"]
    assert given["Monitoring Reader"] == ours.variables["monitoringReader"]
    for file, principal in ((ours, "principalId"), (theirs, "switchyardPrincipalId")):
        names = [one.body["name"] for one in file.resources.values() if one.body.get("scope") == "workspace"]
        assert any(name.startswith(f"guid(workspace.id, {principal}, ") for name in names)


VERIFIED = {
    "operational-insights/workspace:0.16.1": {"name", "location", "tags", "dataRetention", "enableTelemetry"},
    "insights/component:0.8.0": {
        *("name", "location", "tags", "workspaceResourceId", "disableLocalAuth", "disableIpMasking"),
        *("retentionInDays", "enableTelemetry"),
    },
    "network/virtual-network:0.10.1": {"name", "location", "tags", "addressPrefixes", "subnets", "enableTelemetry"},
    "network/private-dns-zone:0.8.1": {"name", "tags", "virtualNetworkLinks", "enableTelemetry"},
    "network/private-endpoint:0.12.1": {
        *("name", "location", "tags", "subnetResourceId", "privateLinkServiceConnections", "privateDnsZoneGroup"),
        "enableTelemetry",
    },
}
"""Azure Verified Modules, and those of their parameters that are used, as their sources have them in these versions."""


def test_verified_modules_get_what_they_know_in_the_version_that_is_named():
    seen = set()
    for path in OURS:
        for module in read(path).modules.values():
            if module.what.startswith("br/public:avm/res/"):
                name = module.what.removeprefix("br/public:avm/res/")
                assert set(module.body["params"]) <= VERIFIED[name], f"{path.name}: {name}"
                seen.add(name)
    assert seen == set(VERIFIED)
