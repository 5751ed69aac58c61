"""The second step: fits the model, and writes it as an MLflow model with its signature and its environment."""

import argparse
from pathlib import Path

import mlflow
import pandas as pd
import tracking
from columns import FEATURES, LABEL
from mlflow.models import infer_signature
from prepare import read
from sklearn.ensemble import HistGradientBoostingClassifier

ENVIRONMENT = Path(__file__).parent / "conda.yml"
"""In which the model also serves, where nobody gives the deployment another."""


def fit(train: pd.DataFrame, learning_rate: float, epochs: int, seed: int) -> HistGradientBoostingClassifier:
    """`epochs`: rounds of boosting."""
    model = HistGradientBoostingClassifier(
        learning_rate=learning_rate, max_iter=epochs, max_leaf_nodes=15, l2_regularization=1.0, random_state=seed
    )
    return model.fit(train[FEATURES].astype(float), train[LABEL])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--learning_rate", type=float, default=0.05)
    parser.add_argument("--epochs", type=int, default=120)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--reason", default="", help="why it is trained: kept with the run, read by people")
    parser.add_argument("--model", type=Path, required=True, help="the folder for the model")
    args = parser.parse_args()
    with tracking.step():
        mlflow.log_params(
            {"learning_rate": args.learning_rate, "epochs": args.epochs, "seed": args.seed, "reason": args.reason}
        )
        train = read(args.train)
        model = fit(train, args.learning_rate, args.epochs, args.seed)
        example = train[FEATURES].astype(float).head(5)
        mlflow.sklearn.save_model(
            model,
            str(args.model),
            conda_env=str(ENVIRONMENT),
            signature=infer_signature(example, model.predict_proba(example)),
            pyfunc_predict_fn="predict_proba",
            serialization_format="cloudpickle",
        )
        print(f"trained on {len(train)} transactions, {int(train[LABEL].sum())} of them fraud")


if __name__ == "__main__":
    main()
