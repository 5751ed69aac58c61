"""The first step: from transactions as they were delivered to a training and a test set.

The test set is the later part of the time, not a draw: what a model is asked tomorrow is not among what it learned from.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import tracking
from columns import COLUMNS, FEATURES, KEY, LABEL, TIME


@dataclass(frozen=True)
class Prepared:
    """`dropped`: how many rows could not be used, by the reason."""

    train: pd.DataFrame
    test: pd.DataFrame
    dropped: dict[str, int]


def read(path: Path) -> pd.DataFrame:
    """A CSV file, or all of a folder."""
    files = sorted(path.rglob("*.csv")) if path.is_dir() else [path]
    if not files:
        raise SystemExit(f"{path}: no .csv file in it, expected transactions")
    return pd.concat([_read(file) for file in files], ignore_index=True)


def _read(file: Path) -> pd.DataFrame:
    frame = pd.read_csv(file)
    missing = [name for name in COLUMNS if name not in frame.columns]
    if missing:
        raise SystemExit(f"{file}: no column {', '.join(missing)}; it has {', '.join(frame.columns)}")
    return frame[COLUMNS]


def prepare(frame: pd.DataFrame, test_share: float) -> Prepared:
    """Drops what nothing can be learned from, and cuts by time."""
    numbers = frame[FEATURES].apply(pd.to_numeric, errors="coerce")
    at = pd.to_datetime(frame[TIME], errors="coerce", utc=True)
    reasons = {
        "twice": frame[KEY].duplicated(),
        "without_label": ~pd.to_numeric(frame[LABEL], errors="coerce").isin([0, 1]),
        "without_time": at.isna(),
        "not_a_number": numbers.isna().any(axis=1),
        "negative": (numbers < 0).any(axis=1),
    }
    dropped, good = {}, pd.Series(data=True, index=frame.index)
    for reason, rows in reasons.items():  # a row counts for the first of its reasons
        dropped[reason] = int((good & rows).sum())
        good &= ~rows
    clean = frame.assign(**{name: numbers[name] for name in FEATURES}, **{TIME: at})[good].sort_values(TIME)
    clean[LABEL] = clean[LABEL].astype(int)
    cut = int(len(clean) * (1 - test_share))
    return Prepared(clean.iloc[:cut], clean.iloc[cut:], dropped)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--test_share", type=float, default=0.25)
    parser.add_argument("--train", type=Path, required=True, help="the folder for the training set")
    parser.add_argument("--test", type=Path, required=True, help="the folder for the test set")
    args = parser.parse_args()
    with tracking.step() as root:
        made = prepare(read(args.data), args.test_share)
        if min(len(made.train), len(made.test)) == 0:
            raise SystemExit(f"{args.data}: nothing left to train or to test with, dropped: {made.dropped}")
        for folder, frame in ((args.train, made.train), (args.test, made.test)):
            folder.mkdir(parents=True, exist_ok=True)
            frame.to_csv(folder / "transactions.csv", index=False)
        counts = {
            "rows_train": len(made.train),
            "rows_test": len(made.test),
            "rows_dropped": sum(made.dropped.values()),
        }
        tracking.log_metrics(root, counts)
        print(f"{counts}, dropped: {made.dropped}")


if __name__ == "__main__":
    main()
