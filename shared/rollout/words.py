"""What a rollout says, in English and Japanese: sentences by their code, and the readings of the judge."""

import re
from typing import Final, Literal

from shared.rollout.record import Reading, Said

type Language = Literal["en", "ja"]
type Values = dict[str, str | int | float]

SENTENCES: Final[dict[str, tuple[str, str]]] = {
    # The beginning
    "begins": (
        "Rollout of {model} to {endpoint} begins.",
        "{endpoint} への {model} のロールアウトを開始します。",
    ),
    "waits": (
        "Waits for its turn: rollout {holder} has the endpoint {endpoint}.",
        "順番待ちです。エンドポイント {endpoint} では、ロールアウト {holder} が進行中です。",
    ),
    "found": (
        "{model} goes to {endpoint}. Traffic at the start: {traffic}; in production: {champion}.",
        "{model} を {endpoint} に展開します。開始時のトラフィック: {traffic}、現行モデル: {champion}。",
    ),
    "live already": (
        "{model} already serves all traffic of {endpoint}: nothing to do.",
        "{model} はすでに {endpoint} の全トラフィックを処理しています。実施する作業はありません。",
    ),
    "no endpoint": (
        "There is no endpoint {endpoint}.",
        "エンドポイント {endpoint} が見つかりません。",
    ),
    "endpoint busy": (
        "Endpoint {endpoint} is in the state {state} and did not come to rest in time.",
        "エンドポイント {endpoint} は状態 {state} のまま、制限時間内に安定しませんでした。",
    ),
    "endpoint failed": (
        "Endpoint {endpoint} is in the state {state}: repair it first.",
        "エンドポイント {endpoint} は状態 {state} です。先に復旧してください。",
    ),
    "no model": (
        "There is no model version {model} in the workspace.",
        "モデルバージョン {model} がワークスペースに存在しません。",
    ),
    "name taken": (
        "There is a deployment {deployment} already, of another model: {model}.",
        "同名のデプロイ {deployment} がすでに存在し、別のモデル {model} を使用しています。",
    ),
    "no mirror": (
        "{endpoint} is a Kubernetes endpoint: it can not mirror traffic, and the policy has a mirror stage.",
        "{endpoint} は Kubernetes エンドポイントのためトラフィックをミラーできませんが、ポリシーにミラー段階があります。",
    ),
    # Checks
    "compared": (
        "{held} of {of} comparisons with {champion} hold: {figures}.",
        "{champion} との比較 {of} 件中 {held} 件が基準を満たしました: {figures}。",
    ),
    "nothing to compare with": (
        "Nothing is live yet, so that comparisons with the model in production hold ({held} of {of}): {figures}.",
        "稼働中のモデルがまだないため、現行モデルとの比較は合格として扱います ({of} 件中 {held} 件): {figures}。",
    ),
    "worse": (
        "{model} is not good enough against {champion}; {held} of {of} comparisons hold, these do not: {figures}.",
        "{model} は {champion} に対する基準を満たしません。{of} 件中 {held} 件が合格、不合格の内訳: {figures}。",
    ),
    "not comparable": (
        (
            "{model} can't be compared with {champion}: nobody knows {figures} ({detail}). {held} of {of} comparisons hold;"
            " unknown is not good."
        ),
        (
            "{model} と {champion} を比較できません。不明な指標: {figures} ({detail})。{of} 件中 {held} 件が合格ですが、"
            "不明な値は合格として扱いません。"
        ),
    ),
    "no assessment": (
        "{model} names no responsible AI assessment: tag it with responsible_ai: <file>.",
        "{model} に責任ある AI の評価が登録されていません。タグ responsible_ai にファイル名を設定してください。",
    ),
    "unanswered": (
        "The responsible AI assessment {file} leaves {count} questions unanswered: {missing}.",
        "責任ある AI の評価 {file} に未回答の質問が {count} 件あります: {missing}。",
    ),
    "assessed": (
        "The responsible AI assessment {file} is complete.",
        "責任ある AI の評価 {file} はすべて記入済みです。",
    ),
    "probed": (
        "Smoke test of {deployment} passed: {sent} requests, {errors} errors (at most {max_errors}), p95 {p95} ms.",
        "{deployment} のスモークテストに合格しました: リクエスト {sent} 件、エラー {errors} 件 (許容 {max_errors} 件)、p95 {p95} ms。",
    ),
    "probes again": (
        "The smoke test of {deployment} is more than {seconds} old: once more, before the first traffic.",
        "{deployment} のスモークテストから {seconds}を超える時間が経過したため、最初のトラフィックの前に再度実施します。",
    ),
    "probed under load": (
        (
            "Smoke test of {deployment} passed: {sent} requests, {errors} errors (at most {max_errors}), p95 {p95} ms. Under load"
            " ({pressed} requests in {seconds}, {rate} a second): {bad} failed ({share} %, at most {most} %), p50 {under50},"
            " p95 {under95}, p99 {under99} ms."
        ),
        (
            "{deployment} のスモークテストに合格しました: リクエスト {sent} 件、エラー {errors} 件 (許容 {max_errors} 件)、p95 {p95} ms。"
            "負荷時 ({seconds}で {pressed} 件、毎秒 {rate} 件): 失敗 {bad} 件 ({share} %、許容 {most} %)、p50 {under50}、"
            "p95 {under95}、p99 {under99} ms。"
        ),
    ),
    "load errors": (
        (
            "{deployment} does not bear the load of {rps} requests a second: {bad} of {pressed} failed ({share} %, at most {most} %)."
            " {detail}. p50 {under50}, p95 {under95}, p99 {under99} ms."
        ),
        (
            "{deployment} は毎秒 {rps} 件の負荷に耐えられません: {pressed} 件中 {bad} 件が失敗しました ({share} %、許容 {most} %)。"
            "{detail}。p50 {under50}、p95 {under95}、p99 {under99} ms。"
        ),
    ),
    "load slow": (
        (
            "{deployment} is too slow under load: {quantile} {value} ms is over {limit} ms ({pressed} requests in {seconds}, {rate} a"
            " second, {bad} failed; p50 {under50}, p95 {under95}, p99 {under99} ms)."
        ),
        (
            "{deployment} は負荷時の応答が遅すぎます: {quantile} {value} ms が上限 {limit} ms を超えました ({seconds}で {pressed} 件、"
            "毎秒 {rate} 件、失敗 {bad} 件、p50 {under50}、p95 {under95}、p99 {under99} ms)。"
        ),
    ),
    "load not brought": (
        "{rps} requests a second were to go to {deployment}, and {rate} went: how it bears the load, nobody knows.",
        "{deployment} に毎秒 {rps} 件を送る予定でしたが、実際は {rate} 件でした。負荷に耐えられるかは確認できていません。",
    ),
    "probe sent nothing": (
        "Smoke test of {deployment}: not one request was sent.",
        "{deployment} のスモークテストでリクエストが 1 件も送信されませんでした。",
    ),
    "probe errors": (
        "Smoke test of {deployment} failed: {errors} errors of {sent} requests (at most {max_errors}), p95 {p95} ms. {detail}",
        "{deployment} のスモークテストは不合格です: リクエスト {sent} 件中エラー {errors} 件 (許容 {max_errors} 件)、p95 {p95} ms。{detail}",
    ),
    "probe wrong": (
        (
            "Smoke test of {deployment} failed: unexpected answers, {sent} requests, {errors} errors (at most {max_errors}),"
            " p95 {p95} ms. {detail}"
        ),
        (
            "{deployment} のスモークテストは不合格です: 期待と異なる応答がありました (リクエスト {sent} 件、エラー {errors} 件、"
            "許容 {max_errors} 件、p95 {p95} ms)。{detail}"
        ),
    ),
    "probe slow": (
        (
            "Smoke test of {deployment} failed: p95 {p95} ms is over {limit} ms ({sent} requests, {errors} errors, at most"
            " {max_errors})."
        ),
        (
            "{deployment} のスモークテストは不合格です: p95 {p95} ms が上限 {limit} ms を超えました (リクエスト {sent} 件、"
            "エラー {errors} 件、許容 {max_errors} 件)。"
        ),
    ),
    # The deployment
    "creates": (
        "Deployment {deployment} of {model} is being created.",
        "{model} のデプロイ {deployment} を作成しています。",
    ),
    "created": (
        "Deployment {deployment} of {model} stands, without traffic.",
        "{model} のデプロイ {deployment} が、トラフィックなしで利用可能になりました。",
    ),
    "not created": (
        "Deployment {deployment} could not be created: {detail}",
        "デプロイ {deployment} を作成できませんでした: {detail}",
    ),
    "creation too long": (
        "Deployment {deployment} was not ready within {within}.",
        "デプロイ {deployment} は {within}以内に準備が完了しませんでした。",
    ),
    "deployment gone": (
        "Deployment {deployment} is gone: somebody deleted it.",
        "デプロイ {deployment} が見つかりません。誰かが削除したと考えられます。",
    ),
    "deployment failed": (
        "Deployment {deployment} has failed: {detail}",
        "デプロイ {deployment} が失敗状態です: {detail}",
    ),
    # The far side
    "busy": (
        "{what}: busy or out of reach for longer than the policy's patience. {detail}",
        "{what}: ポリシーの待機時間を超えて、混雑または接続できない状態が続きました。{detail}",
    ),
    "refused": (
        "{what}: refused. {detail}",
        "{what}: 拒否されました。{detail}",
    ),
    "refused quota": (
        "{what}: there is no quota for it. Free some, or ask for more. {detail}",
        "{what}: クォータが不足しています。不要なリソースを解放するか、増枠を申請してください。{detail}",
    ),
    "refused conflict": (
        "{what}: it conflicts with what is there, or with what somebody else does at the moment. {detail}",
        "{what}: 既存のリソース、または進行中の別の操作と競合しています。{detail}",
    ),
    "refused missing": (
        "{what}: something that it needs is not there. {detail}",
        "{what}: 必要なものが見つかりません。{detail}",
    ),
    "refused fault": (
        "{what}: our own fault. {detail}",
        "{what}: 本サービス側の不具合です。{detail}",
    ),
    # People
    "may it begin": (
        "All checks of {model} have passed. May it get its first traffic on {endpoint}? {silence}",
        "{model} はすべての確認に合格しました。{endpoint} への最初のトラフィックを許可しますか。{silence}",
    ),
    "may it go on": (
        "Stage {n} of {of} has passed: {percent} % for {seconds}, deployment {deployment}. May it go on? {silence}",
        "段階 {n}/{of} に合格しました ({percent} %、{seconds}、デプロイ {deployment})。次に進めてよろしいですか。{silence}",
    ),
    "go on sick": (
        "{gate} is over its limit: canary {canary}, baseline {baseline}, {figure}. Go on all the same?",
        "{gate} が基準を超えました: カナリア {canary}、ベースライン {baseline}、{figure}。それでも続行しますか。",
    ),
    "go on both bad": (
        "Both arms are bad for longer than {patience}: {gate}, canary {canary}, baseline {baseline}, {figure}. Go on?",
        "{patience}を超えて両方の系統が悪化しています: {gate}、カナリア {canary}、ベースライン {baseline}、{figure}。続行しますか。",
    ),
    "go on undecided": (
        (
            "Stage {n} of {of} ({percent} % for {seconds}, deployment {deployment}) is undecided after {extend} more:"
            " {requests} requests, at least {min_requests} wanted. Does it pass?"
        ),
        (
            "段階 {n}/{of} ({percent} %、{seconds}、デプロイ {deployment}) は {extend}の延長後も判定できません: "
            "リクエスト {requests} 件、必要数 {min_requests} 件。合格としてよろしいですか。"
        ),
    ),
    "put it back": (
        (
            "Somebody changed the traffic by hand to {found}. Put it back to {left} and go on? If rejected, the traffic goes back"
            " to {start}; without an answer it stays as it is."
        ),
        (
            "トラフィックが手動で {found} に変更されました。{left} に戻して続行しますか。却下した場合は開始時の {start} に"
            "戻し、回答がない場合は現状のままにします。"
        ),
    ),
    "approved": (
        "Approved by {by}{because}",
        "{by} さんが承認しました{because}",
    ),
    "rejected": (
        "Rejected by {by}{because}",
        "{by} さんが却下しました{because}",
    ),
    "aborted": (
        "Stopped by {by}{because}",
        "{by} さんが中止しました{because}",
    ),
    "taken back": (
        "Taken back after the promotion, by {by}{because}",
        "昇格後に {by} さんが取り消しました{because}",
    ),
    "replaced": (
        "Gives way to a newer candidate, before its first traffic: {by}.",
        "最初のトラフィックの前に、新しい候補に譲りました: {by}。",
    ),
    "rejected in registry": (
        "{model} was tagged as rejected in the registry.",
        "{model} はレジストリで却下のタグが付けられています。",
    ),
    "silence goes on": (
        "Nobody of {of} answered within {within}: it goes on, as the policy says.",
        "{of} から {within}以内に回答がなかったため、ポリシーに従って続行します。",
    ),
    "silence goes back": (
        "Nobody of {of} answered within {within}: it goes back, as the policy says.",
        "{of} から {within}以内に回答がなかったため、ポリシーに従ってロールバックします。",
    ),
    "nobody could be asked": (
        "{of} could not be asked (they would have had {within}): without a question there is no consent.",
        "{of} に確認できませんでした (回答期限 {within})。確認できない場合は承認とみなしません。",
    ),
    # Freezes
    "outside window": (
        "Outside the windows of the policy: traffic moves forward again from {until}.",
        "ポリシーの作業時間帯の外です。トラフィックの移行は {until} に再開します。",
    ),
    "closed": (
        "Closed until {until}: {reason} (owner: {owner}).",
        "{until} まで凍結期間です: {reason} (責任者: {owner})。",
    ),
    "frozen": (
        "Frozen until {until}: {reason} (owner: {owner}).",
        "{until} まで変更が凍結されています: {reason} (責任者: {owner})。",
    ),
    "overridden": (
        "{by} override what holds until {until}{because}",
        "{by} の指示により、{until} までの停止を解除して続行します{because}",
    ),
    # Stages
    "no stages to restore": (
        "No stages: {model} comes back to {endpoint}, it has them behind it.",
        "{model} は以前に段階を終えているため、段階を省略して {endpoint} に戻します。",
    ),
    "no stages in batch": (
        "No stages: {endpoint} is a batch endpoint, its default deployment switches to {model}.",
        "{endpoint} はバッチエンドポイントのため段階はなく、既定のデプロイを {model} に切り替えます。",
    ),
    "no stages without traffic": (
        "No stages: nothing is live on {endpoint} yet that {model} could be held against.",
        "{endpoint} では {model} と比較できるデプロイがまだ稼働していないため、段階を省略します。",
    ),
    "stage mirrors": (
        "Stage {n} of {of}: copies of {percent} % of the requests go to {deployment}, for {seconds} at least.",
        "段階 {n}/{of}: リクエストの {percent} % を {deployment} に {seconds}以上ミラーします。",
    ),
    "stage shifts": (
        "Stage {n} of {of}: {percent} % of the traffic goes to {deployment}, for {seconds} at least.",
        "段階 {n}/{of}: トラフィックの {percent} % を {deployment} に {seconds}以上振り分けます。",
    ),
    "stage passed": (
        "Stage {n} of {of} has passed: {percent} % for {seconds}, {requests} requests to {deployment}.",
        "段階 {n}/{of} に合格しました: {percent} %、{seconds}、{deployment} へのリクエスト {requests} 件。",
    ),
    "too few": (
        (
            "Stage {n} of {of} ({percent} %, {seconds} and {extend} more): {requests} requests to {deployment}, at least"
            " {min_requests} wanted."
        ),
        "段階 {n}/{of} ({percent} %、{seconds}、延長 {extend}): {deployment} へのリクエストは {requests} 件で、必要数 {min_requests} 件に達しません。",
    ),
    "undecided": (
        (
            "Stage {n} of {of} ({percent} %, {seconds} and {extend} more): {requests} requests to {deployment} (at least"
            " {min_requests} wanted) do not show that it is no worse."
        ),
        (
            "段階 {n}/{of} ({percent} %、{seconds}、延長 {extend}): {deployment} へのリクエスト {requests} 件 (必要数 {min_requests} 件) では、"
            "現行より悪くないことを確認できません。"
        ),
    ),
    "breach": (
        "{gate} is over its limit: canary {canary}, baseline {baseline}, {figure}.",
        "{gate} が基準を超えました: カナリア {canary}、ベースライン {baseline}、{figure}。",
    ),
    "both bad": (
        (
            "Both arms are bad, which is not the canary's fault: {gate}, canary {canary}, baseline {baseline}, {figure}."
            " Holds; a person is asked after {patience}."
        ),
        (
            "両方の系統が悪化しており、カナリアが原因ではありません: {gate}、カナリア {canary}、ベースライン {baseline}、{figure}。"
            "待機し、{patience}後に担当者に確認します。"
        ),
    ),
    "both bad too long": (
        (
            "Both arms were bad for longer than {patience}, and nobody said to go on: {gate}, canary {canary}, baseline"
            " {baseline}, {figure}."
        ),
        "{patience}を超えて両方の系統が悪化し、続行の指示がありませんでした: {gate}、カナリア {canary}、ベースライン {baseline}、{figure}。",
    ),
    "blind": (
        "Nothing was known of the traffic for longer than {patience}: no request, or no log. Unknown is not healthy. {detail}",
        "{patience}を超えてトラフィックの状況を確認できませんでした (リクエストなし、またはログなし)。不明な状態は正常とみなしません。{detail}",
    ),
    # Traffic
    "not seen": (
        "The traffic {traffic} was accepted, but not seen within {patience}: found {found}.",
        "トラフィック {traffic} は受け付けられましたが、{patience}以内に反映されませんでした。現在の値: {found}。",
    ),
    "changed by hand": (
        "Somebody changed the traffic by hand: found {found}, left as {left}.",
        "トラフィックが手動で変更されました。現在の値: {found}、設定した値: {left}。",
    ),
    "changed and no answer": (
        (
            "Somebody changed the traffic by hand (found {found}, left as {left}), and nobody said within {within} what to"
            " do: nothing more is touched."
        ),
        "トラフィックが手動で変更され (現在の値: {found}、設定した値: {left})、{within}以内に指示がありませんでした。これ以上は変更しません。",
    ),
    "can not go back": (
        "The traffic could not be put back to {traffic}. {what}: {detail}",
        "トラフィックを {traffic} に戻せませんでした。{what}: {detail}",
    ),
    "way back not seen": (
        "The traffic was to go back to {traffic}, which was not seen within {patience}.",
        "トラフィックを {traffic} に戻しましたが、{patience}以内に反映を確認できませんでした。",
    ),
    # The end
    "promotes": (
        "All is well: {deployment} ({model}) gets all traffic.",
        "問題がないため、{deployment} ({model}) に全トラフィックを切り替えます。",
    ),
    "promoted": (
        "{model} serves all traffic of {endpoint}; before it was {champion}.",
        "{model} が {endpoint} の全トラフィックを処理しています。以前のモデル: {champion}。",
    ),
    "keeps": (
        "The old deployments ({traffic}) are kept until {until}, for an instant way back.",
        "すぐに戻せるように、以前のデプロイ ({traffic}) を {until} まで保持します。",
    ),
    "clears up": (
        "The old deployments are deleted: {deployments}.",
        "以前のデプロイを削除します: {deployments}。",
    ),
    "old ones stay": (
        "The traffic is not as it was left ({left}), found {found}: nothing is deleted.",
        "トラフィックが設定した値 ({left}) と異なるため (現在の値: {found})、何も削除しません。",
    ),
    "gave up": (
        "It can not go on: {reason}",
        "続行できません: {reason}",
    ),
    "nothing approved": (
        "{model}, live on {endpoint}, was rejected in the registry, and there is no earlier approved version to go back to.",
        "{endpoint} で稼働中の {model} がレジストリで却下されましたが、戻せる承認済みの以前のバージョンがありません。",
    ),
}

_COMMANDS: Final = {
    "TakeTurn": ("Taking the turn", "順番の取得"),
    "Look": ("Looking at the endpoint", "エンドポイントの確認"),
    "CompareModels": ("Reading the logged metrics", "記録された指標の取得"),
    "Assess": ("Reading the responsible AI assessment", "責任ある AI の評価の取得"),
    "Create": ("Creating the deployment", "デプロイの作成"),
    "Probe": ("The smoke test", "スモークテスト"),
    "Mirror": ("Mirroring traffic", "トラフィックのミラー"),
    "Shift": ("Shifting traffic", "トラフィックの移行"),
    "Promote": ("Switching all traffic", "全トラフィックの切り替え"),
    "Restore": ("Putting the traffic back", "トラフィックの復元"),
    "Bake": ("Waiting", "待機"),
    "Clear": ("Asking for freezes", "凍結の確認"),
}
_GATES: Final = (
    (re.compile(r"http_(\d)xx"), r"HTTP \1xx", r"HTTP \1xx"),
    (re.compile(r"latency_over_(.+)"), r"answers over \1 ms", r"\1 ms 超の応答"),
    (re.compile(r"mean_latency_ms"), "mean latency", "平均レイテンシ"),
    (re.compile(r"ceiling_error_rate"), "ceiling of the error rate", "エラー率の上限"),
    (re.compile(r"ceiling_latency_over_(.+)"), r"ceiling of answers over \1 ms", r"\1 ms 超の応答の上限"),
)
_STATES: Final = {
    "holds": ("holds", "基準内"),
    "breach": ("over the limit", "基準超過"),
    "both bad": ("both arms bad", "両系統とも悪化"),
    "unknown": ("unknown", "不明"),
    "too few": ("too few requests", "データ不足"),
}
_SECONDS: Final = frozenset({"patience", "within", "seconds", "extend"})
_LARGE: Final = 1e5
_SILENCE: Final[dict[str, tuple[str, str]]] = {
    "rollback": ("Without an answer it goes back.", "回答がない場合はロールバックします。"),
    "promote": ("Without an answer it goes on.", "回答がない場合は次に進みます。"),
    "hold": ("Without an answer it waits.", "回答があるまで待機します。"),
}
"""What follows when nobody answers."""

_UNITS: Final = ((86_400, "d", " 日"), (3_600, "h", " 時間"), (60, "min", " 分"), (1, "s", " 秒"))


def tell(said: Said, language: Language) -> str:
    """The sentence. One of a newer version, or with values that do not fit it, is told by its code and values."""
    japanese = language == "ja"
    pair = SENTENCES.get(said.code)
    try:
        return pair[japanese].format_map(_values(said.values, language)) if pair else _plain(said)
    except (KeyError, ValueError, IndexError):
        return _plain(said)


def span(seconds: float, language: Language) -> str:
    """The same length of time as a person would say it: `90 min`, `1 d`."""
    for size, english, japanese in _UNITS:
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{japanese}" if language == "ja" else f"{seconds / size:g} {english}"
    return f"{seconds:g} 秒" if language == "ja" else f"{seconds:g} s"


def reading(one: Reading, language: Language) -> str:
    """What one gate says, in one line: measured values, threshold and sample size."""
    japanese = language == "ja"
    told = [_counts(one, language)]
    if one.estimate is not None:
        name = "相対差" if japanese else "difference"
        ratio = "オッズ比" if japanese else "odds ratio"
        told.append(f"{name} {100 * one.estimate:+.1f} %" if _mean(one) else f"{ratio} {one.estimate:.2f}")
    if one.e is not None and one.threshold is not None:
        e, needed = _number(one.e), f"{one.threshold:.3g}"
        told.append(f"e {e} (上限 {needed})" if japanese else f"e {e} (limit {needed})")
    told += _bounds(one, japanese=japanese)
    state = _STATES[one.state][japanese]
    separator, comma = (": ", "、") if japanese else (": ", ", ")
    return f"{_gate(one.gate, language)}{separator}{comma.join(told)}{separator}{state}"


def _bounds(one: Reading, *, japanese: bool) -> list[str]:
    limit = None if one.limit is None else f"{'許容値' if japanese else 'limit'} {100 * one.limit:g}"
    if one.upper is None:
        return [f"{limit} %"] if limit else []
    if one.baseline_total:  # a difference of two rates
        upper, unit = (
            f"{'差は最大' if japanese else 'difference at most'} {100 * one.upper:+.2f}",
            "ポイント" if japanese else "points",
        )
    else:
        upper, unit = f"{'率は最大' if japanese else 'rate at most'} {100 * one.upper:.2f}", "%"
    return [f"{upper} {unit} ({limit})" if limit else f"{upper} {unit}"]


def _counts(one: Reading, language: Language) -> str:
    arms = ((one.canary_bad, one.canary_total), (one.baseline_bad, one.baseline_total))
    if _mean(one):
        canary, baseline = (f"n = {total:.0f}" for _, total in arms)
    elif language == "ja":
        canary, baseline = (f"{_rate(bad, total)} ({total:.0f} 件中 {bad:.0f} 件)" for bad, total in arms)
    else:
        canary, baseline = (f"{_rate(bad, total)} ({bad:.0f} of {total:.0f})" for bad, total in arms)
    if language == "ja":
        return f"カナリア {canary}、ベースライン {baseline}"
    return f"canary {canary} against baseline {baseline}"


def _mean(one: Reading) -> bool:
    return one.gate.startswith("mean_")


def _rate(bad: float, total: float) -> str:
    return f"{100 * bad / total:.2f} %" if total else "?"


def _number(value: float) -> str:
    if value < 0.1:  # noqa: PLR2004 (how good "good" is matters little, and "0.0" looks like nothing measured)
        return "< 0.1"
    return f"{value:.1f}" if value < _LARGE else f"{value:.2g}"


def _gate(key: str, language: Language) -> str:
    for pattern, english, japanese in _GATES:
        found = pattern.fullmatch(key)
        if found:
            return found.expand(japanese if language == "ja" else english)
    return key


def _values(values: Values, language: Language) -> Values:
    """With lengths of time, commands and gates in words."""
    told = {name: _value(name, value, language) for name, value in values.items()}
    reason = values.get("reason")
    if language == "ja":
        told["because"] = f" (理由: {reason})。" if reason else "。"
    else:
        told["because"] = f": {reason}" if reason else "."
    return told


def _value(name: str, value: str | float, language: Language) -> str | int | float:
    if name in _SECONDS and isinstance(value, int | float):
        return span(value, language)
    if name == "what" and value in _COMMANDS:
        return _COMMANDS[str(value)][language == "ja"]
    if name == "silence" and value in _SILENCE:
        return _SILENCE[str(value)][language == "ja"]
    if name == "gate":
        return ", ".join(_gate(key, language) for key in str(value).split(", "))
    return value


def _plain(said: Said) -> str:
    values = ", ".join(f"{name} {value}" for name, value in said.values.items())
    return f"{said.code} ({values})" if values else said.code
