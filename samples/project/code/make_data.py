"""Transactions that nobody made, for a first run and for tests. The same seed makes the same file.

Fraud is likelier by night, abroad, at young merchants and for large amounts, and never certain. A few rows are bad in the ways that
real ones are: twice, without a label, with an amount below zero.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from columns import COHORT, COLUMNS, KEY, LABEL, TIME

SEGMENTS = {"north": 0.4, "south": 0.35, "online": 0.2, "new-merchants": 0.05}
START = pd.Timestamp("2026-09-01T00:00:00Z")
BAD_SHARE = 0.01


def transactions(rows: int, seed: int, drift: float = 0.0) -> pd.DataFrame:
    """`drift`: how far the world has moved since, 0 to 1: amounts grow, and what used to tell fraud tells less."""
    chance = np.random.default_rng(seed)
    segment = chance.choice(list(SEGMENTS), rows, p=list(SEGMENTS.values()))
    hour = chance.integers(0, 24, rows)
    amount = np.round(chance.lognormal(3.4 + 0.6 * drift, 1.1, rows), 2)
    age = np.where(segment == "new-merchants", chance.uniform(1, 90, rows), chance.uniform(30, 2000, rows)).round(2)
    foreign = chance.beta(1.2, 6, rows).round(3)
    night = (hour < 5) | (hour > 22)
    leaning = -4.6 + 0.9 * np.log1p(amount / 100) + 1.7 * night + 5.5 * foreign + 1.1 * np.exp(-age / 120)
    odds = 1 / (1 + np.exp(-(leaning * (1 - 0.6 * drift) - 1.6 * drift)))
    frame = pd.DataFrame(
        {
            KEY: [f"t-{seed}-{n:06d}" for n in range(rows)],
            TIME: (START + pd.to_timedelta(np.sort(chance.uniform(0, 60 * 24 * 3600, rows)).round(), unit="s")),
            "amount": amount,
            "hour": hour,
            "merchant_age_days": age,
            "foreign_share": foreign,
            COHORT: segment,
            LABEL: pd.array((chance.uniform(0, 1, rows) < odds).astype(int), dtype="Int64"),
        }
    )[COLUMNS]
    return pd.concat([frame, _bad(frame, chance, max(1, int(rows * BAD_SHARE)))], ignore_index=True)


def _bad(frame: pd.DataFrame, chance: np.random.Generator, each: int) -> pd.DataFrame:
    twice = frame.iloc[chance.integers(0, len(frame), each)]
    unlabelled = frame.iloc[:each].assign(**{KEY: [f"u-{n}" for n in range(each)], LABEL: pd.NA})
    negative = frame.iloc[:each].assign(**{KEY: [f"n-{n}" for n in range(each)], "amount": -1.0})
    return pd.concat([twice, unlabelled, negative])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the CSV file to write")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--drift", type=float, default=0.0)
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    transactions(args.rows, args.seed, args.drift).to_csv(args.out, index=False)
    print(f"{args.rows} transactions and some bad rows in {args.out}")


if __name__ == "__main__":
    main()
