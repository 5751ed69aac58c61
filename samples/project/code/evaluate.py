"""The third step: how good the model is on the later part of the time, on the whole and by cohort.

`auc` is on the whole, `auc/online` of the cohort `online`: in these names Switchyard's promotion gate reads a scorecard
(`compare: {metric: auc, cohorts: true}`), and draws it for whoever is asked for approval.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import tracking
from columns import COHORT, FEATURES, LABEL
from prepare import read
from sklearn.metrics import log_loss, precision_score, recall_score, roc_auc_score

THRESHOLD = 0.5
FEWEST = 5
"""Of each class that a cohort needs: with fewer, its AUC is chance."""


def measure(truth: pd.Series, score: np.ndarray) -> dict[str, float]:
    """Metrics of probabilities between 0 and 1 against labels 0 and 1, of which both have to occur."""
    said = score >= THRESHOLD
    return {
        "auc": float(roc_auc_score(truth, score)),
        "log_loss": float(log_loss(truth, score, labels=[0, 1])),
        "precision": float(precision_score(truth, said, zero_division=0)),
        "recall": float(recall_score(truth, said, zero_division=0)),
    }


def scorecard(test: pd.DataFrame, score: np.ndarray) -> tuple[dict[str, float], dict[str, str]]:
    """The metrics by the names that they are logged by, and the cohorts that have none, with the reason."""
    if test[LABEL].nunique() < 2:
        raise SystemExit("the test set has one class only: nothing can be said of the model")
    metrics = measure(test[LABEL], score)
    left_out: dict[str, str] = {}
    for cohort, rows in test.groupby(COHORT):
        classes = rows[LABEL].value_counts()
        rarer = int(min(classes.get(0, 0), classes.get(1, 0)))
        if rarer < FEWEST:
            left_out[str(cohort)] = f"{rarer} of the rarer class, {FEWEST} are needed"
            continue
        of_cohort = measure(rows[LABEL], score[test.index.get_indexer(rows.index)])
        metrics[f"auc/{cohort}"] = of_cohort["auc"]
    return metrics, left_out


def write(folder: Path, metrics: Mapping[str, float], left_out: Mapping[str, str], rows: Mapping[str, int]) -> None:
    """`scorecard.json` for programs, `scorecard.md` for people."""
    folder.mkdir(parents=True, exist_ok=True)
    said = {"metrics": metrics, "left_out": left_out, "rows": rows}
    (folder / "scorecard.json").write_text(json.dumps(said, indent=2), encoding="utf-8")
    lines = ["| cohort | rows | auc |", "| --- | --- | --- |"]
    for cohort, n in rows.items():
        value = metrics.get(f"auc/{cohort}")
        lines.append(f"| {cohort} | {n} | {left_out[cohort] if value is None else f'{value:.4f}'} |")
    (folder / "scorecard.md").write_text("\n".join([*lines, ""]), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--scorecard", type=Path, required=True, help="the folder for the scorecard")
    args = parser.parse_args()
    with tracking.step() as root:
        model, test = mlflow.sklearn.load_model(str(args.model)), read(args.test)
        metrics, left_out = scorecard(test, model.predict_proba(test[FEATURES].astype(float))[:, 1])
        write(args.scorecard, metrics, left_out, {str(name): int(n) for name, n in test[COHORT].value_counts().items()})
        tracking.log_metrics(root, metrics)
        print((args.scorecard / "scorecard.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
