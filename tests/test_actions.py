"""What holds for every action, the next one included."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from shared import book
from shared.actions import Action, Channel, Context, Fact, Link, Note, Params, discover
from shared.errors import PermanentError, TemporaryError
from shared.events import Blob, Drift, Event, Model, Run
from shared.messages import fill
from shared.record import Facts, Result
from shared.rollout.policy import Policy
from shared.rollout.record import SCRIPT, DeploymentState, EndpointState
from shared.world import Origin
from tests.world import START, Outside

DOC = Path(__file__).parent.parent / "docs" / "actions.md"
KEY = "0123456789abcdef0123-fraud-drift-0"
EVENT = Event(
    id="e-1",
    type="DriftDetected",
    time=START,
    source="/subscriptions/s1/resourceGroups/g1/providers/Microsoft.MachineLearningServices/workspaces/prod",
    workspace="prod",
    resource_group="g1",
    subscription="s1",
    run=Run("monitor_run_7", status="Failed"),
    model=Model("fraud", "7"),
    drift=Drift(monitor="transactions", coefficient=0.83),
    blob=Blob("https://contoso.blob.core.windows.net/incoming/2026-11-20.parquet"),
)
NOTE = Note(
    "Data drift: transactions",
    "The data has moved.",
    "Drift: transactions",
    "warning",
    "en",
    facts=(Fact("Coefficient", "0.83"),),
    links=(Link("Open", "https://ml.azure.com"),),
)
ACTIONS = sorted((name, action) for name, action in discover().items() if not action.internal)
each_action = pytest.mark.parametrize(("name", "action"), ACTIONS, ids=[name for name, _ in ACTIONS])
FAR = [(name, action) for name, action in ACTIONS if name != "promote"]
each_far_action = pytest.mark.parametrize(("name", "action"), FAR, ids=[name for name, _ in FAR])
"""Promotion begins with ourselves: what it does far away is the rollout's, and tested there."""


def context(outside: Outside, *, again: bool = False, event: Event = EVENT, key: str = KEY) -> Context:
    cause = {"switchyard_event": event.record, "switchyard_rule": "fraud-drift", "switchyard_depth": "1"}
    policies = {"fraud-online": Policy("fraud-online", "fraud-online")}
    return Context(key, outside.world, cause, event, Facts(), again, policies=policies)


def ready(action: Action[Params]) -> Params:
    """The example as `perform` gives it to the action: templates filled, the message rendered."""
    kind = type(action.example)
    values = fill(action.example.model_dump(exclude_defaults=True), EVENT, Facts(), {"key": KEY, "rule": "fraud-drift"})
    assert isinstance(values, dict)
    return kind.model_validate(values | ({"note": NOTE} if issubclass(kind, Channel) else {}))


def there() -> Outside:
    """A world that has what the examples name."""
    outside = Outside()
    deployments = tuple(DeploymentState(name, "Succeeded", f"churn:{n}") for n, name in enumerate(("blue", "green")))
    outside.serving.endpoints["churn-scores"] = EndpointState(
        "churn-scores", "Succeeded", {"blue": 100}, {}, deployments
    )
    outside.serving.origins["fraud:7"] = Origin(tags={"stage": "dev"})
    return outside


STATES = {"batch_default", "schedule", "tag_model"}
"""They make something so, and ask first whether it is: no key is needed."""


async def run(action: Action[Params], outside: Outside) -> Result:
    return await action.run(ready(action), context(outside))


def keys_sent(outside: Outside) -> list[str]:
    """Everything that went out and says the key: one entry for each effect asked for."""
    found = [
        *outside.platform.names,
        *outside.serving.names,
        *(str(event["id"]) for *_, event in outside.topic.sent),
        *(key for _, key in outside.mail.sent),
        *(key for *_, key in outside.sms.sent),
    ]
    for sent in outside.http.sent:
        spoken = [*(value for name, value in sent.headers.items() if name != "Authorization"), sent.body.decode()]
        found.append(KEY if any(KEY in part for part in spoken) else "no key")
    return found


def test_nobody_can_write_what_rules_of_another_kind_are_made_of():
    assert {name for name, action in discover().items() if action.internal} == {"arrived", "expect"}


def test_every_file_of_the_folder_is_an_action():
    assert [name for name, _ in ACTIONS] == [
        "azure_pipelines",
        "batch",
        "batch_default",
        "data_factory",
        "dispatch",
        "email",
        "forward",
        "jenkins",
        "promote",
        "resubmit",
        "retrain",
        "schedule",
        "sms",
        "synapse",
        "tag_model",
        "teams",
        "webhook",
    ]


@each_far_action
async def test_its_example_runs_and_says_what_it_did(name: str, action: Action[Params]):
    outside = there()
    result = await run(action, outside)
    assert len(result.said) > 10
    assert keys_sent(outside) == ([] if name in STATES else [KEY])


@each_far_action
async def test_a_repetition_carries_the_same_key(name: str, action: Action[Params]):
    outside = there()
    await run(action, outside)
    await run(action, outside)
    assert keys_sent(outside) == ([] if name in STATES else [KEY, KEY])


@each_far_action
async def test_a_busy_far_side_means_later_and_when(name: str, action: Action[Params]):
    outside = there()
    outside.fail(503, retry_after=7)
    with pytest.raises(TemporaryError) as caught:
        await run(action, outside)
    assert caught.value.retry_after == 7


@each_far_action
@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
async def test_a_refusal_is_for_good(name: str, action: Action[Params], status: int):
    outside = there()
    outside.fail(status)
    with pytest.raises(PermanentError, match=str(status)):
        await run(action, outside)


@each_far_action
async def test_no_secret_is_ever_said(name: str, action: Action[Params]):
    outside = there()
    result = await run(action, outside)
    said = [repr(result), repr(ready(action)), repr(outside.world.secret)]
    for status in (503, 404):
        outside.fail(status)
        with pytest.raises((TemporaryError, PermanentError)) as caught:
            await run(action, outside)
        said += [str(caught.value), repr(caught.value)]
    assert not [text for text in said if re.search(r"marker|9876543|flows\.test", text)], said


@pytest.mark.parametrize("name", ["teams", "webhook"])
async def test_a_setting_that_is_missing_is_named(name: str):
    action = discover()[name]
    params = ready(action).model_copy(update={"url": "${MISSING_ONE}"})
    with pytest.raises(PermanentError, match="MISSING_ONE"):
        await action.run(params, context(Outside()))


@each_far_action
async def test_a_key_of_any_letters_goes_through(name: str, action: Action[Params]):
    """Rules are named in Japanese too; headers and job names take letters of ASCII only."""
    outside = there()
    await action.run(ready(action), context(outside, key="abc-ドリフト検出-0"))
    await action.run(ready(action), context(outside, key="abc-ドリフト解消-0"))
    for sent in outside.http.sent:
        assert all(value.isascii() and value.isprintable() for value in sent.headers.values())
    names = [*outside.platform.names, *outside.serving.names]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,254}", job) for job in names)


@each_action
def test_a_typo_in_its_parameters_is_refused(name: str, action: Action[Params]):
    with pytest.raises(ValueError, match="typo"):
        type(action.example).model_validate(action.example.model_dump() | {"typo": 1})


def test_the_document_shows_every_action_with_its_example():
    """Each heading is an action; below it, its summary and its example as a rule would say it."""
    sections = re.split(r"(?m)^## ", DOC.read_text(encoding="utf-8"))[1:]
    shown = {section.split("\n", 1)[0].strip("` "): section for section in sections}
    for name, action in ACTIONS:
        assert action.summary in shown[name]
        example = action.example.model_dump(mode="json", exclude_unset=True)
        assert example in [_plain(block) for block in re.findall(r"```yaml\n(.*?)```", shown[name], re.DOTALL)], name


def test_the_document_lists_the_filters_of_templates():
    from shared.messages import sandbox

    text = DOC.read_text(encoding="utf-8")
    names = sandbox._environment().filters.keys() - {sandbox._TURNS}  # which nobody can write
    assert not [name for name in names if f"`{name}`" not in text]


def _plain(block: str) -> object:
    value = YAML(typ="safe", pure=True).load(block)
    assert isinstance(value, Mapping)
    return dict(value)


async def test_promoting_twice_under_one_key_begins_one_rollout():
    outside, action = Outside(), discover()["promote"]
    first = await action.run(ready(action), context(outside))
    outside.clock.advance(90)
    again = await action.run(ready(action), context(outside, again=True))
    assert (first.said, again.said) == (
        "began the rollout of fraud:7 to fraud-online by policy fraud-online",
        "the rollout of fraud:7 to fraud-online by policy fraud-online was begun by an earlier try",
    )
    ((_, head),) = await book.heads(outside.shelf)
    assert first.values["rollout"] == again.values["rollout"] == head.id
    kept = await book.rollout(outside.shelf, head.id)
    assert kept is not None
    assert (kept.model, kept.version, kept.at, kept.tags["switchyard_depth"]) == ("fraud", "7", START, "1")
    assert kept.script == SCRIPT, "what begins now does what is new"


async def test_promoting_by_a_policy_that_is_not_there_names_those_that_are():
    action = discover()["promote"]
    params = ready(action).model_copy(update={"policy": "fraud-onlin"})
    with pytest.raises(PermanentError, match="no rollout policy 'fraud-onlin' in force; known: fraud-online"):
        await action.run(params, context(Outside()))
