"""The scripts are found as Azure Machine Learning finds them: `code` is where they run."""

import sys
from pathlib import Path

import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "code"))


@pytest.fixture(scope="session")
def made() -> pd.DataFrame:
    from make_data import transactions

    return transactions(4000, seed=7)
