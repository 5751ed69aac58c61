"""Metrics with their confidence intervals, and what scores alone let expect of them.

The values are scikit-learn's. The intervals are chosen so that the limit of a false alarm holds in the far tail, where it is used:
exact (Clopper-Pearson) for shares, and so for F1, which is one in disguise; DeLong on the logit scale for the AUC; Student's t for
means. numpy, scipy and scikit-learn are loaded by the first window that is computed.
"""

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from shared.quality.rows import Pair
from shared.quality.watch import CLASSES, ESTIMABLE, Metric, Watch

if TYPE_CHECKING:
    from numpy import ndarray

    type _Numbers = ndarray[Any, Any]

_RARE: Final = 10
"""Of each class that the AUC needs: with fewer nobody can say how sure it is."""


_LOADING: Final = threading.Lock()


def _load() -> None:
    """One thread at a time: two that begin at different ends of these packages may meet them half made."""
    with _LOADING:
        import sklearn.metrics  # noqa: F401 (loaded, not used)


class Number(NamedTuple):
    """A metric over `n` predictions, with an interval whose each side is wrong with the probability that was asked for."""

    value: float
    low: float
    high: float
    n: int


def measured(watch: Watch, pairs: Sequence[Pair], levels: Mapping[Metric, float]) -> dict[Metric, Number]:
    """Those metrics that can be told of these predictions with a truth. `levels`: by metric, the probability with which each side of
    its interval may be wrong.
    """
    if not pairs:
        return {}
    _load()
    return _classes(watch, pairs, levels) if set(levels) <= set(CLASSES) else _numbers(pairs, levels)


def _classes(watch: Watch, pairs: Sequence[Pair], levels: Mapping[Metric, float]) -> dict[Metric, Number]:
    import numpy as np
    from sklearn import metrics

    truth = np.array([pair.truth == watch.positive for pair in pairs])
    said = np.array([pair.said == watch.positive for pair in pairs])
    # Of several classes each may be right in its own way.
    right = np.array([pair.said == pair.truth for pair in pairs]) if watch.predictions.label else truth == said
    hits, found, asked = (int(one.sum()) for one in (truth & said, truth, said))
    n = len(pairs)
    made: dict[Metric, Number] = {}
    for metric, level in levels.items():
        match metric:
            case "accuracy":
                value = metrics.accuracy_score(right, np.ones(n, bool))
                made[metric] = Number(float(value), *share(int(right.sum()), n, level), n)
            case "precision" if asked:
                value = metrics.precision_score(truth, said)
                made[metric] = Number(float(value), *share(hits, asked, level), n)
            case "recall" if found:
                value = metrics.recall_score(truth, said)
                made[metric] = Number(float(value), *share(hits, found, level), n)
            case "f1" if found + asked:
                # Of all that is positive or said to be, the share that is both is J, and F1 = 2J / (1 + J).
                low, high = share(hits, found + asked - hits, level)
                value = metrics.f1_score(truth, said)
                made[metric] = Number(float(value), 2 * low / (1 + low), 2 * high / (1 + high), n)
            case "auc" if min(found, n - found) >= _RARE:
                scores = np.array([pair.score for pair in pairs])
                value = float(metrics.roc_auc_score(truth, scores))
                made[metric] = Number(value, *_auc(value, scores[truth], scores[~truth], level), n)
            case "log_loss" if n > 1:
                scores = np.clip(np.array([pair.score for pair in pairs]), 1e-15, 1 - 1e-15)
                value = metrics.log_loss(truth, scores, labels=[False, True])
                made[metric] = Number(float(value), *_mean(-np.log(np.where(truth, scores, 1 - scores)), level), n)
            case _:
                pass
    return made


def _numbers(pairs: Sequence[Pair], levels: Mapping[Metric, float]) -> dict[Metric, Number]:
    import numpy as np
    from sklearn import metrics

    truth = np.array([float(str(pair.truth)) for pair in pairs])
    said = np.array([float(pair.said) for pair in pairs])
    made: dict[Metric, Number] = {}
    for metric, level in levels.items():
        counted = truth != 0 if metric == "mape" else np.ones(len(truth), bool)
        right, off = truth[counted], np.abs(truth - said)[counted]
        n = len(right)
        if n < 2:  # noqa: PLR2004 (one number has no spread)
            continue
        match metric:
            case "mae":
                value, (low, high) = metrics.mean_absolute_error(right, said[counted]), _mean(off, level)
            case "rmse":
                value = metrics.root_mean_squared_error(right, said[counted])
                low, high = (end**0.5 for end in _mean(off**2, level))
            case _:
                value = metrics.mean_absolute_percentage_error(right, said[counted])
                low, high = _mean(off / np.abs(right), level)
        made[metric] = Number(float(value), low, high, n)
    return made


def share(hits: int, n: int, level: float) -> tuple[float, float]:
    """Clopper-Pearson: each side is wrong with at most this probability, however few there are."""
    from scipy.special import betaincinv

    low = float(betaincinv(hits, n - hits + 1, level)) if hits else 0.0
    high = float(betaincinv(hits + 1, n - hits, 1 - level)) if hits < n else 1.0
    return low, high


def _mean(values: "_Numbers", level: float) -> tuple[float, float]:
    """Student's t, of values that are not negative. Losses lean to the right, where its lower end errs to the safe side."""
    from scipy.special import stdtrit

    n, mean = len(values), float(values.mean())
    half = -float(stdtrit(n - 1, level)) * float(values.std(ddof=1)) / n**0.5
    return max(0.0, mean - half), mean + half


def _auc(value: float, positives: "_Numbers", negatives: "_Numbers", level: float) -> tuple[float, float]:
    """DeLong, DeLong and Clarke-Pearson (1988) by midranks (Sun and Xu 2014), on the logit scale, which keeps it within 0 and 1."""
    import numpy as np
    from scipy.special import stdtrit
    from scipy.stats import rankdata

    m, n = len(positives), len(negatives)
    ranks = rankdata(np.concatenate([positives, negatives]))
    of_positives = (ranks[:m] - rankdata(positives)) / n
    of_negatives = 1 - (ranks[m:] - rankdata(negatives)) / m
    spread = float(of_positives.var(ddof=1) / m + of_negatives.var(ddof=1) / n)
    few = min(m, n)
    if not 0 < value < 1 or spread <= 0:  # all pairs alike: as if each of the rarer class were one trial
        edge = level ** (1 / few)
        return (edge, 1.0) if value >= 1 else (0.0, 1 - edge) if value <= 0 else (value, value)
    half = -float(stdtrit(few - 1, level)) * spread**0.5 / (value * (1 - value))
    middle = np.log(value / (1 - value))
    low, high = (float(1 / (1 + np.exp(-(middle + side)))) for side in (-half, half))
    return low, high


def expected(watch: Watch, pairs: Sequence[Pair], levels: Mapping[Metric, float]) -> dict[Metric, Number]:
    """What to expect of predictions whose truth nobody knows yet, if their scores are probabilities that can be trusted:
    confidence-based performance estimation (CBPE, of NannyML). A model whose concept has drifted does not notice it this way.
    """
    _load()
    import numpy as np
    from scipy.special import ndtri

    wanted = [metric for metric in levels if metric in ESTIMABLE]
    if not watch.predictions.score or not wanted or not pairs:
        return {}
    scores = np.array([pair.score for pair in pairs])
    said = np.array([pair.said == watch.positive for pair in pairs])
    n, right = len(scores), np.where(said, scores, 1 - scores)
    hits, found, asked = float((scores * said).sum()), float(scores.sum()), float(said.sum())
    made: dict[Metric, Number] = {}
    for metric in wanted:
        z = -float(ndtri(levels[metric]))
        match metric:
            case "accuracy":
                value, error = float(right.mean()), float((right * (1 - right)).sum() ** 0.5 / n)
            case "precision" if asked:
                value, error = hits / asked, float((scores * (1 - scores) * said).sum() ** 0.5 / asked)
            case "recall" if found:
                value = hits / found
                error = (value * (1 - value) / found) ** 0.5
            case "f1" if found + asked:
                value = 2 * hits / (found + asked)
                union = max(1.0, found + asked - hits)
                share_ = hits / union
                error = 2 / (1 + share_) ** 2 * (share_ * (1 - share_) / union) ** 0.5
            case "auc" if min(found, n - found) >= _RARE:
                value = _expected_auc(scores)
                error = _hanley_mcneil(value, found, n - found)
            case "log_loss":
                sure = np.clip(scores, 1e-15, 1 - 1e-15)
                losses = -(sure * np.log(sure) + (1 - sure) * np.log(1 - sure))
                value = float(losses.mean())
                error = float((sure * (1 - sure) * np.log(sure / (1 - sure)) ** 2).sum() ** 0.5 / n)
            case _:
                continue
        top = float("inf") if metric == "log_loss" else 1.0
        made[metric] = Number(value, max(0.0, value - z * error), min(top, value + z * error), n)
    return made


def _expected_auc(scores: "_Numbers") -> float:
    """Each prediction is a positive by its score, and a negative by the rest; a pair of one with itself does not count."""
    import numpy as np

    _, place = np.unique(scores, return_inverse=True)
    up, down = (np.bincount(place, weights) for weights in (scores, 1 - scores))
    below = np.cumsum(down) - down
    own = float((scores * (1 - scores)).sum())
    ordered = float((up * (below + down / 2)).sum()) - own / 2
    return ordered / (float(scores.sum()) * float((1 - scores).sum()) - own)


def _hanley_mcneil(value: float, m: float, n: float) -> float:
    """The standard error of an AUC, of which only the sizes of the classes are known (1982)."""
    one, two = value / (2 - value), 2 * value * value / (1 + value)
    spread = value * (1 - value) + (m - 1) * (one - value * value) + (n - 1) * (two - value * value)
    return float(max(0.0, spread / (m * n)) ** 0.5)
