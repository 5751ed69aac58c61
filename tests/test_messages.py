"""What people are told, in both languages; and the templates within parameters."""

import subprocess
import sys
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import messages
from shared.actions import Language, Link, Note, Severity, teams
from shared.breach import Crossed
from shared.errors import PermanentError
from shared.events import BREACH, TYPES, Blob, Drift, Endpoint, Event, Model, Run, blob_of
from shared.messages import (
    Template,
    builtin,
    builtin_names,
    check,
    default_for,
    fill,
    formats,
    needs,
    parse_template,
    render,
    sandbox,
)
from shared.messages.together import together
from shared.record import Facts, Job, view
from simulator import cards

NOW = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)
SOURCE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/prod"
LANGUAGES: tuple[Language, ...] = ("en", "ja")
both_languages = pytest.mark.parametrize("language", LANGUAGES)


def event(kind: str, **parts: object) -> Event:
    values: dict[str, object] = {"workspace": "prod", "tags": {"team": "fraud"}} | parts
    return Event("e-1", kind, NOW, SOURCE, "a/subject", kind, **values)  # type: ignore[arg-type]


def everything(note: Note) -> str:
    rows = [f"{fact.name}={fact.value}" for fact in (*note.facts, *note.table)]
    return "\n".join([note.title, note.text, note.short, note.code, *rows, *(link.text for link in note.links)])


RUN = Run("frosty_sun_1", experiment="fraud-weekly", status="Completed")
FAILED = Run("frosty_sun_1", experiment="fraud-weekly", status="Failed")
MODEL, ENDPOINT = Model("fraud", "7"), Endpoint("fraud-online", "Managed", ("fraud:7", "rules:2"))
ROLLOUT: dict[str, object] = {
    "rollout": "r-1",
    "policy": "fraud-online",
    "endpoint": "fraud-online",
    "model": "fraud",
    "version": "7",
    "deployment": "fraud-7-1a2b3c",
    "status": "baking",
    "percent": 10,
    "reason": "Because of this.",
    "reason_ja": "このため。",
    "readings": [
        {"gate": "http_5xx", "said": "HTTP 5xx: canary 1.2 %: holds", "said_ja": "HTTP 5xx: カナリア 1.2 %: 基準内"},
    ],
    "duration": 4350,
    "previous": "fraud:6",
    "rule": "fraud-candidate",
}
SILENCE_ID = "20261117T083000-1a2b3c4d"
SILENCE: dict[str, object] = {
    "silence": SILENCE_ID,
    "owner": "Naoko",
    "reason": "migration",
    "began": "2026-11-17T08:30:00+00:00",
    "until": "2026-11-21T08:30:00+00:00",
    "matchers": "tags.team = fraud",
    "held_back": 12,
}
ENDED: dict[str, object] = {
    "action": "retrain",
    "rule": "fraud-drift",
    "about": "Retraining after drift",
    "because": "Data drift: fraud",
    "because_ja": "データドリフト検出: fraud",
    "said": "job j1 completed",
    "reason": "job j1 completed",
    "took": 4350,
    "key": "abc-fraud-drift-1",
    "record": "abc",
    "link": "https://ml.test/j1",
    "values": {"job": "j1", "metrics": {"auc": 0.93}},
}
TOLD: dict[str, tuple[Event, Facts, Severity, tuple[str, ...]]] = {
    "run-completed": (
        event("RunCompleted", run=RUN),
        Facts({"auc": 0.934213, "rows": 120000.0}, Job(name="Fraud weekly", duration=4350)),
        "good",
        ("Fraud weekly", "fraud-weekly", "team|担当チーム=fraud", "1 h 12 min|1時間12分", "auc=0.9342", "rows=120,000"),
    ),
    "run-failed": (
        event("RunStatusChanged", run=FAILED),
        Facts(job=Job(error="ValueError: column amount is missing", error_code="UserError")),
        "bad",
        ("frosty_sun_1", "UserError", "ValueError: column amount is missing"),
    ),
    "run-status": (event("RunStatusChanged", run=Run("r1", status="Canceled")), Facts(), "warning", ("r1", "Canceled")),
    "model-registered": (event("ModelRegistered", model=MODEL), Facts(), "info", ("fraud", "7")),
    "model-deployed": (
        event("ModelDeployed", endpoint=ENDPOINT),
        Facts(),
        "good",
        ("fraud-online", "fraud:7, rules:2"),
    ),
    "drift-detected": (
        event("DriftDetected", drift=Drift("transactions", coefficient=0.83503490)),
        Facts(),
        "warning",
        ("transactions", "0.835"),
    ),
    "blob-created": (
        event("BlobCreated", blob=Blob("https://x/in/a.csv", "in", "a.csv", 5 * 2**20)),
        Facts(),
        "info",
        ("a.csv", "5 MiB"),
    ),
    "model-quality-degraded": (
        event("ModelQualityDegraded", model=MODEL, data={"metric": "auc", "value": 0.71, "threshold": 0.8}),
        Facts(),
        "bad",
        ("fraud", "auc", "0.71", "0.8"),
    ),
    "model-quality-recovered": (
        event(
            "ModelQualityRecovered", model=MODEL, data={"metrics": {"auc": {"value": 0.912}}, "window": "2026-11-20"}
        ),
        Facts(),
        "good",
        ("fraud", "auc 0.912", "2026-11-20"),
    ),
    "model-quality-unknown": (
        event("ModelQualityUnknown", model=MODEL, data={"watch": "fraud", "reason": "HTTP 403"}),
        Facts(),
        "warning",
        ("fraud", "quality/fraud.yaml", "HTTP 403"),
    ),
    "rollout-started": (
        event("RolloutStarted", model=MODEL, endpoint=ENDPOINT, data=ROLLOUT),
        Facts(),
        "info",
        ("fraud-online", "fraud:6", "Because of this.|このため。", "fraud-candidate"),
    ),
    "rollout-advanced": (
        event("RolloutAdvanced", model=MODEL, endpoint=ENDPOINT, data=ROLLOUT),
        Facts(),
        "info",
        ("fraud-online", "10%", "HTTP 5xx=canary 1.2 %: holds|HTTP 5xx=カナリア 1.2 %: 基準内", "1 h 12 min|1時間12分"),
    ),
    "rollout-waiting": (
        event(
            "RolloutWaiting",
            model=MODEL,
            endpoint=ENDPOINT,
            data=ROLLOUT
            | {
                "ask": 17,
                "ask_of": "ml-leads",
                "until": "2026-11-21T08:30:00+00:00",
                "question": "May it go on?",
                "question_ja": "次に進めてよろしいですか。",
            },
        ),
        Facts(),
        "warning",
        (
            "May it go on?|次に進めてよろしいですか。",
            "21 Nov 2026, 08:30|2026年11月21日 08:30",
            "ml-leads",
            "rollout policy fraud-online|ロールアウトポリシー fraud-online",
            "Because of this.|このため。",
            "HTTP 5xx=canary 1.2 %: holds|HTTP 5xx=カナリア 1.2 %: 基準内",
        ),
    ),
    "rollout-stuck": (
        event("RolloutStuck", model=MODEL, endpoint=ENDPOINT, data=ROLLOUT),
        Facts(),
        "bad",
        ("fraud-online", "Because of this.|このため。", "10%", "fraud-7-1a2b3c"),
    ),
    "rollout-completed": (
        event("RolloutCompleted", model=MODEL, endpoint=ENDPOINT, data=ROLLOUT | {"approved_by": "Mika, Naoko"}),
        Facts(),
        "good",
        ("fraud-online", "Mika, Naoko", "fraud:6", "1 h 12 min|1時間12分", "Because of this.|このため。"),
    ),
    "rollout-rolled-back": (
        event("RolloutRolledBack", model=MODEL, endpoint=ENDPOINT, data=ROLLOUT),
        Facts(),
        "bad",
        (
            "fraud-online",
            "Because of this.|このため。",
            "fraud:6",
            "HTTP 5xx=canary 1.2 %: holds|HTTP 5xx=カナリア 1.2 %: 基準内",
        ),
    ),
    "expected-event-missing": (
        event("ExpectedEventMissing", data={"expected": "ModelDeployed", "after": "ModelRegistered", "within": 7200}),
        Facts(),
        "warning",
        ("ModelDeployed", "ModelRegistered", "2 h|2時間"),
    ),
    "silence-ending": (
        event("SilenceEnding", data=SILENCE),
        Facts(),
        "warning",
        ("tags.team = fraud", "Naoko", "migration", "21 Nov 2026, 08:30|2026年11月21日 08:30", "=12", SILENCE_ID),
    ),
    "silence-long": (
        event("SilenceLong", data=SILENCE),
        Facts(),
        "info",
        ("tags.team = fraud", "Naoko", "migration", "17 Nov 2026, 08:30|2026年11月17日 08:30", "=12", SILENCE_ID),
    ),
    "action-failed": (
        event("ActionFailed", data={"action": "teams", "rule": "fraud", "reason": "HTTP 404", "record": "abc"}),
        Facts(),
        "bad",
        ("teams", "fraud", "HTTP 404", "abc"),
    ),
    "action-completed": (
        event("ActionCompleted", run=RUN, data=ENDED | {"state": "succeeded"}),
        Facts(),
        "good",
        (
            "fraud-drift",
            "Retraining after drift",
            "Data drift: fraud|データドリフト検出: fraud",
            "1 h 12 min|1時間12分",
            "auc=0.93",
            "job j1 completed",
        ),
    ),
    "event-refused": (
        event("EventRefused", data={"reason": "id is missing", "record": "abc"}),
        Facts(),
        "warning",
        ("id is missing", "abc"),
    ),
    "events-dead-lettered": (
        event(
            "EventsDeadLettered",
            data={
                "total": 12,
                "unread": 1,
                "said": "12 events: TimeToLiveExceeded, NotFound",
                "since": "2026-11-23T00:00:00Z",
                "why": [
                    {"reason": "TimeToLiveExceeded", "outcome": "NotFound", "subscription": "SWITCHYARD", "count": 12}
                ],
                "types": [{"type": "Microsoft.MachineLearningServices.RunCompleted", "count": 12}],
            },
        ),
        Facts(),
        "warning",
        ("12", "TimeToLiveExceeded", "NotFound", "SWITCHYARD", "RunCompleted (12)", "=1"),
    ),
    "digest": (
        event(
            "Digest",
            data={
                "total": 47,
                "since": "2026-11-23T00:00:00Z",
                "groups": [{"rule": "fraud-run-failed", "guard": "throttle", "receiver": "fraud-team", "count": 40}],
            },
        ),
        Facts(),
        "info",
        ("47", "fraud-run-failed", "throttle", "fraud-team", "40"),
    ),
    "rule-silent": (
        event(
            "RuleSilent",
            data={
                "rule": "fraud-run-good",
                "last": "2026-11-18T08:00:00Z",
                "longest": 93_600,
                "quiet": 172_800,
                "fired": 31,
                "cause": "No RunCompleted has come since.",
                "cause_ja": "以後 RunCompleted が届いていません。",
            },
        ),
        Facts(),
        "warning",
        ("fraud-run-good", "1 d 2 h|1日2時間", "2 d|2日", "31", "No RunCompleted|届いていません"),
    ),
    "rules-changed": (
        event(
            "RulesChanged",
            data={
                "version": "b2",
                "before": "a1",
                "files": ["rules/fraud.yaml"],
                "flags": [
                    {"said": "fraud-team gets 40 instead of 4", "said_ja": "fraud-team への通知が 4 件から 40 件に"}
                ],
            },
        ),
        Facts(),
        "warning",
        ("fraud-team", "40", "rules/fraud.yaml", "b2", "a1"),
    ),
    "event": (event("Contoso.Shipped"), Facts(), "info", ("Contoso.Shipped", "a/subject")),
}


@both_languages
@pytest.mark.parametrize(
    ("state", "severity", "begins", "says"),
    [
        ("failed", "bad", "Failed: |失敗: ", "it has failed after 1 h 12 min|失敗しました (所要時間 1時間12分)"),
        ("canceled", "warning", "Canceled: |キャンセル: ", "canceled it|キャンセルされました"),
        ("unknown", "warning", "Unknown outcome: |結果不明: ", "It may still be going on|まだ実行中の可能性"),
        ("queued", "warning", "Not started: |未開始: ", "It is followed further|引き続き監視し"),
    ],
)
def test_what_was_started_and_did_not_end_well_is_told_as_that(language, state, severity, begins, says):
    told = render(None, event("ActionFailed", data=ENDED | {"state": state}), Facts(), language=language)
    at = 1 if language == "ja" else 0
    assert told.title == f"{begins.split('|')[at]}Retraining after drift"
    assert told.severity == severity
    assert says.split("|")[at] in told.text
    assert "fraud-drift" in told.text
    assert ("Data drift: fraud", "データドリフト検出: fraud")[at] in told.text
    assert told.code == "job j1 completed"
    assert told.links[0].url == "https://ml.test/j1"
    assert len(told.short) < (140 if language == "en" else 70)


@both_languages
@pytest.mark.parametrize("name", TOLD)
def test_each_kind_of_event_is_told_with_what_matters(name: str, language: Language):
    about, facts, severity, words = TOLD[name]
    assert default_for(about) == name
    note = render(None, about, facts, language=language, now=NOW)
    said = everything(note)
    assert note.severity == severity
    assert not [word for word in words if not any(one.casefold() in said.casefold() for one in word.split("|"))], said
    assert not [bad for bad in ("None", "Undefined", "{{", "{%", "Template=") if bad in said], said


def test_every_template_is_told_about_above():
    assert sorted([*TOLD, "collected"]) == list(builtin_names())


def trials(n: int) -> list[tuple[Event, Facts]]:
    runs = [event("RunCompleted", run=Run(f"HD_1_{one}", is_child=True, parent="HD_1")) for one in range(n)]
    return [(run, Facts({"auc": 0.8 + one / 100, "loss": 1 - one / 100})) for one, run in enumerate(runs)]


@both_languages
@pytest.mark.parametrize(
    ("metric", "lower", "best", "worst"),
    [("auc", None, "#19", "#0"), ("loss", None, "#19", "#0"), ("auc", True, "#0", "#19")],
)
def test_several_events_are_told_of_with_their_number_the_best_and_the_worst(
    language: Language, metric: str, *, lower: bool | None, best: str, worst: str
):
    members = trials(20)
    failed = event("RunStatusChanged", run=Run("HD_1_20", status="Failed", is_child=True, parent="HD_1"))
    several = together([*members, (failed, Facts())], 500, metric, lower=lower)
    note = render(builtin("collected"), members[0][0], Facts(), language=language, now=NOW, collected=several)
    said = everything(note)
    assert note.severity == "warning"
    for words in (
        "500",
        "HD_1",
        "20 RunCompleted|RunCompleted 20",
        "1 RunStatusChanged Failed|RunStatusChanged Failed 1",
    ):
        assert any(one in note.title for one in words.split("|")), note.title
    facts = {fact.name: fact.value for fact in note.facts}
    assert facts["Best" if language == "en" else "最良"].startswith(f"{best}: {metric}")
    assert facts["Worst" if language == "en" else "最低"].startswith(f"{worst}: {metric}")
    assert "490" in note.text  # beside the ten that are shown
    assert note.text.startswith(f"- {best}: {metric}")
    assert facts["Part of" if language == "en" else "親ジョブ"] == "HD_1"
    assert not [bad for bad in ("None", "Undefined", "{{", "{%", "Template=") if bad in said], said


@pytest.mark.parametrize(
    ("language", "title"),
    [("en", "1 of 12 parts in incoming/nov"), ("ja", "incoming/nov: 全 12 ファイル中 1 ファイルが到着")],
)
def test_a_delivery_says_how_many_parts_came_and_how_many_there_shall_be(language, title):
    came = event("BlobCreated", blob=blob_of("https://a/incoming/nov/a.csv", "incoming", "nov/a.csv"))
    part = together([(came, Facts())], 1, "", wanted=12)
    note = render(builtin("collected"), came, Facts(), language=language, now=NOW, collected=part)
    assert (note.title, note.severity) == (title, "warning")
    assert "12" in note.short
    assert "nov/a.csv" in note.text


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", "amount 0.37 (threshold 0.1, NormalizedWassersteinDistance); country 0.21 (threshold 0.1)"),
        ("ja", "amount 0.37 (しきい値 0.1、NormalizedWassersteinDistance)、country 0.21 (しきい値 0.1)"),
    ],
)
def test_drift_is_told_by_its_features_with_value_and_threshold(language, said):
    crossed = (Crossed("amount", "NormalizedWassersteinDistance", 0.37, 0.1), Crossed("country", None, 0.21, 0.1))
    tags = {BREACH: "The signal 'fraud-monitor_data_drift' has failed due to one or more features violating"}
    found = event(
        "DriftDetected",
        tags=tags,
        run=Run("r"),
        drift=Drift("fraud-monitor", "data_drift", 0.37, ("amount", "country"), crossed=crossed),
    )
    note = render(builtin("drift-detected"), found, Facts(), language=language, now=NOW)
    facts = {fact.name: fact.value for fact in note.facts}
    assert facts["Features" if language == "en" else "特徴量"] == said
    assert "data_drift" in facts.values()
    assert "2" in note.text
    assert not [value for value in facts.values() if "has failed due to" in value]  # the sentence says no more


def test_what_the_lookup_found_is_told_where_the_event_says_nothing():
    drift = Drift(coefficient=0.5, features=("amount",), crossed=(Crossed("amount", "psi", 0.5, 0.2),))
    silent = event("DriftDetected", run=Run("r"), drift=Drift("m", "data_drift"))
    note = render(builtin("drift-detected"), silent, Facts(drift=drift), language="en", now=NOW)
    assert "amount 0.5 (threshold 0.2, psi)" in {fact.value for fact in note.facts}
    assert "drift" in needs(builtin("drift-detected"))
    unknown = render(builtin("drift-detected"), silent, Facts(unknown={"drift": "HTTP 403"}), language="ja", now=NOW)
    assert any("取得できませんでした" in fact.value for fact in unknown.facts)


def test_without_metrics_nothing_is_called_the_best():
    several = together([(run, Facts()) for run, _ in trials(3)], 3, "")
    note = render(builtin("collected"), trials(1)[0][0], Facts(), language="en", now=NOW, collected=several)
    assert {"Best", "Worst"}.isdisjoint(fact.name for fact in note.facts)
    assert note.severity == "info"


def test_how_many_were_held_back_is_told_with_the_next_message():
    about = TOLD["run-failed"][0]
    said = everything(render(None, about, Facts(), language="en", now=NOW, held_back=7))
    assert "Held back=7 more of this kind since the last message" in said
    assert "Held back" not in everything(render(None, about, Facts(), language="en", now=NOW))


@both_languages
@pytest.mark.parametrize("name", builtin_names())
def test_an_event_that_says_nothing_still_makes_a_message(name: str, language: Language):
    note = render(builtin(name), Event("1", "X", NOW, "/x"), Facts(), language=language)
    assert note.title
    assert note.short
    assert all(fact.value for fact in note.facts)
    assert "Template" not in {fact.name for fact in note.facts}


@pytest.mark.parametrize("name", builtin_names())
def test_every_template_speaks_both_languages(name: str):
    template = builtin(name)
    pairs = [template.title, template.text, template.short, *(fact.name for fact in template.facts)]
    assert not [pair for pair in pairs if bool(pair.en) != bool(pair.ja) and pair.en != pair.ja and name != "event"]


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_of_event_has_a_template_of_its_own(kind: str):
    assert default_for(event(kind)) != "event"


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        ("The node was preempted.", "プリエンプト"),
        ("Node abc was lost", "接続が失われました"),
        ("Standard NCSv3 cores quota exceeded", "クォータ"),
        ("ValueError: preparation failed", ""),
        ("KeyError: 'node_id'", ""),
    ],
)
def test_a_failure_of_the_platform_is_told_from_one_of_the_code(error: str, cause: str):
    note = render(None, event("RunStatusChanged", run=FAILED), Facts(job=Job(error=error)), language="ja")
    assert (cause in note.text) if cause else ("再投入" not in note.text)
    assert note.code == error


def test_what_could_not_be_looked_up_is_told_too():
    note = render(None, event("RunCompleted", run=RUN), Facts(unknown={"metrics": "HTTP 403"}), language="en")
    assert "Metrics=could not be read (HTTP 403)" in everything(note)


@both_languages
def test_an_approval_card_leads_to_the_answer_first_and_what_a_gate_says_is_no_markdown(language: Language):
    about, facts, _, _ = TOLD["rollout-waiting"]
    reading = {"gate": "g", "said": "[free](https://evil.example): **1** _bad_ <at>all</at>"}
    about = event("RolloutWaiting", model=MODEL, endpoint=ENDPOINT, data={**about.data, "readings": [reading, 7, {}]})
    ours = [Link("approve", "https://s/approve/x.y"), Link("rollout", "https://s/rollouts/r-1")]
    note = render(None, about, facts, language=language, links=ours)
    words = (
        ["Approve or reject", "The rollout, step by step"]
        if language == "en"
        else ["承認または却下する", "ロールアウトの経過を見る"]
    )
    assert [link.text for link in note.links] == words
    assert "https://s/approve/x.y" in note.short
    made = teams.card(note)
    assert cards.problems(made) == []
    buttons = made["actions"]
    assert isinstance(buttons, list)
    assert buttons[0]["url"] == "https://s/approve/x.y"
    shown = str(made["body"])
    assert "](https://evil.example" not in shown
    assert "<at>" not in shown
    assert "**1**" not in shown


@pytest.mark.parametrize("readings", [None, "x", [1], {"a": 1}, [{"said": None}], [{"gate": [], "said": {}}]])
def test_readings_of_no_known_shape_are_left_out(readings: object):
    note = render(
        None,
        event("RolloutAdvanced", model=MODEL, endpoint=ENDPOINT, data={"readings": readings}),
        Facts(),
        language="ja",
    )
    assert "Template" not in {fact.name for fact in note.facts}


@both_languages
def test_buttons_are_in_the_reader_s_language_and_never_twice(language: Language):
    ours = [Link("studio", "https://ml"), Link("console", "https://c")]
    own = parse_template(
        {"title": "x", "links": [{"text": "Mine", "url": "https://c"}, {"text": "No", "url": "{{ event.blob.url }}"}]}
    )
    note = render(own, event("RunCompleted"), Facts(), language=language, links=ours)
    studio = "Open in Azure ML studio" if language == "en" else "Azure ML スタジオで開く"
    assert [(link.text, link.url) for link in note.links] == [("Mine", "https://c"), (studio, "https://ml")]


def test_times_are_those_of_the_reader_s_zone():
    note = render(None, event("ModelRegistered", model=MODEL), Facts(), language="ja", time_zone="Asia/Tokyo")
    assert "登録日時=2026年11月20日 17:30 (JST)" in everything(note)


def test_the_lookups_that_a_message_would_like_are_known():
    assert needs(builtin("run-completed")) == {"metrics", "job"}
    assert needs(builtin("run-failed")) == {"job"}
    assert needs(builtin("model-registered")) == frozenset()
    assert needs(parse_template({"title": "{{ event['metrics'].auc }}"})) == {"metrics"}


def test_importing_messages_does_not_import_jinja2():
    code = "import sys, shared.messages, shared.actions; shared.actions.discover(); print('jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


# Templates of our users.


def test_a_template_that_fails_leaves_out_its_part_and_says_so():
    own = parse_template(
        {
            "title": "{{ 1 / 0 }}",
            "text": "ok",
            "facts": [{"name": "A", "value": "{{ 'x' + 1 }}"}, {"name": "B", "value": 2}],
        }
    )
    note = render(own, event("RunCompleted"), Facts(), language="en")
    assert note.title == "RunCompleted a/subject"
    assert note.text == "ok"
    assert {fact.name: fact.value for fact in note.facts}["B"] == "2"
    assert [fact.value for fact in note.facts if fact.name == "Template"] == [
        "title: ZeroDivisionError: division by zero",
        'A: TypeError: can only concatenate str (not "int") to str',
    ]


def test_facts_come_and_go_by_value_and_condition():
    lines = [
        {"name": "empty", "value": "{{ event.model.name }}"},
        {"name": "no", "value": "x", "when": "{{ event.type == 'Other' }}"},
        {"name": "yes", "value": "x", "when": "{{ event.type == 'RunCompleted' }}"},
    ]
    note = render(parse_template({"title": "t", "facts": lines}), event("RunCompleted"), Facts(), language="en")
    assert [fact.name for fact in note.facts] == ["yes"]


def test_one_text_stands_for_both_languages():
    own = parse_template({"title": "same", "text": {"ja": "日本語だけ"}})
    for language in LANGUAGES:
        note = render(own, event("X"), Facts(), language=language)
        assert (note.title, note.text) == ("same", "日本語だけ")


@pytest.mark.parametrize(
    ("mapping", "place", "words"),
    [
        ({}, ("title",), "Field required"),
        ({"title": " "}, (), "title is empty"),
        ({"title": "x", "colour": "red"}, ("colour",), "Extra inputs"),
        ({"title": {"en": "x", "fr": "y"}}, ("title", "fr"), "Extra inputs"),
        ({"title": "x", "text": "{{ event.modle }}"}, ("text", "en"), "event has no 'modle'; did you mean 'model'"),
        ({"title": "x", "facts": [{"name": "a"}]}, ("facts", 0, "value"), "Field required"),
    ],
)
def test_a_mistake_in_a_template_is_said_with_its_place(
    mapping: dict[str, object], place: tuple[object, ...], words: str
):
    with pytest.raises(ValueError, match=words) as caught:
        parse_template(mapping)
    assert [error["loc"] for error in caught.value.errors()] == [place]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{{ event.model.name }", "unexpected '}'"),
        ("{% if event.run %}\nx", "line 2: Unexpected end of template"),
        ("\n{{ event.run.idd }}", "line 2: event.run has no 'idd'; did you mean 'id'?"),
        ("{{ evnt.id }}", "unknown name 'evnt'; did you mean 'event'?"),
        ("{{ event.id | shrot }}", "unknown filter 'shrot'; did you mean 'short'?"),
        ("{{ event.tags.items() }}", "a call is not possible"),
        ("{{ 2 ** 9 }}", "pow is not possible"),
        ("{% set x = 1 %}", "assign is not possible"),
        ("{% include 'x' %}", "include is not possible"),
        ("{% import 'os' as os %}", "import is not possible"),
        ("{% macro m() %}{% endmacro %}", "macro is not possible"),
        ("{% for a in [1] %}{% for b in [1] %}{% endfor %}{% endfor %}", "a loop within a loop"),
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "nested too deeply"),
        ("{{ 1 }}" + "x" * 20_000, "20,007 characters, and 20,000 is the limit"),
    ],
)
def test_a_wrong_template_is_explained(text: str, words: str):
    assert words in (check(text) or "nothing said")


@pytest.mark.parametrize(
    "text",
    ["plain", "${NAME}", "{{ event.tags['azureml.pipeline'] }}", "{% for n in range(3) %}{{ loop.index }}{% endfor %}"],
)
def test_a_right_template_is_let_through(text: str):
    assert check(text) is None


def said(text: str, **parts: object) -> str:
    return render(
        parse_template({"title": "t", "text": text}), event("RunCompleted", **parts), Facts(), language="en"
    ).text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[{{ event.model.name }}]", "[]"),
        ("[{{ event.drift.coefficient * 100 - 3 }}]", "[]"),
        ("[{{ event.drift.coefficient | number }}{{ event.run.id | short }}{{ event.drift.start | localtime }}]", "[]"),
        ("{% if event.drift.coefficient > 0.3 %}big{% else %}unknown or small{% endif %}", "unknown or small"),
        ("{{ event.tags.items }}", "a tag named items"),
        ("{{ event.tags['a.b'] }} {{ event.data.list }} {{ event.data.yes }}", "dotted 1, 2 true"),
        ("{{ event.type.__class__ }}{{ event.tags.__init__ }}{{ event['__class__'] }}{{ [].append }}", ""),
        ("{% for name, value in event.tags | items %}{{ loop.index }}{{ name }} {% endfor %}", "1items 2a.b"),
        ("{{ event.time | localtime('Asia/Tokyo') }}", "20 Nov 2026, 17:30 (JST)"),
        ("{{ event.data | tojson }}", '{"list":[1,2],"yes":true}'),
    ],
)
def test_what_templates_can_say(text: str, words: str):
    tags = {"items": "a tag named items", "a.b": "dotted"}
    assert said(text, tags=tags, data={"list": [1, 2], "yes": True}) == words


@pytest.mark.parametrize(
    "text",
    [
        "{{ 'a' * 1000000000 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ [0] * 1000000000 }}",
        "{% for a in range(1000000000) %}x{% endfor %}",
        "{% for a in range(1000) %}{{ event.tags.long }}{% endfor %}",
        "{{ event.tags.long | replace('x', event.tags.long) | replace('x', event.tags.long) }}",
        "{{ event.tags.list | join(event.tags.long) }}",
        "{{ range(1000000000) | list }}",
    ],
)
def test_no_template_grows_beyond_measure(text: str):
    assert len(said(text, tags={"long": "x" * 10_000, "list": [1] * 10_000})) <= 20_000


@pytest.mark.parametrize(
    "text",
    [
        "{% for one in event.data.many %}{% if (event.tags.long | replace('x', event.tags.long) | length) == 1 %}y{% endif %}{% endfor %}",
        "{% for one in event.data.many %}{% if (event.data.many | sort | length) == 1 %}y{% endif %}{% endfor %}",
        "{% for one in event.data.many %}{% if (event.data | tojson | length) == 1 %}y{% endif %}{% endfor %}",
        "".join(
            "{{ (event.data.many | sort | tojson | replace('1', event.tags.long) | short(5)) }}" for _ in range(200)
        ),
    ],
)
def test_no_template_goes_through_more_than_a_message_needs(text: str):
    """A hostile template and a large event together: what is counted is the work, not the clock."""
    data = {"many": list(range(100_000))}
    context = {"event": view(event("X", tags={"long": "x" * 10_000}, data=data), Facts()), "language": "en"}
    with pytest.raises(ValueError, match=r"SecurityError: it goes through more than 2,500,000 characters and entries"):
        sandbox.text(text, context)
    assert sandbox.value("{{ event.data.many | length }}", context) == 100_000  # the next one begins anew


@given(st.text(max_size=60) | st.text("{}%# |.()[]'\"event12+*-~", max_size=60))
def test_no_text_can_stop_a_message(text: str):
    assert (
        render(
            Template.model_construct(title=messages.Both(en="t"), text=messages.Both.model_construct(en=text, ja="")),
            event("X"),
            Facts(),
            language="en",
        ).title
        == "t"
    )


# Parameters.


def test_parameters_are_filled_at_every_depth_and_keep_numbers():
    about = event("DriftDetected", drift=Drift(coefficient=0.83), model=MODEL, data={"on": True})
    params = {
        "inputs": {"drift": "{{ event.drift.coefficient }}", "twice": "{{ event.drift.coefficient * 2 }}"},
        "list": ["{{ event.model.name }}-{{ event.model.version }}", 3, None, True],
        "version": "{{ event.model.version }}",
        "on": "{{ event.data.on }}",
        "key": "{{ key }}",
        "missing": "{{ event.blob.url }}",
        "url": "${TEAMS_FRAUD}",
        "{{ not a template }}": "as it is",
    }
    assert fill(params, about, Facts(), {"key": "k-1"}) == {
        "inputs": {"drift": 0.83, "twice": 1.66},
        "list": ["fraud-7", 3, None, True],
        "version": "7",
        "on": True,
        "key": "k-1",
        "missing": "",
        "url": "${TEAMS_FRAUD}",
        "{{ not a template }}": "as it is",
    }


@pytest.mark.parametrize(
    "text", ["{{ event.tags.x }}", "a {{ event.tags.x }}", "${{ event.tags.y }}", "{{ '$' ~ event.tags.y }}"]
)
def test_no_event_brings_in_a_secret(text: str):
    about = event("X", tags={"x": "${GITHUB_TOKEN}", "y": "{GITHUB_TOKEN}"})
    assert "${GITHUB_TOKEN}" not in str(fill(text, about, Facts(), {}))


def test_the_rule_s_own_secret_stays_beside_a_template():
    about = event("X", tags={"x": "${OTHER}"})
    assert fill("Bearer ${TOKEN} {{ event.tags.x }}", about, Facts(), {}) == "Bearer ${TOKEN} $ {OTHER}"


def test_parameters_that_can_t_be_filled_are_refused():
    with pytest.raises(PermanentError, match=r"the template '\{\{ 1 / 0 \}\}' can't be rendered: ZeroDivisionError"):
        fill({"a": "{{ 1 / 0 }}"}, event("X"), Facts(), {})


def test_an_unknown_template_is_refused_with_those_there_are():
    with pytest.raises(PermanentError, match=r"there is no template 'run-complete'; built in are .*run-completed"):
        builtin("run-complete")


# Values.


@pytest.mark.parametrize(
    ("seconds", "english", "japanese"),
    [
        (0.2, "0 s", "0秒"),
        (45, "45 s", "45秒"),
        (130, "2 min 10 s", "2分10秒"),
        (700, "11 min", "11分"),
        (4350, "1 h 12 min", "1時間12分"),
        (7200, "2 h", "2時間"),
        (200_000, "2 d 7 h", "2日7時間"),
        (-1, "", ""),
        (float("nan"), "", ""),
        ("soon", "", ""),
    ],
)
def test_durations(seconds: object, english: str, japanese: str):
    assert (formats.duration(seconds, "en"), formats.duration(seconds, "ja")) == (english, japanese)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.934213, "0.9342"),
        (120_000, "120,000"),
        (123_456.7, "123,457"),
        (0.000012, "1.2e-05"),
        (3e12, "3e+12"),
        (0.0, "0"),
        (-0.5, "-0.5"),
        (float("inf"), "inf"),
        ("7", "7"),
    ],
)
def test_numbers_have_the_digits_that_matter(value: object, words: str):
    assert formats.number(value) == words


@pytest.mark.parametrize(("value", "zone"), [("yesterday", "UTC"), ("2026-11-20T08:30:00Z", "Mars/Base"), (7, "UTC")])
def test_a_time_that_is_none_is_left_as_it_came(value: object, zone: str):
    assert formats.localtime(value, zone, "en") == ("" if value == 7 else value)
