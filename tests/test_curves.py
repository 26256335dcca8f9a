from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from planner.curves import read_curves
from planner.errors import TableError

ROWS = pd.DataFrame(
    {
        "run": ["b", "a", "a", "a"],
        "tokens": [1e6, 3e6, 1e6, 2e6],
        "lr": [0.1, 0.0, 0.2, 0.1],
        "loss": [4.0, 2.0, 4.0, 3.0],
    }
)
SAVE = {
    "csv": lambda frame, path: frame.to_csv(path, index=False),
    "csv.gz": lambda frame, path: frame.to_csv(path, index=False),
    "jsonl": lambda frame, path: frame.to_json(path, orient="records", lines=True),
    "parquet": lambda frame, path: frame.to_parquet(path),
}


def written(tmp_path, frame, suffix="csv"):
    path = tmp_path / f"curves.{suffix}"
    SAVE[suffix](frame, path)
    return path


@pytest.mark.parametrize("suffix", SAVE)
def test_every_format_gives_the_same_curves_in_order_of_tokens(tmp_path, suffix):
    first, second = read_curves(written(tmp_path, ROWS, suffix))
    assert (first.run, second.run) == ("a", "b")
    assert first.tokens.tolist() == [1e6, 2e6, 3e6]
    assert first.loss.tolist() == [4.0, 3.0, 2.0]
    assert first.lr.tolist() == [0.2, 0.1, 0.0]
    assert np.isnan(first.step).all()


def test_steps_and_train_loss_serve_as_well(tmp_path):
    foreign = ROWS.rename(columns={"tokens": "step", "loss": "train_loss"})
    first, _ = read_curves(written(tmp_path, foreign))
    assert first.step.tolist() == [1e6, 2e6, 3e6]
    assert np.isnan(first.tokens).all()


def test_numbered_runs_keep_their_names(tmp_path):
    for suffix in SAVE:
        named = ROWS.assign(run=["007", "12", "12", "12"])
        assert {c.run for c in read_curves(written(tmp_path, named, suffix))} == {"007", "12"}
    counted = ROWS.assign(run=[7, 12, 12, 12])
    assert [c.run for c in read_curves(written(tmp_path, counted, "parquet"))] == ["12", "7"]


def test_rows_that_log_something_else_are_left_out(tmp_path):
    blank = pd.concat([ROWS, pd.DataFrame({"run": ["a", "c"], "tokens": [2.5e6, 1e6]})])
    assert [len(curve) for curve in read_curves(written(tmp_path, blank))] == [3, 1]


def test_a_folder_holds_one_file_per_run(tmp_path):
    ROWS.drop(columns="run").to_parquet(tmp_path / "k1.parquet")
    ROWS.drop(columns=["run", "lr"]).to_csv(tmp_path / "k2.csv.gz", index=False)
    (tmp_path / "notes.txt").write_text("nothing")
    first, second = read_curves(tmp_path)
    assert (first.run, second.run) == ("k1", "k2")
    assert np.isnan(second.lr).all()


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (ROWS.drop(columns=["run", "lr"]), "no `run` and no `lr`"),
        (ROWS.drop(columns="loss"), "no `loss` and no `train_loss`"),
        (ROWS.drop(columns="tokens"), "no `tokens` and no `step`"),
        (ROWS.assign(loss="high"), "holds no curve"),
    ],
)
def test_unusable_curves_get_a_sentence(tmp_path, frame, message):
    with pytest.raises(TableError, match=message):
        read_curves(written(tmp_path, frame))


def test_missing_foreign_and_broken_files_get_a_sentence(tmp_path):
    with pytest.raises(TableError, match="do not exist"):
        read_curves(tmp_path / "none.csv")
    with pytest.raises(TableError, match="holds no curve"):
        read_curves(tmp_path)
    (tmp_path / "curves.txt").write_text("x")
    with pytest.raises(TableError, match="neither"):
        read_curves(tmp_path / "curves.txt")
    (tmp_path / "curves.parquet").write_text("x")
    with pytest.raises(TableError, match="cannot be read"):
        read_curves(tmp_path / "curves.parquet")
