"""What a step tells MLflow. Metrics go to the root of the pipeline: there Switchyard looks them up, for rules (`metrics.auc`) and for
the comparison with the model in production.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import mlflow
from mlflow import MlflowClient

_ROOT = "AZUREML_ROOT_RUN_ID"
"""Azure Machine Learning sets it in every step: the run of the job that was submitted."""


@contextmanager
def step() -> Iterator[str]:
    """Within it, MLflow logs to this step's own run. Gives the id of the root, which on a laptop is the run itself."""
    with mlflow.start_run() as run:
        yield os.environ.get(_ROOT) or run.info.run_id


def log_metrics(root: str, metrics: Mapping[str, float]) -> None:
    """To the step, and to the root."""
    mlflow.log_metrics(dict(metrics))
    client, own = MlflowClient(), mlflow.active_run()
    if own is None or own.info.run_id != root:
        for name, value in metrics.items():
            client.log_metric(root, name, value)


def tags(root: str) -> dict[str, str]:
    """Those that whoever submitted the pipeline gave it, without what Azure and MLflow add."""
    found: Mapping[str, str] = MlflowClient().get_run(root).data.tags
    return {name: value for name, value in found.items() if not name.startswith(("mlflow.", "azureml.", "_aml"))}
