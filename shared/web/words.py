"""Every word of the console, in both languages, side by side."""
# ruff: noqa: RUF001 (Japanese is written with full-width signs)

from typing import Final, Literal, get_args

type Language = Literal["en", "ja"]
LANGUAGES: Final[tuple[Language, ...]] = get_args(Language.__value__)

WORDS: Final[dict[str, tuple[str, str]]] = {
    # The frame
    "skip": ("Skip to the content", "本文へ移動"),
    "nav": ("Pages", "ページ"),
    "nav.events": ("Events", "イベント"),
    "nav.inbox": ("Inbox", "受信箱"),
    "other.language": ("日本語", "English"),
    "other.code": ("ja", "en"),
    "footer.config": ("Configuration {version}", "設定 {version}"),
    "footer.rules": ("{n} rules in force", "有効なルール {n} 件"),
    "footer.rules.one": ("{n} rule in force", "有効なルール {n} 件"),
    "footer.utc": ("All times are UTC", "時刻はすべて UTC です"),
    "footer.simulated": (
        "Azure is simulated: its clock runs ahead, so an event may have happened “later” than it was received",
        "Azure はシミュレーションです。時計が速く進むため、発生時刻が受信時刻より後になることがあります",
    ),
    "health.amber": (
        "{n} configuration files were refused for their mistakes; the others are in force.",
        "設定ファイル {n} 件が誤りのため拒否されました。ほかのファイルは有効です。",
    ),
    "health.amber.one": (
        "{n} configuration file was refused for its mistakes; the others are in force.",
        "設定ファイル {n} 件が誤りのため拒否されました。ほかのファイルは有効です。",
    ),
    "health.red": (
        "No rules are in force: the configuration could not be read. Events are kept, and nothing is done about them.",
        "有効なルールがありません。設定を読み込めませんでした。イベントは保存されますが、何も実行されません。",
    ),
    "health.show": ("What is wrong", "問題の内容"),
    # The list
    "events.title": ("Events", "イベント"),
    "events.lead": (
        "What arrived, newest first, and what was done about it.",
        "届いたイベント（新しい順）と、その対応です。",
    ),
    "filter": ("Filter", "絞り込み"),
    "filter.type": ("Type", "種類"),
    "filter.status": ("Status", "状態"),
    "filter.any": ("any", "すべて"),
    "filter.apply": ("Show", "表示"),
    "filter.clear": ("Clear", "解除"),
    "events.none": ("No events yet", "イベントはまだありません"),
    "events.none.how": ("Send one from the samples:", "サンプルから送信できます。"),
    "events.none.match": ("No event fits this filter", "この条件に合うイベントはありません"),
    "events.older": ("Older events", "以前のイベント"),
    "events.newest": ("Newest events", "最新のイベント"),
    "column.time": ("Time (UTC)", "時刻（UTC）"),
    "column.event": ("Event", "イベント"),
    "column.workspace": ("Workspace", "ワークスペース"),
    "column.rules": ("Rules", "ルール"),
    "column.done": ("What was done", "対応"),
    "column.twice": ("maybe twice", "二重の可能性"),
    "rules.matched": ("{n} matched", "{n} 件一致"),
    "rules.none": ("none matched", "一致なし"),
    "refused.event": ("Could not be read", "読み取れませんでした"),
    # One event
    "event.back": ("Events", "イベント"),
    "event.delivered": ("delivered {n} times, taken in once", "{n} 回配信、取り込みは 1 回"),
    "event.replays": ("replayed {n} times", "再実行 {n} 回"),
    "event.replays.one": ("replayed {n} time", "再実行 {n} 回"),
    "event.received": ("received {at} UTC", "受信 {at} UTC"),
    "event.happened": ("happened {at} UTC", "発生 {at} UTC"),
    "event.simulated": ("(simulated time)", "（シミュレーション時刻）"),
    "event.in": ("workspace {workspace}", "ワークスペース {workspace}"),
    "story.title": ("What was decided, and why", "判断とその理由"),
    "story.considered": ("{n} rules were in force.", "有効なルールは {n} 件でした。"),
    "story.considered.one": ("{n} rule was in force.", "有効なルールは {n} 件でした。"),
    "story.none": ("None of them matched, so nothing was done.", "一致したルールはなく、何も実行していません。"),
    "story.matched": ("{n} matched.", "{n} 件が一致しました。"),
    "story.no.actions": ("Nothing was asked for.", "実行する内容はありませんでした。"),
    "story.actions": ("{n} actions followed: {counts}.", "{n} 件のアクション: {counts}。"),
    "story.actions.one": ("{n} action followed: {counts}.", "{n} 件のアクション: {counts}。"),
    "story.count": ("{n} {status}", "{status} {n} 件"),
    "story.comma": (", ", "、"),
    "story.waiting": ("The event is taken in; its decision follows.", "イベントを取り込みました。判断はこれからです。"),
    "story.deciding": ("{n} rules wait for a lookup ({needs}).", "{n} 件のルールが照会（{needs}）を待っています。"),
    "story.deciding.one": ("{n} rule waits for a lookup ({needs}).", "{n} 件のルールが照会（{needs}）を待っています。"),
    "story.failed": (
        "It could not be decided, and waits for somebody to replay it.",
        "判断できませんでした。再実行を待っています。",
    ),
    "story.refused": ("This could not be read as an event: {reason}", "イベントとして読み取れませんでした: {reason}"),
    "field.about.open": ("The event that this notice is about", "この通知の対象イベント"),
    "story.refused.why": (
        "Nothing was done about it. It is kept below as it came. Event Grid was told that it arrived: the same again would not help.",
        "このイベントに対する処理は行われていません。届いた内容はそのまま下に残しています。再送しても同じ結果になるため、Event Grid には受信済みと応答しました。",
    ),
    "rule.matched": ("Rule {rule} matched.", "ルール {rule} が一致しました。"),
    "rule.undecided": ("Rule {rule} waits for a lookup.", "ルール {rule} は照会を待っています。"),
    "rule.behind": (
        "Rule {rule} waits for {by}, which may stop it.",
        "ルール {rule} は、先に評価される {by} の結果を待っています。",
    ),
    "rule.stopped": (
        "Rule {rule} was not reached: {by} matched before it and says stop.",
        "ルール {rule} は評価されていません。先に一致した {by} が stop を指定しています。",
    ),
    "rule.tell": (
        "The receiver under {tell} in switchyard.yaml is told.",
        "switchyard.yaml の {tell} に指定された通知先に知らせました。",
    ),
    "rule.because": ("Because", "理由"),
    "rule.asks": ("It asks for", "条件"),
    "rule.therefore": ("Therefore", "実行"),
    "rule.always": ("Every event of this type.", "この種類のイベントすべてが対象です。"),
    "line.is": ("{path} is {actual}; the rule asks for {expected}", "{path} は {actual}（条件: {expected}）"),
    "line.missing": ("{path} is missing; the rule asks for {expected}", "{path} はありません（条件: {expected}）"),
    "line.unknown": ("{path} is not known; the rule asks for {expected}", "{path} は未確認（条件: {expected}）"),
    "line.block": ("The rule asks for {expected}", "条件: {expected}"),
    "line.held": ("held", "成立"),
    "line.failed": ("did not hold", "不成立"),
    "line.waits": ("not known yet", "未確認"),
    "earlier.title": ("From an earlier decision", "以前の判断によるもの"),
    # Actions: `do` completes "It will …", `did` completes "It …"
    "do.teams": ("send a Teams card", "Teams カードの送信"),
    "did.teams": ("sent a Teams card", "Teams カードの送信"),
    "act.teams": ("Teams", "Teams"),
    "do.email": ("send an e-mail", "メールの送信"),
    "did.email": ("sent an e-mail", "メールの送信"),
    "act.email": ("E-mail", "メール"),
    "do.sms": ("send an SMS", "SMS の送信"),
    "did.sms": ("sent an SMS", "SMS の送信"),
    "act.sms": ("SMS", "SMS"),
    "do.retrain": ("submit a retraining job", "再学習ジョブの投入"),
    "did.retrain": ("submitted a retraining job", "再学習ジョブの投入"),
    "act.retrain": ("Retraining", "再学習"),
    "do.resubmit": ("submit the failed run again", "失敗したジョブの再投入"),
    "did.resubmit": ("submitted the failed run again", "失敗したジョブの再投入"),
    "act.resubmit": ("Resubmit", "再投入"),
    "do.dispatch": ("start a GitHub workflow", "GitHub ワークフローの開始"),
    "did.dispatch": ("started a GitHub workflow", "GitHub ワークフローの開始"),
    "act.dispatch": ("GitHub", "GitHub"),
    "do.webhook": ("call a webhook", "Webhook の呼び出し"),
    "did.webhook": ("called a webhook", "Webhook の呼び出し"),
    "act.webhook": ("Webhook", "Webhook"),
    "do.other": ("run {action}", "{action} の実行"),
    "did.other": ("ran {action}", "{action} の実行"),
    "act.other": ("{action}", "{action}"),
    "intent.waiting": ("It will {do}.", "{do}を待っています。"),
    "intent.running": ("It is being asked to {do}.", "{do}を実行しています。"),
    "intent.retrying": ("It could not {do} yet, and tries again.", "{do}はまだ成功していません。再試行します。"),
    "intent.done": ("It {did} at {at}.", "{did}を {at} に完了しました。"),
    "intent.refused": ("It could not {do}: it was refused.", "{do}は拒否されました。"),
    "intent.failed": ("It could not {do}: every attempt is used up.", "{do}は試行回数の上限に達して失敗しました。"),
    "intent.held": ("It did not {do}: a guard held it back.", "{do}はガードにより見送られました。"),
    "intent.twice": (
        "May have been sent twice: an earlier try ended without an answer, and the far side cannot tell a repetition.",
        "二重に送信された可能性があります。前回の試行は応答なしで終わり、送信先は重複を判別できません。",
    ),
    "intent.open": ("Open the result", "結果を開く"),
    "open.job": ("Open the job", "ジョブを開く"),
    "open.workflow": ("Open the workflow run", "ワークフローの実行を開く"),
    "intent.attempts": ("{n} attempts", "試行 {n} 回"),
    "intent.attempts.one": ("{n} attempt", "試行 {n} 回"),
    "intent.params": ("Parameters", "パラメーター"),
    "intent.key": ("Key", "キー"),
    "status.waiting": ("waiting", "待機中"),
    "status.deciding": ("deciding", "判断中"),
    "status.decided": ("decided", "判断済み"),
    "status.refused": ("refused", "拒否"),
    "status.failed": ("failed", "失敗"),
    "status.running": ("running", "実行中"),
    "status.retrying": ("retrying", "再試行中"),
    "status.done": ("done", "完了"),
    "status.held": ("held", "見送り"),
    "attempt.done": ("done", "完了"),
    "attempt.later": ("again later", "後で再試行"),
    "attempt.refused": ("refused", "拒否"),
    "attempt.failed": ("failed", "失敗"),
    "attempt.held": ("held back", "見送り"),
    "attempt.uncertain": ("its effect may have happened", "効果が生じた可能性があります"),
    # Lookups
    "lookup.title": ("What was looked up", "照会した内容"),
    "lookup.metrics": ("Metrics", "メトリック"),
    "lookup.metrics.none": ("The run has logged no metrics.", "このジョブにはメトリックが記録されていません。"),
    "lookup.job": ("Run", "ジョブ"),
    "lookup.unknown": ("{lookup} could not be looked up: {reason}", "{lookup} を照会できませんでした: {reason}"),
    "job.status": ("Status", "状態"),
    "job.name": ("Name", "名前"),
    "job.error": ("Error", "エラー"),
    "job.error_code": ("Error code", "エラーコード"),
    "job.started": ("Started", "開始"),
    "job.ended": ("Ended", "終了"),
    "job.duration": ("Duration", "所要時間"),
    "job.compute": ("Compute", "コンピューティング"),
    "job.studio_url": ("Studio", "スタジオ"),
    "job.open": ("Open in Azure ML studio", "Azure ML スタジオで開く"),
    "job.is_child": ("Child run", "子ジョブ"),
    "job.parent": ("Parent run", "親ジョブ"),
    "yes": ("yes", "はい"),
    "no": ("no", "いいえ"),
    # Rules that nearly matched
    "near.title": ("Rules that nearly matched", "一致に近かったルール"),
    "near.now": (
        "Checked against configuration {version}, which made this decision.",
        "この判断を行った設定 {version} と照合しました。",
    ),
    "near.changed": (
        "Checked against configuration {version}, in force now. The decision above was made by {decided}.",
        "現在有効な設定 {version} と照合しました。上の判断は設定 {decided} によるものです。",
    ),
    "near.rule": ("Rule {rule} did not match.", "ルール {rule} は一致しませんでした。"),
    "near.would": ("Rule {rule} would match now.", "ルール {rule} は、現在の設定では一致します。"),
    "near.others": (
        "{n} more rules for this type were further off.",
        "この種類のイベントを対象とするルールは、ほかに {n} 件あります。",
    ),
    "near.others.one": (
        "{n} more rule for this type was further off.",
        "この種類のイベントを対象とするルールは、ほかに {n} 件あります。",
    ),
    "near.none": (
        "No other rule is for this type of event.",
        "この種類のイベントを対象とするルールはほかにありません。",
    ),
    # The event itself
    "fields.title": ("The event", "イベントの内容"),
    "field.about": ("About", "対象"),
    "field.id": ("Event id", "イベント ID"),
    "field.record": ("Record", "記録"),
    "field.raw_type": ("Full type", "完全な種類名"),
    "field.source": ("Source", "発生元"),
    "field.subject": ("Subject", "サブジェクト"),
    "field.resource_group": ("Resource group", "リソースグループ"),
    "field.subscription": ("Subscription", "サブスクリプション"),
    "field.tags": ("Tags", "タグ"),
    "field.properties": ("Properties", "プロパティ"),
    "payload": ("The payload as it came", "届いたペイロード"),
    "bytes": ("What came, {n} bytes", "届いた内容（{n} バイト）"),
    "bytes.one": ("What came, {n} byte", "届いた内容（{n} バイト）"),
    "replay.title": ("Replay", "再実行"),
    "replay.what": (
        "Decides again by the rules in force now, and does what is not done yet. What is done stays done.",
        "現在有効なルールで判断し直し、まだ完了していないものを実行します。完了済みのものはそのままです。",
    ),
    "replay.refused": (
        "Reads it once more: worth a try after an upgrade of Switchyard. If the sender is at fault, have it send a correct event.",
        "もう一度読み取ります。Switchyard を更新した後にお試しください。送信元に原因がある場合は、正しいイベントを送信し直す必要があります。",
    ),
    "replay.button": ("Replay this event", "このイベントを再実行"),
    "replay.taken": (
        "The replay is on its way. Reload this page to see it.",
        "再実行を受け付けました。再読み込みすると結果が表示されます。",
    ),
    # Pages that say no
    "problem.400": ("This address asks for something that cannot be", "このアドレスの指定に誤りがあります"),
    "problem.403": ("Not from here", "この操作は許可されていません"),
    "problem.404": ("Nothing is here", "ページが見つかりません"),
    "problem.405": ("Not in this way", "この操作方法は使えません"),
    "problem.409": ("This cannot be replayed", "再実行できません"),
    "problem.500": ("Something went wrong here", "内部で問題が発生しました"),
    "problem.503": ("Out of reach for the moment", "一時的に利用できません"),
    "problem.home": ("To the events", "イベント一覧へ"),
}


class Words:
    """The words of one language. `n` chooses between the singular (`key.one`) and the plural where both are there."""

    def __init__(self, language: Language) -> None:
        self.language: Language = language
        self._column = LANGUAGES.index(language)

    def __call__(self, key: str, **values: object) -> str:
        return self.template(key, **values).format(**values)

    def template(self, key: str, **values: object) -> str:
        """The sentence before its values are put in."""
        if values.get("n") == 1 and f"{key}.one" in WORDS:
            key = f"{key}.one"
        return WORDS[key][self._column]

    def action(self, form: Literal["do", "did", "act"], action: str) -> str:
        """An action in words; one that has none here goes by its name."""
        key = f"{form}.{action}"
        return self(key if key in WORDS else f"{form}.other", action=action)


def chosen(asked: str | None, kept: str | None, accepted: str) -> Language:
    """By `?lang=`, then by the cookie, then by Accept-Language in the order of its weights; English for all others."""
    for wish in (asked, kept, *_by_weight(accepted)):
        for language in LANGUAGES:
            if wish and wish.casefold().split("-")[0] == language:
                return language
    return "en"


def _by_weight(accepted: str) -> list[str]:
    ranked: list[tuple[float, str]] = []
    for part in accepted.split(","):
        tag, _, weight = part.partition(";")
        try:
            rank = float(weight.strip().removeprefix("q=")) if weight else 1.0
        except ValueError:
            continue
        ranked.append((rank, tag.strip()))
    return [tag for rank, tag in sorted(ranked, key=lambda pair: -pair[0]) if rank > 0]
