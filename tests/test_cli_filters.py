"""`switchyard filters`: what a person types, reads and gets back."""

import json
from pathlib import Path

import pytest

from shared.cli import main
from tests.grid import within_limits

CONFIG = Path(__file__).parent.parent / "config"
MAIN = """
receivers: {team: {teams: '${TEAM}'}}
workspaces: {prod: {subscription: s, resource_group: g, workspace: prod}}
"""
RULES = r"""
rules:
  - name: odd
    event: [RunCompleted, Contoso.Labels]
    match: {subject: "it's ${x} \\ o\tk", metrics.auc: "> 0.5"}
    do: [{notify: team}]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "rules").mkdir()
    (tmp_path / "switchyard.yaml").write_text(MAIN)
    (tmp_path / "rules" / "a.yaml").write_text(RULES)
    return tmp_path


def test_json_is_all_that_stands_on_standard_output(capsys):
    assert main(["filters", "--config", str(CONFIG), "--json"]) == 0
    said = capsys.readouterr()
    told = json.loads(said.out)
    assert said.err == ""
    assert told["topics"][0]["name"] == "prod"
    assert told["topics"][0]["source"].endswith("/Microsoft.MachineLearningServices/workspaces/prod")
    subscriptions = [sub for topic in told["topics"] for sub in topic["subscriptions"]]
    assert all(within_limits(sub["filter"]) for sub in subscriptions)
    registered = next(sub for sub in subscriptions if sub["name"] == "switchyard-model-registered")
    assert registered["filter"]["enableAdvancedFilteringOnArrays"] is True
    assert main(["filters", "--config", str(CONFIG), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == told


def test_bicep_takes_its_names_as_parameters_and_says_what_it_lets_through(capsys):
    assert main(["filters", "--config", str(CONFIG)]) == 0
    said = capsys.readouterr().out
    assert "param functionId string" in said
    assert "param prodTopic string" in said
    assert "resource prod 'Microsoft.EventGrid/systemTopics@2025-02-15' existing = {" in said
    assert "endpointType: 'AzureFunction'" in said
    assert "eventDeliverySchema: 'EventGridSchema'" in said
    assert "// Lets through what fails these (looked up, not in the event): metrics.auc" in said
    assert said.count("{") == said.count("}")
    symbols = [line.split()[1] for line in said.splitlines() if line.startswith(("param", "resource"))]
    assert len(set(symbols)) == len(symbols)


def test_texts_of_rules_stay_texts_in_bicep(config, capsys):
    assert main(["filters", "--config", str(config), "--topic", "your own topic"]) == 0
    said = capsys.readouterr().out
    assert r"subjectBeginsWith: 'it\'s \${x} \\ o\u{9}k'" in said
    assert "resource yourOwnTopic 'Microsoft.EventGrid/topics@2025-02-15' existing = {" in said
    comments = [line for line in said.splitlines() if line.startswith("//")]
    assert all(line.isprintable() for line in comments)


def test_one_topic_one_subscription_or_the_other_schema(config, capsys):
    assert main(["filters", "--config", str(config), "--json", "--one", "--topic", "prod"]) == 0
    (topic,) = json.loads(capsys.readouterr().out)["topics"]
    assert len(topic["subscriptions"]) == 1
    assert main(["filters", "--config", str(config), "--cloudevents"]) == 0
    assert "eventDeliverySchema: 'CloudEventSchemaV1_0'" in capsys.readouterr().out


def test_what_cannot_be_answered_is_said_in_one_sentence(config, capsys):
    assert main(["filters", "--config", str(config), "--topic", "prdo"]) == 1
    assert "no topic 'prdo' is needed; did you mean 'prod'?" in capsys.readouterr().err
    assert main(["filters", "--config", str(config / "gone")]) == 1
    assert "there is no configuration folder" in capsys.readouterr().err
    (config / "rules" / "b.yaml").write_text("rules: [{name: x}]\n")
    assert main(["filters", "--config", str(config)]) == 1  # the last good rules of that file are still in force
    said = capsys.readouterr()
    assert said.out == ""
    assert "rules/b.yaml cannot be read, and a filter without their rules would lose events" in said.err
    with pytest.raises(SystemExit) as left:
        main(["filters", "--format", "yaml"])
    assert left.value.code == 2


def test_the_queue_is_filled_by_the_identity_of_the_topic_and_nothing_is_dropped(config, capsys):
    id_ = "/SUBSCRIPTIONS/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/prod"
    assert main(["filters", "--config", str(config), "--deliver", "queue", "--topic", id_]) == 0
    said = capsys.readouterr().out
    parameters = [line for line in said.splitlines() if line.startswith("param ")]
    assert parameters == ["param storageId string", "param names string = 'switchyard'", "param prodTopic string"]
    assert "  name: '${names}-run-completed'" in said
    assert "functionId" not in said
    (resource,) = [part for part in said.split("\nresource ")[1:] if "existing" not in part]
    told = [line.strip() for line in resource.splitlines()]
    assert "queueName: 'switchyard-events'" in told
    assert "queueMessageTimeToLiveInSeconds: -1" in told
    assert "blobContainerName: 'switchyard-deadletter'" in told
    assert told.count("type: 'SystemAssigned'") == 2
    assert ("maxDeliveryAttempts: 30" in told, "eventTimeToLiveInMinutes: 1440" in told) == (True, True)
