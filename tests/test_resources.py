"""What subscriptions say of their resources: Azure Policy and the health of machines, in the documented shapes."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared.events import parse
from shared.messages import builtin, default_for, render
from shared.record import Facts
from shared.rules.filters import filters
from shared.rules.load import load_texts
from shared.web.about import about
from tests.test_rules_load import MAIN

SAMPLES = Path(__file__).resolve().parents[1] / "samples" / "events"
POLICY = "Microsoft.PolicyInsights.PolicyStateChanged"
HEALTH = "Microsoft.ResourceNotifications.HealthResources.AvailabilityStatusChanged"


def sample(name):
    return parse(json.loads((SAMPLES / f"{name}.json").read_text())[0])


def test_what_a_subscription_says_of_a_resource_is_known_by_the_place_of_that():
    policy, health = sample("policy-state-changed"), sample("health-changed")
    assert (policy.type, policy.workspace, policy.resource_group) == (POLICY, "prod", "mlops")
    assert (health.type, health.workspace, health.resource_group) == (HEALTH, None, "mlops")
    assert policy.subscription == health.subscription == "5f3b2c1a-8d4e-4c6b-9a7f-0e1d2c3b4a59"


@pytest.mark.parametrize(
    ("name", "title", "facts"),
    [
        (
            "policy-state-changed",
            f"{POLICY}: workspaces/prod",
            {"State": "NonCompliant", "Policy": "policyassignments/ml-private-link-only", "Workspace": "prod"},
        ),
        (
            "health-changed",
            f"{HEALTH}: virtualMachines/labeling-vm",
            {"State": "Available → Unavailable", "Resource group": "mlops"},
        ),
    ],
)
def test_a_card_says_which_resource_and_how_it_is(name, title, facts):
    event = sample(name)
    now = datetime(2026, 11, 24, tzinfo=UTC)
    note = render(builtin(default_for(event)), event, Facts(), language="en", now=now)
    told = {fact.name: fact.value for fact in note.facts}
    assert (note.title, note.severity) == (title, "warning")
    assert facts.items() <= told.items()
    assert told["Resource"] == event.subject
    assert ("Source" in told) == (event.workspace is None)
    assert about(event) == title.partition(": ")[2]
    japanese = render(builtin(default_for(event)), event, Facts(), language="ja", now=now)
    assert {"状態", "リソース"} <= {fact.name for fact in japanese.facts}


def test_event_grid_holds_back_what_no_rule_asks_of_them():
    rules = f"""
rules:
  - name: policy
    event: {POLICY}
    match: {{data.complianceState: NonCompliant}}
    do: [{{notify: fraud-team}}]
  - name: health
    event: {HEALTH}
    match: {{data.resourceInfo.properties.availabilityState: Unavailable, subject: ends /labeling-vm}}
    do: [{{notify: fraud-team}}]
"""
    loaded = load_texts({"switchyard.yaml": MAIN, "rules/a.yaml": rules})
    found = {
        (clause.key, clause.operator, clause.values)
        for topic in filters(loaded.rules, loaded.config.workspaces.values()).topics
        for one in topic.subscriptions
        for clause in one.clauses
    }
    assert ("data.complianceState", "StringIn", ("NonCompliant",)) in found
    assert ("data.resourceInfo.properties.availabilityState", "StringIn", ("Unavailable",)) in found
