"""The last step: registers the model, with the tags that Switchyard's rules and its promotion gate ask for.

The tags of the pipeline are those of the model: whoever submits it says `team`, and `responsible_ai` with the assessment's file; a
retraining that Switchyard began hands its cause on. The metrics become tags too: in another workspace, where the run of the
training is not, they stand in for it.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

import tracking
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

FOLDER = "model"
"""Below the artifacts of the root run."""


def refusal(metrics: Mapping[str, float], minimum_auc: float) -> str | None:
    """Why this model is registered for nobody, or None."""
    auc = metrics.get("auc")
    if auc is None:
        return "the scorecard has no auc: nothing is known of the model"
    return f"auc {auc:.4f} < {minimum_auc}: not good enough to be registered" if auc < minimum_auc else None


def tags_of(given: Mapping[str, str], of_run: Mapping[str, str], metrics: Mapping[str, float]) -> dict[str, str]:
    """The later ones win: what the pipeline's file says, the tags of the run, the metrics."""
    return {**given, **of_run, **{name: f"{value:.6g}" for name, value in metrics.items()}}


def register(root: str, name: str, model: Path, tags: Mapping[str, str]) -> str:
    """The version that was made. The model lies with the root run, so that it leads back to its data, code and cause."""
    client = MlflowClient()
    client.log_artifacts(root, str(model), FOLDER)
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    made = client.create_model_version(name, f"runs:/{root}/{FOLDER}", run_id=root, tags=dict(tags))
    return str(made.version)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--scorecard", type=Path, required=True)
    parser.add_argument("--model_name", required=True)
    parser.add_argument("--stage", default="dev")
    parser.add_argument("--minimum_auc", type=float, default=0.7)
    parser.add_argument("--registered", type=Path, required=True, help="the folder for a note of what was registered")
    args = parser.parse_args()
    metrics = json.loads((args.scorecard / "scorecard.json").read_text(encoding="utf-8"))["metrics"]
    problem = refusal(metrics, args.minimum_auc)
    if problem:
        raise SystemExit(problem)
    with tracking.step() as root:
        tags = tags_of({"stage": args.stage}, tracking.tags(root), metrics)
        version = register(root, args.model_name, args.model, tags)
    args.registered.mkdir(parents=True, exist_ok=True)
    said = {"name": args.model_name, "version": version, "run": root, "tags": tags}
    (args.registered / "model.json").write_text(json.dumps(said, indent=2), encoding="utf-8")
    print(f"registered {args.model_name}:{version} of run {root}")


if __name__ == "__main__":
    main()
