"""The responsible AI assessment of a model: its questions, with what helps to answer them, and which answers are still open."""

import re
from dataclasses import dataclass
from typing import Final

from shared.actions import Language
from shared.errors import PermanentError, Problem
from shared.rules.tree import Node, Place, nearest, read

FOLDER: Final = "assessments/"

type _Asked = tuple[str, tuple[str, ...]]
"""A question, and what an answer speaks of."""

GUIDE: Final[dict[str, dict[Language, _Asked]]] = {
    "fallback": {
        "en": (
            "What happens when the model is wrong, slow or away?",
            (
                "Who or what decides in its place: fixed rules, an older version, a person.",
                "After which time or which error it takes over, who sees to that, and when it was last tried out.",
            ),
        ),
        "ja": (
            "モデルが誤った場合、遅い場合、停止した場合はどうなりますか。",
            (
                "代わりに判断するもの (固定ルール、以前のバージョン、担当者)。",
                "何秒後、またはどのエラーで切り替わるか、切り替えの担当者、最後に試した時期。",
            ),
        ),
    },
    "stakeholders": {
        "en": (
            "Who is concerned, and has been heard?",
            (
                "Who uses its output, whom it decides about, and who runs it.",
                "Who of them was asked, when, and how they can object later.",
            ),
        ),
        "ja": (
            "影響を受けるのは誰ですか。意見を聞きましたか。",
            (
                "出力を使う人、判断の対象になる人、運用する人。",
                "誰にいつ意見を聞いたか、後から異議を申し立てる方法。",
            ),
        ),
    },
    "misuse": {
        "en": (
            "How could it be misused, and what prevents that?",
            (
                "Uses that it was not made for and that somebody may be tempted by; inputs that somebody may forge.",
                "Who may call it, what is logged, and who looks at that.",
            ),
        ),
        "ja": (
            "どのような誤用・悪用が考えられますか。どう防ぎますか。",
            (
                "本来の目的以外に使われるおそれのある用途、偽造されうる入力。",
                "呼び出せる人、記録される内容、それを確認する人。",
            ),
        ),
    },
    "representativeness": {
        "en": (
            "Whom or what does its data leave out?",
            (
                "From when and where the data is, and which groups, places or cases are few in it or missing.",
                "How well it does for each of them: the cohorts of the scorecard, with the worst one named.",
            ),
        ),
        "ja": (
            "学習データに含まれていない、または少ないのは誰・何ですか。",
            (
                "データの期間と取得元、少ない・欠けている集団や地域や事例。",
                "それぞれに対する性能 (スコアカードのコホート。最も悪いものを明記)。",
            ),
        ),
    },
    "pii": {
        "en": (
            "Which personal data does it see, and how is it protected?",
            (
                "Every field that names a person, or tells one from others together with a few more; also in logs and collected data.",
                "What is removed, hashed or encrypted, who may read the rest, when it is deleted, and on what legal ground it is used.",
            ),
        ),
        "ja": (
            "どの個人情報を扱い、どう保護しますか。",
            (
                "個人を特定できる項目、組み合わせると特定できる項目 (ログや収集データも含む)。",
                "削除・ハッシュ化・暗号化の方法、閲覧できる人、削除の時期、利用の法的根拠。",
            ),
        ),
    },
    "consequential_decisions": {
        "en": (
            "Which decisions of consequence for people follow from it, and who can overrule them?",
            (
                "Money, work, health, access, law: what changes for a person because of its output, and whether alone because of it.",
                "Who can overrule it, within which time, and how the person concerned learns of it.",
            ),
        ),
        "ja": (
            "人に重大な影響を与える判断につながりますか。誰が覆せますか。",
            (
                "金銭・雇用・健康・利用資格・法律: 出力によって何が変わるか、出力だけで決まるか。",
                "誰がいつまでに覆せるか、本人にどう知らせるか。",
            ),
        ),
    },
    "retraining": {
        "en": (
            "When and how is it trained again, and how does that go live?",
            (
                "What starts it: a schedule, drift, a drop in quality, new labels; and what data it then learns from.",
                "By which checks, whose approval and which rollout policy a new version goes live, and what happens until then.",
            ),
        ),
        "ja": (
            "いつ、どのように再学習し、どのように本番へ反映しますか。",
            (
                "きっかけ (定期、ドリフト、品質低下、新しい正解データ) と、使用するデータ。",
                "新しいバージョンを反映するまでの確認、承認者、ロールアウトポリシー、それまでの運用。",
            ),
        ),
    },
}

QUESTIONS: Final = tuple(GUIDE)

_HEAD: Final[dict[Language, str]] = {
    "en": (
        "# The responsible AI assessment of {model}. A rollout whose policy says `responsible_ai: required` goes on only when each\n"
        "# question is answered, by a person, in words. Empty, TODO, TBD, n/a and ? are no answer. A long one: `key: >`, and the\n"
        "# text indented below. A registered model names this file by its tag `responsible_ai: {file}`.\n"
    ),
    "ja": (
        "# {model} の責任ある AI の評価です。ポリシーに `responsible_ai: required` があるロールアウトは、すべての質問に人が文章で\n"
        "# 回答するまで進みません。空欄、TODO、TBD、n/a、? は回答とみなしません。長い回答は `キー: >` と書き、次の行から\n"
        "# 字下げして記入します。登録済みモデルは、タグ `responsible_ai: {file}` でこのファイルを指定します。\n"
    ),
}

_OPEN: Final = re.compile(r"^(\w+:)\s*\?+\s*$", re.MULTILINE)
"""A question mark for an answer, which alone means something else in YAML."""


@dataclass(frozen=True)
class Open:
    """A question without an answer. `at`: where the answer belongs; where nothing is asked yet, the beginning of the file."""

    key: str
    at: Place
    asked: bool
    hint: str = ""


def file_of(model: str) -> str:
    return f"{FOLDER}{model}.yaml"


def still_open(file: str, text: str) -> tuple[list[Open], list[Problem]]:
    """The questions that the file leaves open, in their order; and why it can't be read, in which case all of them are."""
    node, problems = read(file, _OPEN.sub(r"\1", text))
    found = []
    for key in QUESTIONS:
        inside = node.items.get(key) if node is not None else None
        if node is None or inside is None:
            near = nearest(key, [one for one in (node.keys if node else {}) if one not in GUIDE])
            found.append(Open(key, node.at if node else Place(1, 1), asked=False, hint=near))
        elif not _answered(inside):
            found.append(Open(key, node.keys[key], asked=True))
    return found, problems


def written(model: str, text: str | None, language: Language) -> tuple[str, tuple[str, ...]]:
    """The file with every question in it, and which of them are new. What stands there stays as it is. Raises PermanentError
    where it is none that can be added to.
    """
    file = file_of(model)
    missing = QUESTIONS
    if text is not None and text.strip():
        found, problems = still_open(file, text)
        if problems:
            raise PermanentError(str(problems[0]))
        missing = tuple(one.key for one in found if not one.asked)
        if not missing:
            return text, ()
    head = (
        _HEAD[language].format(model=model, file=file)
        if text is None or not text.strip()
        else text
        if text.endswith("\n")
        else f"{text}\n"
    )
    new = head + "".join(f"\n{_block(key, language)}" for key in missing)
    left, problems = still_open(file, new)
    if problems or any(not one.asked for one in left):
        raise PermanentError(f"{file} is not written as one key a line: add {', '.join(missing)} by hand")
    return new, missing


def _block(key: str, language: Language) -> str:
    question, speaks_of = GUIDE[key][language]
    return "".join([f"# {question}\n", *(f"#   - {line}\n" for line in speaks_of), f"{key}:\n"])


def assessment(file: str, text: str | None) -> tuple[str, ...]:
    """The questions that a responsible AI assessment leaves unanswered. Raises PermanentError where there is no such file, or it
    is none that can be read.
    """
    if text is None:
        raise PermanentError(f"there is no assessment {file} in the configuration folder")
    found, problems = still_open(file, text)
    if problems:
        raise PermanentError(f"the assessment can't be read: {problems[0]}")
    return tuple(one.key for one in found)


def _answered(node: Node) -> bool:
    text = str(node.plain()).strip() if isinstance(node.value, str | bool | int | float) else ""
    return text.strip(" .?!…-").casefold() not in {"", "todo", "tbd", "n/a", "none", "xxx"}
