"""How a deployment answers: one probability for each row, in their order. What it was asked and what it said is collected.

The collected rows of `model_outputs` have the transaction's id beside the score: by it the payment desk's verdict, weeks later, finds
the prediction (Switchyard's docs/quality.md). Collecting never stands in the way of an answer.
"""

import json
import logging
import os
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from azureml.ai.monitoring import Collector
from azureml_inference_server_http.api.aml_response import AMLResponse
from columns import COHORT, FEATURES, KEY

_log = logging.getLogger("score")
_state: dict[str, Any] = {}


def init() -> None:
    """Once for each process."""
    folder = Path(os.environ["AZUREML_MODEL_DIR"])
    found = sorted(folder.rglob("MLmodel"), key=lambda path: len(path.parts))
    if not found:
        raise FileNotFoundError(f"no MLmodel below {folder}: the deployment's model is no MLflow model")
    _state["model"] = mlflow.sklearn.load_model(str(found[0].parent))
    for name in ("model_inputs", "model_outputs"):
        _state[name] = Collector(name=name, on_error=lambda error, name=name: _log.warning("%s: %s", name, error))


def run(raw: str | bytes) -> Any:
    """`raw`: `{"input_data": {"columns": […], "data": [[…]]}}`, as MLflow models are asked."""
    try:
        asked = parse(raw)
    except ValueError as error:
        return AMLResponse({"error": str(error)}, 400, json_str=True)
    scores = _state["model"].predict_proba(asked[FEATURES].astype(float))[:, 1]
    context = _state["model_inputs"].collect(asked)
    _state["model_outputs"].collect(answered(asked, scores), context)
    return [round(float(score), 6) for score in scores]


def parse(raw: str | bytes) -> pd.DataFrame:
    """ValueError says what is wrong with it, in the caller's terms."""
    try:
        given = json.loads(raw)["input_data"]
        asked = pd.DataFrame(given["data"], columns=given["columns"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError('expected {"input_data": {"columns": [...], "data": [[...]]}}') from error
    missing = [name for name in FEATURES if name not in asked.columns]
    if missing:
        raise ValueError(
            f"no column {', '.join(missing)}; expected {', '.join(FEATURES)}, and {KEY} and {COHORT} beside them"
        )
    bad = [name for name in FEATURES if pd.to_numeric(asked[name], errors="coerce").isna().any()]
    if bad:
        raise ValueError(f"not a number in column {', '.join(bad)}")
    return asked.assign(**{name: pd.to_numeric(asked[name]) for name in FEATURES})


def answered(asked: pd.DataFrame, scores: Any) -> pd.DataFrame:
    """What is kept of an answer. A caller who gives no id gets an answer all the same; its truth can't be found later."""
    kept = pd.DataFrame({name: asked.get(name) for name in (KEY, COHORT)}, index=asked.index)
    return kept.assign(probability=scores)
