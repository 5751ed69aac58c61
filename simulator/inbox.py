"""The inbox for people: what arrived in the simulated world, drawn as its receiver would see it. Needs no script."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal, get_args

from jinja2 import Environment, PackageLoader
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from simulator.state import Channel, Received, Simulated
from simulator.teams import attached

type Language = Literal["en", "ja"]

_PAGE: Final = 50
_MOST_ROWS: Final = 40
_CHANNELS: Final[tuple[Channel, ...]] = get_args(Channel.__value__)

_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "inbox": ("Inbox", "受信箱"),
    "about": ("What arrived in the simulated Azure", "シミュレーションの Azure に届いたもの"),
    "clock": (
        "Simulated time (UTC): it passes faster, so these times run ahead of your clock.",
        "時刻はシミュレーション時刻 (UTC) です。速く進むため、実際の時刻より先になります。",
    ),
    "console": ("Console", "コンソール"),
    "all": ("All", "すべて"),
    "teams": ("Teams", "Teams"),
    "email": ("Mail", "メール"),
    "sms": ("SMS", "SMS"),
    "github": ("GitHub", "GitHub"),
    "webhook": ("Webhooks", "Webhook"),
    "job": ("Jobs", "ジョブ"),
    "pipeline": ("Pipelines", "パイプライン"),
    "devops": ("Azure Pipelines", "Azure Pipelines"),
    "jenkins": ("Jenkins", "Jenkins"),
    "airflow": ("Airflow", "Airflow"),
    "kubeflow": ("Kubeflow", "Kubeflow"),
    "event_hub": ("Event Hubs", "Event Hubs"),
    "topic": ("Event Grid topic", "Event Grid トピック"),
    "to": ("To", "宛先"),
    "from": ("From", "差出人"),
    "key": ("Key", "キー"),
    "older": ("Older", "以前のもの"),
    "newest": ("Newest", "最新"),
    "empty": ("Nothing has arrived yet.", "まだ何も届いていません。"),
    "gone": ("There is no such entry, or it is no longer kept.", "この項目は存在しないか、もう保存されていません。"),
    "text": ("Plain text", "テキスト版"),
    "payload": ("As it came (JSON)", "受信した内容 (JSON)"),
    "dropped": ("Teams answers 202, then does not show this", "Teams は 202 を返しますが、表示はされません"),
    "studio": ("In place of Azure ML studio", "Azure ML スタジオの代わりのページ"),
    "no_page": (
        "The real studio opens here. The simulated Azure shows runs only.",
        "実際の環境では Azure ML スタジオが開きます。シミュレーションではジョブのみ表示できます。",
    ),
    "refused": ("Refused", "拒否されました"),
    "characters": ("characters", "文字"),
    "signature": ("Signature", "署名"),
}

# A card, a mail and a webhook come from outside: no script runs, nothing is fetched but pictures.
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src https: data:; frame-src 'self'; "
    "base-uri 'none'; form-action 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}

_ARM: Final = re.compile(r"^/subscriptions/.*?/workspaces/[^/]+/")
_NOISE: Final = re.compile(r"job_?(Input|Output)_?Type$|^jobs\.|^properties\.|isArchived$|^jobType$", re.IGNORECASE)
_NOTHING: Final = frozenset({"", "null", "{}", "[]"})

_LINK: Final = re.compile(r"\[([^\]\n]+)\]\(((?:https?://|mailto:)[^\s)]+)\)")
_MARKS: Final = (
    (re.compile(r"\*\*(?=\S)(.+?)(?<=\S)\*\*"), r"<strong>\1</strong>"),
    (re.compile(r"(?<![\w*])\*(?=\S)([^*\n]+?)(?<=\S)\*(?![\w*])"), r"<em>\1</em>"),
    (re.compile(r"(?<!\w)_(?=\S)([^_\n]+?)(?<=\S)_(?!\w)"), r"<em>\1</em>"),
    (re.compile(r"&lt;at&gt;(.+?)&lt;/at&gt;"), r'<span class="at">\1</span>'),
    (re.compile(r"\r|\n{2,}|\n(?=[-*] )"), "<br>"),  # one newline alone is a space to Teams
    (re.compile(r"(?:^|(?<=<br>))[-*] +"), "\u2022 "),
)
_ESCAPED: Final = re.compile(r"\\([!-/:-@\[-`{-~])")
_HIDDEN: Final = 0xE000
"""Where a letter after a backslash hides (private use) while its neighbours are marked."""
_SHOWN: Final = {_HIDDEN + code: code for code in range(128)}


def routes(sim: Simulated) -> list[BaseRoute]:
    async def newest(request: Request) -> Response:
        """Newest first; `?channel=` for one channel, `?before=N` for older ones."""
        channel, found = _found(sim, request)
        counts = {name: len(sim.inbox.all(name)) for name in _CHANNELS}
        before = request.query_params.get("before", "")
        older = found[_PAGE - 1].n if len(found) > _PAGE else None
        values = {"entries": found[:_PAGE], "counts": counts, "channel": channel, "older": older, "before": before}
        return page("inbox.html", request, values)

    async def entry(request: Request) -> Response:
        received = sim.inbox.get(request.path_params["n"])
        return page("entry.html", request, {"entry": received}, 200 if received else 404)

    async def listing(request: Request) -> Response:
        """The same as JSON, newest first: `{"received": [...]}`, `?channel=` and `?before=N` as on the page, all at once."""
        _, found = _found(sim, request)
        text = json.dumps({"received": [_plain(received) for received in found]}, ensure_ascii=False, default=str)
        return Response(text, media_type="application/json")

    return [
        Route("/", lambda _: RedirectResponse("/inbox")),  # beside Switchyard, its console is there
        Route("/inbox", newest, methods=["GET"]),
        Route("/inbox.json", listing, methods=["GET"]),
        Route("/inbox/{n:int}", entry, methods=["GET"]),
    ]


def _found(sim: Simulated, request: Request) -> tuple[Channel | None, list[Received]]:
    asked, before = request.query_params.get("channel"), request.query_params.get("before", "")
    channel = next((name for name in _CHANNELS if name == asked), None)
    newest = sim.inbox.all(channel)[::-1]
    return channel, [one for one in newest if not before.isdigit() or one.n < int(before)]


def _plain(received: Received) -> dict[str, object]:
    return vars(received) | {"at": received.at.isoformat()}


def page(name: str, request: Request, values: Mapping[str, object], status: int = 200) -> Response:
    """One of `simulator/pages`, in the language of its reader."""
    language = _language(request)

    def say(word: str) -> str:
        return _WORDS[word][language == "ja"]

    def link(**changes: object) -> str:
        """A link to the inbox that keeps the language a person chose."""
        asked = changes | ({"lang": language} if "lang" in request.query_params and "lang" not in changes else {})
        query = "&".join(f"{key}={value}" for key, value in asked.items() if value)
        return f"?{query}" if query else ""

    text = _pages.get_template(name).render(values, say=say, link=link, language=language, path=request.url.path)
    return HTMLResponse(text, status, _HEADERS)


def _language(request: Request) -> Language:
    """The one asked for by `?lang=`, else the first of ours that the browser names."""
    named = [request.query_params.get("lang", ""), *request.headers.get("accept-language", "").split(",")]
    short = (name.strip()[:2].lower() for name in named)
    return "ja" if next((name for name in short if name in {"en", "ja"}), "en") == "ja" else "en"


# What the pages draw with. Every value may be of any type: a card is whatever somebody sent.


def _parts(value: object) -> Sequence[Mapping[str, object]]:
    return [part for part in value if isinstance(part, dict)] if isinstance(value, list) else []


def _pick(value: object, *known: str) -> str:
    """The value in lower case where it is one of those known, else nothing: fit for a class name."""
    text = value.lower() if isinstance(value, str) else ""
    return text if text in known else ""


def _inline(value: object) -> Markup:
    """The markdown that Teams draws in a TextBlock: bold, italic, links, bullets, and mentions."""
    text = str(escape("" if value is None else value))
    text = _ESCAPED.sub(lambda found: chr(_HIDDEN + ord(found[1])), text)
    html, end = [], 0
    for found in _LINK.finditer(text):
        html.append(_marked(text[end : found.start()]))
        html.append(f'<a href="{found[2]}" rel="noreferrer">{_marked(found[1])}</a>')
        end = found.end()
    marked = "".join([*html, _marked(text[end:])])
    return Markup(marked.translate(_SHOWN))  # noqa: S704 (escaped before it was marked)


def _marked(text: str) -> str:
    for pattern, replacement in _MARKS:
        text = pattern.sub(replacement, text)
    return text


def _web(value: object) -> str:
    """An address a person may be sent to, else nothing."""
    return value if isinstance(value, str) and re.match(r"(https?://|mailto:)", value, re.IGNORECASE) else ""


def _picture(value: object) -> str:
    return value if isinstance(value, str) and re.match(r"(https?://|data:image/)", value, re.IGNORECASE) else ""


def _letter(payload: Mapping[str, object]) -> str:
    """The HTML of a mail with the pictures that came with it, as a mail program shows it."""
    html, pictures = str(payload.get("html") or ""), payload.get("pictures")
    for name, png in pictures.items() if isinstance(pictures, dict) else ():
        html = html.replace(f'"cid:{name}"', f'"data:image/png;base64,{png}"')
    return html


def _width(value: object) -> str:
    """A column's width as CSS: `auto`, `stretch`, pixels, or a share."""
    text = str(value or "stretch").lower()
    if text == "auto":
        return "flex: 0 1 auto"
    if re.fullmatch(r"\d{1,4}px", text):
        return f"flex: 0 0 {text}"
    share = text if re.fullmatch(r"\d{1,3}(\.\d+)?", text) else "1"
    return f"flex: {share} {share} 0"


def _target(action: Mapping[str, object]) -> str:
    """The element that a ToggleVisibility shows or hides; of several, the first."""
    targets = action.get("targetElements")
    first = targets[0] if isinstance(targets, list) and targets else None
    return str(first.get("elementId", "")) if isinstance(first, dict) else str(first or "")


def _rows(value: object) -> list[tuple[str, str]]:
    """A nested value as lines of a table."""
    return list(_flat("", value))[:_MOST_ROWS]


def _job(value: object) -> list[tuple[str, str]]:
    """What matters of a job's body, with the names of what it refers to; all of it is below the page."""
    told = [(name.removesuffix(".value").removesuffix(".uri"), text) for name, text in _rows(value)]
    return [(name, _ARM.sub("", text)) for name, text in told if not _NOISE.search(name) and text not in _NOTHING]


def _flat(path: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for name, inside in value.items():
            yield from _flat(f"{path}.{name}" if path else str(name), inside)
    else:
        yield path, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _pretty(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2, default=str)


_pages: Final = Environment(
    loader=PackageLoader("simulator", "pages"), autoescape=True, trim_blocks=True, lstrip_blocks=True
)
_pages.globals |= {"channels": _CHANNELS}
_pages.filters |= {
    "parts": _parts,
    "pick": _pick,
    "inline": _inline,
    "web": _web,
    "picture": _picture,
    "letter": _letter,
    "width": _width,
    "target": _target,
    "rows": _rows,
    "job": _job,
    "pretty": _pretty,
    "cards": attached,
}
