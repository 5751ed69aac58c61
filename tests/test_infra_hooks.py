"""What happens around the templates, with the words that az is given: a stand-in of az keeps a small Azure in a file.

The words themselves are those of azure-cli 2.91: its own help has each of them.
"""

import json
import os
import re
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from infra import hooks
from shared.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
WORKSPACE = "/subscriptions/5f3b2c1a-8d4e-4c6b-9a7f-0e1d2c3b4a59/resourceGroups/mlops/providers/Microsoft.MachineLearningServices/workspaces/prod"
GROUP = "/subscriptions/s/resourceGroups/rg-switchyard-dev/providers"
STORAGE = f"{GROUP}/Microsoft.Storage/storageAccounts/st1"
VAULT = f"{GROUP}/Microsoft.KeyVault/vaults/kv-1"
TOPIC = f"{GROUP}/Microsoft.EventGrid/systemTopics/evgt-prod"
OUTPUTS = {
    "AZURE_ENV_NAME": "dev",
    "AZURE_RESOURCE_GROUP": "rg-switchyard-dev",
    "AZURE_FUNCTION_APP_NAME": "func-1",
    "SWITCHYARD_URL": "https://func-1.azurewebsites.net",
    "SWITCHYARD_STORAGE_ID": STORAGE,
    "SWITCHYARD_VAULT_ID": VAULT,
    "SWITCHYARD_CONFIGURATION": "container",
    "SWITCHYARD_SECRETS": "TEAMS_FRAUD_URL",
    "SWITCHYARD_TOPICS": f"{WORKSPACE}|{TOPIC}",
}
HEALTH = {"status": "ok", "rules": 22, "config_version": "c1", "rejected_files": []}

AZ = """#!{python}
import json, pathlib, re, sys
here = pathlib.Path(__file__).parent
file = here / "azure.json"
azure, words = json.loads(file.read_text()), sys.argv[1:]
value = lambda name: words[words.index(name) + 1]
said = None
if azure["refuse"]:
    azure["refuse"] -= 1
    file.write_text(json.dumps(azure))
    sys.exit("ERROR: This request is not authorized to perform this operation using this permission.")
azure["calls"].append(words)
if words[0] == "rest":
    name = value("--url").partition("/secrets/")[2].partition("?")[0]
    if value("--method") == "put":
        body = value("--body")[1:]
        assert pathlib.Path(body).stat().st_mode & 0o077 == 0
        azure["secrets"][name] = json.loads(pathlib.Path(body).read_text())["properties"]["value"]
    elif name not in azure["secrets"]:
        file.write_text(json.dumps(azure))
        sys.exit('ERROR: Not Found({{"error":{{"code":"SecretNotFound"}}}})')
    said = {{"name": name}}
elif words[:3] == ["storage", "blob", "list"]:
    said = [{{"name": name}} for name in azure["blobs"]]
elif words[:3] == ["storage", "blob", "upload-batch"]:
    source = pathlib.Path(value("--source"))
    azure["blobs"] = sorted({{*azure["blobs"], *(p.relative_to(source).as_posix() for p in source.rglob("*") if p.is_file())}})
    if azure["broken"]:
        azure["blobs"] = [name for name in azure["blobs"] if not name.startswith("rules/")]
        file.write_text(json.dumps(azure))
        sys.exit("ERROR: the connection broke off")
elif words[:3] == ["storage", "blob", "upload"]:
    assert pathlib.Path(value("--file")).is_file()
    azure["blobs"] = sorted({{*azure["blobs"], value("--name")}})
elif words[:3] == ["storage", "blob", "delete"]:
    azure["blobs"].remove(value("--name"))
elif words[:3] == ["deployment", "group", "create"]:
    given = dict(one.split("=", 1) for one in words[words.index("--parameters") + 1:] if "=" in one)
    text = pathlib.Path(value("--template-file")).read_text()
    azure["topic"] = next(v for k, v in given.items() if k not in ("storageId", "names"))
    for name in re.findall(r"name: '\\$\\{{names\\}}([a-z0-9-]+)'", text):
        azure["subscriptions"][given["names"] + name] = given["storageId"]
elif words[:4] == ["eventgrid", "system-topic", "event-subscription", "list"]:
    said = [{{"name": name, "deliveryWithResourceIdentity": {{"destination": {{"resourceId": to}}}}}} for name, to in azure["subscriptions"].items()]
elif words[:4] == ["eventgrid", "system-topic", "event-subscription", "delete"]:
    del azure["subscriptions"][value("--name")]
elif words[:4] == ["functionapp", "deployment", "source", "config-zip"]:
    azure["package"] = [value("--name"), pathlib.Path(value("--src")).read_text(), value("--build-remote")]
elif words[:3] == ["functionapp", "keys", "list"]:
    said = {{"functionKeys": {{"default": "marker"}}}}
elif words[:3] == ["deployment", "sub", "show"]:
    said = {{name.lower(): {{"type": "String", "value": value}} for name, value in azure["outputs"].items()}}
else:
    sys.exit("unknown words")
file.write_text(json.dumps(azure))
print(json.dumps(said))
"""


class Cloud:
    """The stand-in, its state, and what the hooks said."""

    def __init__(self, folder, capsys, monkeypatch):
        self.file = folder / "azure.json"
        self.capsys = capsys
        self.path = str(folder)
        self.paused = 0
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.set(secrets={}, blobs=[], subscriptions={}, calls=[], refuse=0, broken=False, outputs=OUTPUTS)
        program = folder / "az"
        program.write_text(AZ.format(python=sys.executable))
        program.chmod(0o755)
        made = hooks.Azure
        monkeypatch.setattr(hooks, "Azure", lambda program, subscription: made(program, subscription, self.pause))

    def pause(self, _seconds):
        self.paused += 1

    @property
    def state(self):
        return json.loads(self.file.read_text())

    def set(self, **values):
        before = self.state if self.file.exists() else {}
        self.file.write_text(json.dumps(before | values))

    def run(self, *words, environ=OUTPUTS, health=HEALTH, get=None):
        """Exit status, and all that was said."""
        self.asked.clear()

        def answer(url, headers):
            self.asked.append((url, headers))
            return json.dumps(health)

        path = f"{self.path}{os.pathsep}{Path(sys.executable).parent}"
        status = hooks.main(words, environ | {"PATH": path}, get or answer)
        said = self.capsys.readouterr()
        return status, said.out + said.err


@pytest.fixture
def cloud(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    return Cloud(folder, capsys, monkeypatch)


@pytest.fixture
def config(tmp_path):
    folder = tmp_path / "config"
    (folder / "rules").mkdir(parents=True)
    (folder / "switchyard.yaml").write_text(
        "receivers: {team: {teams: '${TEAM}'}}\n"
        "workspaces: {prod: {subscription: 5f3b2c1a-8d4e-4c6b-9a7f-0e1d2c3b4a59, resource_group: mlops, workspace: prod}}\n"
    )
    rule = "rules: [{name: one, event: RunCompleted, match: {workspace: prod}, do: [{notify: team}]}]\n"
    (folder / "rules" / "a.yaml").write_text(rule)
    (folder / "notes.txt").write_text("nobody loads this")
    return folder


def test_the_signing_key_is_made_once_and_nobody_sees_it(cloud, config):
    status, said = cloud.run("provisioned", "--config", str(config))
    first = cloud.state["secrets"]["switchyard-signing-key"]
    assert status == 0, said
    assert len(first) >= 43
    assert "TEAMS_FRAUD_URL: not in the vault yet" in said
    assert "az keyvault secret set --vault-name kv-1 --name teams-fraud-url" in said
    assert cloud.run("provisioned", "--config", str(config))[0] == 0
    assert cloud.state["secrets"]["switchyard-signing-key"] == first
    assert first not in said + json.dumps(cloud.state["calls"])


def test_the_configuration_is_uploaded_to_an_empty_container_and_left_alone_in_a_full_one(cloud, config):
    cloud.run("provisioned", "--config", str(config))
    assert cloud.state["blobs"] == ["rules/a.yaml", "switchyard.yaml"]
    (config / "rules" / "a.yaml").rename(config / "rules" / "b.yaml")
    _, said = cloud.run("provisioned", "--config", str(config))
    assert cloud.state["blobs"] == ["rules/a.yaml", "switchyard.yaml"]
    assert "`hooks.py configuration` replaces it" in said
    status, said = cloud.run("configuration", "--config", str(config))
    assert (status, cloud.state["blobs"]) == (0, ["rules/b.yaml", "switchyard.yaml"]), said


def test_a_first_upload_that_broke_off_is_made_again(cloud, config):
    """Without the last file a container counts as empty; a file of rules that is missing no app would miss."""
    (config / "pipelines").mkdir()
    (config / "pipelines" / "train.yml").write_text("jobs: {}\n")
    cloud.set(broken=True)
    status, said = cloud.run("provisioned", "--config", str(config))
    assert (status, cloud.state["blobs"]) == (1, ["pipelines/train.yml"]), said
    cloud.set(broken=False)
    status, said = cloud.run("provisioned", "--config", str(config))
    assert (status, cloud.state["blobs"]) == (0, ["pipelines/train.yml", "rules/a.yaml", "switchyard.yaml"]), said
    uploads = [call[2] for call in cloud.state["calls"] if call[:2] == ["storage", "blob"] and "upload" in call[2]]
    assert uploads[-2:] == ["upload-batch", "upload"]
    cloud.run("configuration", "--config", str(config))
    assert cloud.state["calls"][-1][2] == "upload-batch"  # what replaces another goes all at once


def test_it_asks_the_subscription_of_the_environment_whichever_az_is_in(cloud, config):
    environ = OUTPUTS | {"AZURE_SUBSCRIPTION_ID": "s-of-azd"}
    for step in ("provisioned", "configuration", "deployed"):
        assert cloud.run(step, "--config", str(config), environ=environ)[0] == 0
    for call in cloud.state["calls"]:
        asked = [call[n + 1] for n, word in enumerate(call) if word == "--subscription"]
        topics = call[0] in {"eventgrid", "deployment"}  # those stand with their sources
        assert asked == (["s"] if topics else ["s-of-azd"]), call
    cloud.set(calls=[])
    cloud.run("provisioned", "--config", str(config))
    assert not [call for call in cloud.state["calls"] if "--subscription" in call]


def test_two_workspaces_of_one_name_have_each_its_subscriptions(cloud, config):
    other, topic = WORKSPACE.replace("/mlops/", "/mlops-test/"), TOPIC.replace("dev/", "test/")
    (config / "switchyard.yaml").write_text(
        (config / "switchyard.yaml")
        .read_text()
        .replace(
            "}}\nworkspaces: {",
            "}}\nworkspaces: {test: "
            "{subscription: 5f3b2c1a-8d4e-4c6b-9a7f-0e1d2c3b4a59, resource_group: mlops-test, workspace: prod}, ",
        )
    )
    pairs = f"{OUTPUTS['SWITCHYARD_TOPICS']} {other}|{topic}"
    status, said = cloud.run("deployed", "--config", str(config), environ=OUTPUTS | {"SWITCHYARD_TOPICS": pairs})
    assert status == 0, said
    made = [call[call.index("--resource-group") + 1] for call in cloud.state["calls"] if call[0] == "deployment"]
    assert made == ["rg-switchyard-dev", "rg-switchyard-test"]
    assert "no topic of this deployment" not in said


def test_a_configuration_that_comes_with_the_package_is_uploaded_nowhere(cloud, config):
    package = OUTPUTS | {"SWITCHYARD_CONFIGURATION": "package"}
    for step in ("provisioned", "configuration"):
        status, said = cloud.run(step, "--config", str(config), environ=package)
        assert (status, cloud.state["blobs"]) == (0, []), said


def test_a_configuration_with_a_mistake_is_not_uploaded(cloud, config):
    (config / "rules" / "a.yaml").write_text("rules: [{name: x}]\n")
    status, said = cloud.run("configuration", "--config", str(config))
    assert (status, cloud.state["blobs"]) == (1, [])
    assert "rules/a.yaml:1:9" in said
    assert "nothing was uploaded" in said


def test_a_role_that_is_not_known_everywhere_yet_is_waited_for(cloud, config):
    cloud.set(refuse=3, secrets={"switchyard-signing-key": "k"})
    status, said = cloud.run("configuration", "--config", str(config))
    assert (status, cloud.paused) == (0, 3), said
    assert "waiting: az storage blob list: This request is not authorized" in said


def test_subscriptions_are_those_that_the_rules_need_and_no_other_of_ours(cloud, config):
    cloud.set(subscriptions={"switchyard-dev-model-registered": STORAGE, "switchyard-dev2": f"{STORAGE}2", "mine": "x"})
    status, said = cloud.run("deployed", "--config", str(config))
    assert status == 0, said
    assert cloud.state["subscriptions"] == {
        "switchyard-dev-run-completed": STORAGE,
        "switchyard-dev2": f"{STORAGE}2",  # of another app on the same topic
        "mine": "x",
    }
    assert cloud.state["topic"] == "evgt-prod"
    assert "evgt-prod: switchyard-dev-model-registered is needed no more, and gone" in said
    assert "health: ok, 22 rules in force, configuration c1" in said
    assert cloud.asked == [("https://func-1.azurewebsites.net/api/health", {"x-functions-key": "marker"})]
    assert "marker" not in said


def test_rules_without_a_topic_are_told_of(cloud, config):
    rules = "rules: [{name: two, event: BlobCreated, match: {blob.container: incoming}, do: [{notify: team}]}]\n"
    (config / "rules" / "b.yaml").write_text(rules)
    _, said = cloud.run("deployed", "--config", str(config))
    assert "rules ask for events of Microsoft.Storage, which no topic of this deployment brings" in said
    account = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/in"
    pairs = f"{OUTPUTS['SWITCHYARD_TOPICS']} {account}|{TOPIC}-in"
    _, said = cloud.run("deployed", "--config", str(config), environ=OUTPUTS | {"SWITCHYARD_TOPICS": pairs})
    assert "no topic of this deployment" not in said
    assert "switchyard-dev-blob-created" in cloud.state["subscriptions"]


class Site(HTTPServer):
    answers: list[tuple[int, bytes]]


class App(BaseHTTPRequestHandler):
    """Answers with what `answers` has next, and with the last of it from then on."""

    def do_GET(self):
        assert isinstance(self.server, Site)
        answers = self.server.answers
        status, body = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def address():
    with Site(("127.0.0.1", 0), App) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def told(status, *refused):
    return json.dumps(HEALTH | {"status": status, "rejected_files": refused}).encode()


STARTING = (503, b"<html>Function host is not running.</html>")
OUT = (503, b'{"title": "Service Unavailable", "status": 503}')


@pytest.mark.parametrize(
    ("answers", "paused", "words"),
    [
        ([(200, told("amber", "rules/a.yaml"))], 0, "health is amber; refused files: rules/a.yaml"),
        ([(503, told("red", "rules/a.yaml"))], 0, "health is red; refused files: rules/a.yaml"),
        ([STARTING, OUT, (503, told("red", "rules/a.yaml"))], 2, "health is red; refused files: rules/a.yaml"),
        (
            [(503, told("red", "switchyard.yaml"))],
            hooks.PATIENCE - 1,
            "switchyard.yaml is refused, or the app is not ready",
        ),
        ([STARTING], hooks.PATIENCE - 1, "no answer (HTTP Error 503"),
    ],
)
def test_an_app_that_is_not_well_stops_the_pipeline(cloud, config, address, answers, *, paused, words):
    address.answers = answers
    environ = OUTPUTS | {"SWITCHYARD_URL": f"http://127.0.0.1:{address.server_port}"}
    status, said = cloud.run("deployed", "--config", str(config), environ=environ, get=hooks.ask)
    assert (status, cloud.paused) == (1, paused)
    assert words in said


def test_an_app_that_cannot_read_its_configuration_yet_is_waited_for(cloud, config, address):
    """Its role on the container may be as young as the app."""
    address.answers = [STARTING, (503, told("red", "switchyard.yaml")), (200, told("ok"))]
    environ = OUTPUTS | {"SWITCHYARD_URL": f"http://127.0.0.1:{address.server_port}"}
    status, said = cloud.run("deployed", "--config", str(config), environ=environ, get=hooks.ask)
    assert (status, cloud.paused) == (0, 2), said


def test_the_package_goes_to_the_app_and_azure_installs_the_libraries(cloud, tmp_path):
    package = tmp_path / "package.zip"
    status, said = cloud.run("code", "--package", str(package))
    assert status == 1
    assert f"there is no package {package}: make package" in said
    package.write_text("zip")
    status, said = cloud.run("code", "--package", str(package))
    assert (status, cloud.state["package"]) == (0, ["func-1", "zip", "true"]), said


def test_a_configuration_that_cannot_be_read_leaves_the_subscriptions_as_they_are(cloud, config):
    cloud.set(subscriptions={"switchyard-dev-run-completed": STORAGE})
    (config / "rules" / "a.yaml").write_text("rules: [{name: x}]\n")
    status, said = cloud.run("deployed", "--config", str(config))
    assert status == 1
    assert "the subscriptions stay as they are" in said
    assert cloud.state["subscriptions"] == {"switchyard-dev-run-completed": STORAGE}


def test_a_pipeline_takes_the_outputs_of_the_deployment(cloud, config):
    status, said = cloud.run("deployed", "--config", str(config), "--deployment", "switchyard-dev", environ={})
    assert status == 0, said
    assert cloud.state["calls"][0][:5] == ["deployment", "sub", "show", "--name", "switchyard-dev"]
    status, said = cloud.run("deployed", "--config", str(config), environ={})
    assert status == 1
    assert "is not known: run it by azd, or name the --deployment" in said


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({}, ["azd env set SWITCHYARD_MAIL", "azd env set SWITCHYARD_WORKSPACE_ID"]),
        ({"SWITCHYARD_MAIL": "a@b", "SWITCHYARD_WORKSPACE_ID": "prod"}, ["is 'prod'; expected /subscriptions/"]),
        ({"SWITCHYARD_MAIL": "a@b", "SWITCHYARD_WORKSPACE_ID": WORKSPACE}, []),
    ],
)
def test_what_is_missing_is_said_before_anything_costs_money(cloud, environ, words):
    status, said = cloud.run("check", environ=environ)
    assert status == (1 if words else 0)
    assert all(word in said for word in words), said


@pytest.mark.parametrize("names", [("production-eu1", "production-eu2"), ("dev", "dev-2")])
def test_two_environments_on_one_topic_have_names_of_their_own(names):
    stems = [hooks._stem({"AZURE_ENV_NAME": name}) for name in names]
    assert len(set(stems)) == 2
    assert all(re.fullmatch(r"[a-z0-9-]{1,16}", stem) for stem in stems)


def test_without_the_command_line_of_azure_it_says_where_that_is(capsys):
    assert hooks.main(["check"], {"PATH": "/nowhere"}) == 1
    assert "az, is not on the path" in capsys.readouterr().err


def test_every_secret_is_in_the_vault_by_the_name_that_the_app_looks_for():
    """modules/app.bicep makes the same of a name: small letters, and hyphens."""
    template = (ROOT / "infra/modules/app.bicep").read_text()
    assert "secrets/${toLower(replace(one, '_', '-'))}" in template
    assert hooks._secret("TEAMS_FRAUD_URL") == "teams-fraud-url"
    assert Settings.of({hooks.SIGNING_KEY: "k"}).signing_key == "k"
