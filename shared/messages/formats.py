"""Values as people read them, in English and Japanese. Every function takes anything and answers with text; what it can't read, it leaves."""

import math
import re
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from shared.actions import Language

_UNITS: Final = {
    "en": {"d": " d", "h": " h", "m": " min", "s": " s", "between": " "},
    "ja": {"d": "日", "h": "時間", "m": "分", "s": "秒", "between": ""},
}
_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR

_PLATFORM: Final = (
    (r"pre-?empt|evicted|low.?priority", {"en": "the node was preempted", "ja": "ノードがプリエンプトされました"}),
    (
        r"node.{0,20}(lost|unhealthy|unusable|not.?ready)|lost.{0,20}node|heartbeat",
        {"en": "the node was lost", "ja": "ノードとの接続が失われました"},
    ),
    (
        r"quota|insufficient.{0,12}capacity|allocation.?failed",
        {"en": "quota or capacity ran out", "ja": "クォータまたは容量が不足しています"},
    ),
    (
        r"image.?pull|internal.?(service|server).?error|serviceunavailable",
        {"en": "a service of the platform failed", "ja": "基盤側のサービスで障害が発生しました"},
    ),
)


def number(value: object) -> str:
    """Four digits that matter; thousands apart; powers of ten only where zeros would be counted."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if not math.isfinite(value):
        return str(value)
    size = abs(value)
    if size >= 1e9 or 0 < size < 1e-4:  # noqa: PLR2004 (where digits stop being readable)
        return f"{value:.3g}"
    if size >= 1000:  # noqa: PLR2004 (four digits stand before the point)
        return f"{value:,.0f}"
    return f"{value:.4g}"


def duration(value: object, language: Language) -> str:
    """Seconds as "1 h 12 min", with the two units that matter."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        return ""
    seconds = round(value)
    days, hours, minutes = seconds // _DAY, seconds % _DAY // _HOUR, seconds % _HOUR // _MINUTE
    if seconds >= _DAY:
        parts = [(days, "d"), (hours, "h")]
    elif seconds >= _HOUR:
        parts = [(hours, "h"), (minutes, "m")]
    elif seconds >= 10 * _MINUTE:
        parts = [(minutes, "m")]
    else:
        parts = [(minutes, "m"), (seconds % _MINUTE, "s")]
    units = _UNITS[language]
    return units["between"].join(f"{count}{units[unit]}" for count, unit in parts if count) or f"0{units['s']}"


def size(value: object) -> str:
    """Bytes."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return ""
    amount, units = float(value), ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"]
    while abs(amount) >= 1024 and len(units) > 1:  # noqa: PLR2004 (a unit)
        amount, units = amount / 1024, units[1:]
    return f"{amount:,.0f} bytes" if units[0] == "bytes" else f"{amount:.3g} {units[0]}"


def localtime(value: object, zone: str, language: Language) -> str:
    """An RFC 3339 time in a time zone; as it came where either is none."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        if not isinstance(moment, datetime):
            return ""
        there = moment.astimezone(ZoneInfo(zone))
    except (ValueError, OverflowError, OSError, ZoneInfoNotFoundError):
        return str(value)
    if language == "ja":
        return f"{there.year}年{there.month}月{there.day}日 {there:%H:%M} ({there.tzname()})"
    return f"{there.day} {there:%b} {there.year}, {there:%H:%M} ({there.tzname()})"


def short(value: object, length: int = 60) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= length else f"{text[: max(length - 1, 0)].rstrip()}…"


def resource(value: object) -> str:
    """An ARM id by its last type and name, `virtualMachines/vm-1`; anything else as it is."""
    text = str(value).rstrip("/")
    head, _, name = text.rpartition("/")
    return f"{head.rpartition('/')[2]}/{name}" if text.casefold().startswith(_ARM) and "/" in head[1:] else text


_ARM: Final = ("/subscriptions/", "/providers/")


def platform_cause(value: object, language: Language) -> str:
    """Why a run failed, if its error says that the platform failed and not the code; else empty."""
    text = str(value)[:20_000]
    return next((words[language] for pattern, words in _PLATFORM if re.search(pattern, text, re.IGNORECASE)), "")
