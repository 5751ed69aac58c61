"""Code and templates say the same, both ways: settings, roles, queues and containers, host.json."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared import settings
from tests.infra.bicep import read
from tests.infra.test_templates import BUILT_IN, INFRA, OURS, ROOT, assignments

APP = read(INFRA / "modules/app.bicep")
STORAGE = read(INFRA / "modules/storage.bicep")
HOST = json.loads((ROOT / "host.json").read_text())
AZURE = (ROOT / "docs/azure.md").read_text("utf-8")


def trees(*rooms: str) -> Iterator[tuple[Path, ast.Module]]:
    for room in rooms:
        for path in sorted((ROOT / room).rglob("*.py")):
            yield path, ast.parse(path.read_text("utf-8"))


def texts(tree: ast.Module) -> dict[str, str]:
    """Constants of a module that are texts."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.AnnAssign | ast.Assign) and isinstance(node.value, ast.Constant):
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            if isinstance(target, ast.Name) and isinstance(node.value.value, str):
                found[target.id] = node.value.value
    return found


def text_of(node: ast.expr, known: dict[str, str]) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(one.value if isinstance(one, ast.FormattedValue) else one, known) for one in node.values)
    if isinstance(node, ast.Name):
        return known[node.id]
    assert isinstance(node, ast.Constant), ast.dump(node)
    return str(node.value)


# --- Settings ---


class Asked(dict[str, str]):
    """An environment that remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def get(self, name, default=None):
        self.names.add(name)
        return default


def asked() -> set[str]:
    """Every setting that the code reads: by Settings, and by name elsewhere in shared/cloud."""
    environ = Asked()
    settings.Settings.of(environ)
    found = set(environ.names)
    for _, tree in trees("shared/cloud", "functions"):
        known = texts(tree)
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            said = ast.unparse(node.func)
            by_name = isinstance(node.args[0], ast.Constant) or ast.unparse(node.args[0]) in known
            if by_name and said in {"environ.get", "self._optional", "self._secret"}:
                found.add(text_of(node.args[0], known))
    return found | {texts(ast.parse((ROOT / "shared/cloud/topic.py").read_text()))["KEY"]}


LEFT = {
    "AZURE_CLIENT_SECRET": "a service principal is for machines that are not Azure's",
    "AZURE_TENANT_ID": "the same",
    "AZURE_LOGS_URL": "the public cloud; another is an extraSettings",
    "AZURE_MONITOR_URL": "the same",
    "AZURE_ML_STUDIO_URL": "the same",
    "AZURE_DEVOPS_URL": "the same",
    "EVENT_HUBS_SUFFIX": "the same",
    "SYNAPSE_DEV_SUFFIX": "the same",
    "GITHUB_API_URL": "github.com; a server of your own is an extraSettings",
    "GITHUB_APP_ID": "extraSettings, where an App is used",
    "GITHUB_APP_KEY": "one of `secrets`, where an App is used",
    "GITHUB_TOKEN": "one of `secrets`, where a token is used",
    "SMTP_URL": "one of `secrets`, where mail goes by SMTP",
    "SWITCHYARD_TOPIC_KEY": "the identity has a role on the topic instead",
    "AzureWebJobsStorage": "a connection string has a key, and the account none",
    "AzureWebJobsStorage__blobServiceUri": "AzureWebJobsStorage__accountName stands for all three",
    "AzureWebJobsStorage__queueServiceUri": "the same",
    "AzureWebJobsStorage__tableServiceUri": "the same",
    "WEBSITE_AUTH_ENABLED": "the platform sets it where authsettingsV2 is on",
}
"""Read by code, and left alone on purpose: why."""

FOR_OTHERS = {
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING": "the host",
    "APPLICATIONINSIGHTS_CONNECTION_STRING": "the host",
    "AzureWebJobsStorage__credential": "the host, for its own storage",
    "AzureFunctionsJobHost__extensions__durableTask__storageProvider__type": "the host, in place of host.json",
    "AzureFunctionsJobHost__extensions__durableTask__storageProvider__connectionStringName": "the same",
    "DURABLE_TASK_SCHEDULER_CONNECTION_STRING": "Durable Functions: the setting just named",
}
"""Written by the template, and read by somebody else: by whom."""


def written() -> set[str]:
    return {*APP.variables["settings"], *APP.variables["schedulerSettings"], "SWITCHYARD_SIGNING_KEY"}


def test_every_setting_that_the_code_reads_is_written_or_left_alone_on_purpose():
    assert "union(['SWITCHYARD_SIGNING_KEY'], secrets)" in APP.path.read_text("utf-8")
    read_, set_ = asked(), written()
    assert sorted(read_ - set_ - set(LEFT)) == [], "the template does not know these"
    assert sorted(set(LEFT) - read_) == [], "nobody reads these any more"
    assert sorted(set(LEFT) & set_) == []


def test_every_setting_that_is_written_is_read():
    assert sorted(written() - asked() - set(FOR_OTHERS)) == [], "nobody reads these"
    assert sorted(set(FOR_OTHERS) - written()) == []


def test_the_file_for_one_machine_shows_no_setting_that_nobody_reads():
    shown = json.loads((ROOT / "local.settings.json").read_text())["Values"]
    assert sorted(set(shown) - asked() - {"FUNCTIONS_WORKER_RUNTIME"}) == []


def test_what_flex_consumption_refuses_is_not_set():
    refused = re.compile(r"FUNCTIONS_(WORKER_RUNTIME|EXTENSION_VERSION)|WEBSITE_|SCM_|ENABLE_ORYX|PYTHON_ENABLE_INIT")
    assert [name for name in written() if refused.match(name)] == []


# --- Roles ---


def camel(role: str) -> str:
    """`Storage Blob Data Owner` as a variable of ours."""
    words = [word[0].upper() + word[1:] for word in role.replace("EventGrid", "Event Grid").split()]
    first = {"AzureML": "azureML"}.get(words[0], words[0].lower())
    return first + "".join(words[1:])


def roles_of_the_code() -> dict[str, set[str]]:
    """Role -> the files that say they need it, as a refusal would name it."""
    shared_: dict[str, str] = {}
    for _, tree in trees("shared/cloud"):
        shared_ |= {name: said for name, said in texts(tree).items() if name == "ROLE"}
    found: dict[str, set[str]] = {}
    for path, tree in trees("shared/cloud"):
        known = shared_ | texts(tree)
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or ast.unparse(node.func) != "Doing" or len(node.args) != 2:
                continue
            if said := known_text(node.args[1], known):
                quoted = re.search(r"'([^']+)'", said)
                found.setdefault(quoted[1] if quoted else said, set()).add(path.name)
    found.pop("a federated credential or secret that is still valid")
    return found


def known_text(node: ast.expr, known: dict[str, str]) -> str:
    return str(node.value) if isinstance(node, ast.Constant) else known.get(getattr(node, "id", ""), "")


WITHIN = {"Storage Blob Data Contributor": "Storage Blob Data Owner"}
"""A role that another one holds, which the host needs on the same account."""

NOT_OURS = {
    "storageBlobDataOwner": "the Functions host: its locks and keys; Durable Functions: its leases",
    "keyVaultSecretsUser": "the platform: Key Vault references",
    "monitoringMetricsPublisher": "the Functions host: telemetry without a key",
    "durableTaskDataContributor": "Durable Functions, with the scheduler",
    "storageQueueDataMessageSender": "Event Grid: the queue",
    "storageBlobDataContributor": "Event Grid: dead letters; whoever deploys: the configuration",
}
"""Roles that no sentence of our own asks for, and who needs them."""


def given() -> dict[str, set[str]]:
    """Role -> the modules that give it."""
    found: dict[str, set[str]] = {}
    for path in OURS:
        for role, _, _ in assignments(read(path)):
            found.setdefault(role, set()).add(path.stem)
    return found


def test_every_role_that_the_code_names_is_given_and_every_role_given_is_needed():
    needed = {camel(WITHIN.get(role, role)) for role in roles_of_the_code()}
    assert len(needed) >= 8
    assert sorted(needed - set(given())) == [], "a refusal names these, and the templates do not give them"
    assert sorted(set(given()) - needed - set(NOT_OURS)) == [], "nobody needs these"
    assert set(NOT_OURS) <= set(given())


def table() -> list[list[str]]:
    """The rows below `## Roles`."""
    section = AZURE.partition("\n## Roles\n")[2].partition("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("| *")
    ]
    assert rows, "docs/azure.md has no table of roles"
    return rows


def test_the_table_of_roles_is_what_the_templates_give():
    told: dict[str, set[str]] = {}
    for role, _, _, where, needs in table():
        told.setdefault(camel(role.strip("*")), set()).update(re.findall(r"`(\w[\w-]*)\.bicep`", where))
        assert len(needs) > 10, f"{role}: which call needs it"
    assert told == given()
    assert set(told) == set(BUILT_IN)


def test_each_row_names_code_that_is_there():
    for role, _, _, _, needs in table():
        for file in re.findall(r"`((?:shared|functions)/[\w/]+\.py)`", needs):
            assert (ROOT / file).exists(), f"{role}: {file}"
    for role, files in roles_of_the_code().items():
        rows = [row for row in table() if camel(row[0].strip("*")) == camel(WITHIN.get(role, role))]
        said = " ".join(row[4] for row in rows)
        assert [file for file in sorted(files) if f"/{file}`" not in said] == [], role


def test_roles_of_actions_that_are_given_by_hand_are_told():
    section = AZURE.partition("\n## Roles\n")[2].partition("\n## ")[0]
    said = [path.read_text("utf-8") for path in (ROOT / "shared/actions").glob("*.py")]
    named = {role for one in said for role in re.findall(r"role '([^']+)'", one)}
    assert named
    assert [role for role in sorted(named) if f"*{role}*" not in section and camel(role) not in given()] == []


# --- Queues, containers, tables ---


def bindings() -> Iterator[tuple[str, dict[str, str]]]:
    """Name of the function, and what its decorators say."""
    names = {name: value for name, value in vars(settings).items() if isinstance(value, str)}
    for _, tree in trees("functions"):
        for node in tree.body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            said: dict[str, str] = {}
            for one in node.decorator_list:
                if isinstance(one, ast.Call):
                    kind = ast.unparse(one.func).rpartition(".")[2]
                    said[kind] = text_of(one.args[0], names) if kind == "function_name" else ""
                    for word in one.keywords:
                        if isinstance(word.value, ast.Constant | ast.JoinedStr) or ast.unparse(word.value) in names:
                            said[f"{kind}.{word.arg}"] = text_of(word.value, names)
                        else:
                            said[f"{kind}.{word.arg}"] = ast.unparse(word.value)
            if "function_name" in said:
                yield said["function_name"], said


BINDINGS = dict(bindings())


def test_every_queue_of_a_trigger_is_made_and_every_queue_that_is_made_is_read():
    assert len(BINDINGS) > 20
    read_ = {said["queue_trigger.queue_name"] for said in BINDINGS.values() if "queue_trigger" in said}
    put = {said["queue_output.queue_name"] for said in BINDINGS.values() if "queue_output" in said}
    made = set(STORAGE.variables["queueNames"])
    assert read_ == made
    assert put <= made
    assert {settings.WORK_QUEUE, settings.INTAKE_QUEUE, settings.ROLLOUT_QUEUE} <= made
    assert {f"{queue}-poison" for queue in made if not queue.endswith("-poison")} <= made


def test_every_binding_uses_the_storage_of_the_app():
    connections = {value for said in BINDINGS.values() for name, value in said.items() if name.endswith(".connection")}
    assert connections == {"AzureWebJobsStorage"}
    assert any(name.startswith("AzureWebJobsStorage__") for name in APP.variables["settings"])


def test_every_container_that_the_code_uses_is_made_and_each_one_has_a_use():
    used = {
        texts(ast.parse((ROOT / "shared/cloud/archive.py").read_text()))["_CONTAINER"],
        texts(ast.parse((ROOT / "shared/cloud/dead_letters.py").read_text()))["CONTAINER"],
        texts(ast.parse((INFRA / "hooks.py").read_text()))["CONTAINER"],
    }
    package = APP.resources["app"].body["properties"]["functionAppConfig"]["deployment"]["storage"]["value"]
    used.add(package.rpartition("}")[2])
    assert used == set(STORAGE.variables["containerNames"])
    main = read(INFRA / "main.bicep").modules["app"].body["params"]["configuration"]
    assert "${storage.outputs.blobEndpoint}switchyard-config" in main


def test_tables_are_made_by_the_service_itself():
    """Which is why its role on tables is that of a contributor, on the account."""
    assert "create_table" in (ROOT / "shared/cloud/storage.py").read_text("utf-8")
    assert not any("/tables" in block.type for block in STORAGE.resources.values())
    assert ("storageTableDataContributor", "storage", "ServicePrincipal") in list(
        assignments(read(INFRA / "modules/roles.bicep"))
    )


# --- host.json, sign-in, alerts ---


def test_the_task_hub_has_one_name():
    hub = read(INFRA / "modules/scheduler.bicep").resources["hub"].body["name"]
    assert hub == HOST["extensions"]["durableTask"]["hubName"] == "SwitchyardRollouts"
    scheduler = APP.variables["schedulerSettings"]
    assert scheduler[next(name for name in scheduler if name.endswith("__connectionStringName"))] in scheduler
    assert "durable: 1" in APP.variables["ready"], "the platform does not scale by these settings: see decision 9"


def test_a_message_is_written_as_the_host_reads_it():
    queues = HOST["extensions"]["queues"]
    assert queues["messageEncoding"] == "base64"  # as Event Grid writes them
    assert any("TextBase64EncodePolicy" in path.read_text("utf-8") for path in (ROOT / "shared/cloud").glob("*.py"))
    assert queues["maxDequeueCount"] > 1
    assert queues["newBatchThreshold"] < queues["batchSize"] <= 32


def test_a_claim_lasts_as_long_as_a_function_may_run():
    tree = ast.parse((ROOT / "shared/cloud/store.py").read_text("utf-8"))
    (lease,) = (ast.unparse(one) for one in tree.body if ast.unparse(one).startswith("LEASE: "))
    (minutes,) = (int(found) for found in re.findall(r"timedelta\(minutes=(\d+)\)", lease))
    hours, most, seconds = (int(part) for part in HOST["functionTimeout"].split(":"))
    assert (hours, seconds) == (0, 0)
    assert minutes >= most, "another worker would begin what this one is still doing"


def test_the_extensions_have_the_scheduler():
    assert HOST["extensionBundle"]["id"] == "Microsoft.Azure.Functions.ExtensionBundle"
    assert HOST["extensionBundle"]["version"] == "[4.*, 5.0.0)"  # azureManaged from 4.32 on


def test_no_path_is_left_out_of_the_sign_in_but_what_the_app_gives_to_anybody_or_to_a_key():
    """Behind a path that is left out nobody vouches for the header that says who somebody is: shared/web/signed.py."""
    signed = (ROOT / "shared/web/signed.py").read_text("utf-8")
    (to_anybody,) = re.findall(r'_TO_ANYBODY: Final = re.compile\(r"([^"]+)"', signed)
    open_ = {path.replace("[^/]*", "*") for path in to_anybody.split("|")}
    excluded = APP.resources["signIn"].body["properties"]["globalValidation"]["excludedPaths"]
    assert set(excluded) == open_ | {"/runtime/webhooks/*"}
    assert HOST["extensions"]["http"]["routePrefix"] == ""
    assert BINDINGS["health"]["route.route"] == "api/health"
    assert BINDINGS["health"]["route.auth_level"].endswith("FUNCTION"), "the pulse is asked for with a key"


def test_alerts_watch_functions_that_are_there():
    queries = read(INFRA / "modules/alerts.bicep").variables["queries"]
    named = {name for one in queries for name in re.findall(r'"((?:on_)?[a-z_]+)"', one["query"])}
    assert {"on_configuration", "on_poison", "on_queued_event"} <= named
    assert sorted(named - set(BINDINGS)) == []
    poison = {name for name, said in BINDINGS.items() if said.get("queue_trigger.queue_name", "").endswith("-poison")}
    assert poison <= named
    (heart,) = (one for one in queries if one["name"] == "heartbeat")
    assert (heart["operator"], heart["threshold"], heart["window"]) == ("LessThan", 1, "PT15M")
    schedule = BINDINGS["on_configuration"]["timer_trigger.schedule"]
    (every,) = re.findall(r"^\d+ \*/(\d+) \* \* \* \*$", schedule)
    assert int(every) * 2 <= 15, "one beat that is missed must not wake anybody"


@pytest.mark.parametrize("metric", ["DroppedEventCount", "DeadLetteredCount", "DeliveryAttemptFailCount"])
def test_events_that_do_not_arrive_are_told_of_without_this_service(metric):
    watched = read(INFRA / "modules/delivery.bicep").variables["watched"]
    assert metric in [one["metric"] for one in watched]
