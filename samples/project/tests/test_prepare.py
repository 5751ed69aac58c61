import pandas as pd
import pytest
from columns import COLUMNS, KEY, LABEL, TIME
from prepare import prepare, read


def test_what_nothing_can_be_learned_from_is_dropped_and_counted(made):
    done = prepare(made, 0.25)
    assert {reason: n for reason, n in done.dropped.items() if n} == {"twice": 40, "without_label": 40, "negative": 40}
    kept = pd.concat([done.train, done.test])
    assert len(kept) + sum(done.dropped.values()) == len(made)
    assert kept[KEY].is_unique
    assert set(kept[LABEL]) == {0, 1}


def test_the_test_set_is_the_later_part_of_the_time(made):
    done = prepare(made, 0.25)
    assert done.train[TIME].max() <= done.test[TIME].min()
    assert len(done.test) / (len(done.train) + len(done.test)) == pytest.approx(0.25, abs=0.001)


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("amount", "many", "not_a_number"),
        (TIME, "yesterday", "without_time"),
        (LABEL, 2, "without_label"),
        ("hour", -1, "negative"),
    ],
)
def test_one_bad_value_costs_one_row_and_is_named(made, column, value, reason):
    good = made.head(100).astype(object)
    good.loc[3, column] = value
    done = prepare(good, 0.2)
    assert {name for name, n in done.dropped.items() if n} == {reason}
    assert len(done.train) + len(done.test) == 99


def test_a_file_without_a_column_says_which_and_what_it_has(tmp_path, made):
    made.drop(columns=[LABEL]).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(SystemExit, match=f"t.csv: no column {LABEL}; it has {KEY}"):
        read(tmp_path / "t.csv")


def test_a_folder_is_all_of_its_files_and_an_empty_one_says_so(tmp_path, made):
    with pytest.raises(SystemExit, match=r"no \.csv file"):
        read(tmp_path)
    made.head(10).to_csv(tmp_path / "a.csv", index=False)
    made.tail(5).to_csv(tmp_path / "b.csv", index=False)
    assert list(read(tmp_path).columns) == COLUMNS
    assert len(read(tmp_path)) == 15


def test_the_same_seed_makes_the_same_transactions(made):
    from make_data import transactions

    pd.testing.assert_frame_equal(made, transactions(4000, seed=7))
    assert not made.equals(transactions(4000, seed=8))
