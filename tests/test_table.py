from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.errors import TableError
from planner.importers.study import runs_frame
from planner.observations import Observations
from planner.run import Run, Status, Trial
from planner.shape import Size
from planner.table import read_runs
from planner.where import parse_where

ROWS = {
    "params_matmul": [1e6, 2e6, 4e6],
    "tokens": [1e8, 2e8, 4e8],
    "loss": [3.0, 2.8, 2.6],
}


@pytest.fixture
def write(tmp_path):
    def to_csv(columns):
        path = tmp_path / "runs.csv"
        pd.DataFrame(columns).to_csv(path, index=False)
        return path

    return to_csv


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_every_format_gives_the_same_runs(tmp_path, suffix):
    path = tmp_path / f"runs.{suffix}"
    frame = pd.DataFrame(ROWS)
    save = {
        "csv": lambda: frame.to_csv(path, index=False),
        "jsonl": lambda: frame.to_json(path, orient="records", lines=True),
        "parquet": lambda: frame.to_parquet(path),
    }
    save[suffix]()
    found = read_runs(path).observations
    assert found.loss.tolist() == ROWS["loss"]
    assert found.flops.tolist() == [6e14, 2.4e15, 9.6e15]
    assert (found.n_convention, found.flops_convention) == ("params_matmul", "6ND")


def test_tokens_or_params_are_inferred_and_it_is_said(write):
    table = read_runs(write({"params": [1e6] * 3, "flops": [6e14] * 3, "loss": [3, 2, 1]}))
    assert table.observations.tokens.tolist() == [1e8] * 3
    assert table.observations.n_convention == "unspecified"
    assert "tokens inferred from C = 6 N D." in table.notes
    table = read_runs(write({"tokens": [1e8] * 3, "flops": [6e14] * 3, "loss": [3, 2, 1]}))
    assert table.observations.params.tolist() == [1e6] * 3


def test_products_beyond_64_bits_stay_positive(write):
    big = {"params": [7_000_000_000], "tokens": [2_000_000_000_000], "loss": [2.0]}
    assert read_runs(write(big)).observations.flops[0] == pytest.approx(8.4e22)


def test_foreign_names_and_units_are_mapped(write):
    path = write(
        {
            "Model Size": [1e6],
            "throughput/total_gflops": [6e5],
            "loss::c4_val/x": [3.0],
            "bs": [16],
        }
    )
    maps = [
        "Model Size=params",
        "throughput/total_gflops*1e9=flops",
        "loss::c4_val/x=loss",
        "bs*2048=batch_tokens",
    ]
    table = read_runs(path, maps)
    assert table.observations.tokens[0] == pytest.approx(1e8)
    assert table.observations.batch_tokens[0] == 32768
    assert table.unknown_columns == ()


def test_batch_from_sequences(write):
    table = read_runs(write(ROWS | {"batch_seqs": [8, 8, 8], "seq_len": [128, 128, 128]}))
    assert table.observations.batch_tokens.tolist() == [1024] * 3


def test_rows_that_cannot_be_used_are_listed_with_reasons(write):
    path = write(
        {
            "key": list("abcdef"),
            "params": [1e6] * 6,
            "tokens": ["1e8", "1,000,000", "many", "1e8", "1e8", "1e8"],
            "flops": [6e14, 6e12, 6e14, 6e14, -6e14, 6e14],
            "loss": [3.0, 2.9, 2.8, np.nan, 2.7, 2.6],
            "status": ["done", "done", "done", "done", "done", "diverged"],
        }
    )
    table = read_runs(path)
    assert table.observations.key == ("a", "b")
    reasons = dict(table.dropped)
    assert reasons["c"] == "tokens is many, not a positive number"
    assert reasons["d"] == "loss is missing"
    assert "overflows 64-bit" in reasons["e"]
    assert "diverged" in reasons["f"]


def test_forks_of_one_trunk_share_a_group(write):
    table = read_runs(write(ROWS | {"key": ["x", "y", "z"], "parent": ["t", "t", None]}))
    assert table.observations.group == ("t", "t", "z")


def test_unknown_columns_and_repeated_data_are_reported(write):
    table = read_runs(write(ROWS | {"hexcolor": [1, 2, 3], "epochs": [1, 1, 6]}))
    assert table.unknown_columns == ("hexcolor",)
    assert any("repeat their data, up to 6.0 times" in note for note in table.notes)


def test_where_selects_rows(write):
    path = write(ROWS | {"Model Size": [1.001, 2, 4]})
    chosen = read_runs(path, where="Model Size == 1 and tokens < 2e8").observations
    assert chosen.loss.tolist() == [3.0]
    with pytest.raises(TableError, match="nearest: loss"):
        read_runs(path, where="los < 3")
    with pytest.raises(TableError, match="no row"):
        read_runs(path, where="loss > 9")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"N": [1], "D": [1], "loss": [1]}, "--map 'N=params'"),
        ({"params": [1], "tokens": [1], "lm_loss": [1]}, "add --map 'lm_loss=loss'"),
        ({"params": [1], "tokens": [1], "train/loss": [1], "x_loss": [2]}, "`x_loss`, say which"),
        ({"params_millions": [1], "tokens": [1], "loss": [1]}, r"'params_millions\*1e6=params'"),
        ({"params": [1], "tokens": [1], "val_loss": [1], "loss": [2]}, "or --map 'loss=loss'"),
        (
            {"n_params": [1], "parameter_count": [2], "tokens": [1], "loss": [2]},
            "`n_params` and `parameter_count` can both be `params` and differ",
        ),
        (
            {"params": [1], "tokens": [1], "loss": [2], "status": ["crashed"]},
            "no run of .* ended: all 1 losses are only upper bounds .row 1 is crashed.",
        ),
        ({"params": [1.0], "loss": [1.0]}, "no `tokens` and no `flops`"),
        ({"params": [], "tokens": [], "loss": []}, "no rows"),
        ({"params": [1], "tokens": [1], "loss": ["z"]}, "no row of .* can be used: loss is z"),
        (
            {
                "params_matmul": [1, None],
                "params_total": [None, 2],
                "tokens": [1, 1],
                "loss": [1, 1],
            },
            "mixes parameter conventions",
        ),
        (
            {"params": [1, 1], "tokens": [1, 1], "loss": [1, 1], "n_convention": ["a", "b"]},
            "mixes n_convention",
        ),
    ],
)
def test_unusable_tables_get_a_sentence(write, columns, message):
    with pytest.raises(TableError, match=message):
        read_runs(write(columns))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("loss", "form theirs=ours"),
        ("loss=lose", "knows no `lose`; nearest: loss"),
        ("los=loss", "has no `los`; nearest: loss"),
        ("los*2=loss", "has no `los`; nearest: loss"),
        ("2*3=loss", r"has no `2\*3`"),
    ],
)
def test_wrong_maps_get_a_sentence(write, text, message):
    with pytest.raises(TableError, match=message):
        read_runs(write(ROWS), [text])


def test_missing_and_foreign_files(tmp_path):
    with pytest.raises(TableError, match="does not exist"):
        read_runs(tmp_path / "none.csv")
    (tmp_path / "runs.xlsx").write_bytes(b"PK\x03\x04")
    with pytest.raises(TableError, match="save the sheet as CSV"):
        read_runs(tmp_path / "runs.xlsx")


def test_a_study_s_runs_come_back_from_their_table(tmp_path):
    trial = Trial("ladder", {"width": 16, "depth": 2}, 1000, 10, 0.01, 50, parent="trunk")
    size = Size(1e4, 9e3, 1.1e4, 6.5e4)
    runs = [
        Run(trial, f"k{i}", status, 2.0 + i, 0.01, size, 1000, 6.5e7)
        for i, status in enumerate((Status.DONE, Status.DIVERGED, Status.DONE))
    ]
    frame = runs_frame(runs)
    assert frame["width"].tolist() == [16] * 3
    frame.to_csv(tmp_path / "runs.csv", index=False)
    table = read_runs(tmp_path / "runs.csv")
    direct = Observations.from_runs(runs)
    for name in ("params", "tokens", "flops", "loss", "lr", "batch_tokens"):
        assert getattr(table.observations, name).tolist() == getattr(direct, name).tolist()
    assert table.observations.group == direct.group
    assert table.observations.flops_convention == direct.flops_convention
    lines = [json.dumps(run.to_json()) for run in runs]
    (tmp_path / "runs.jsonl").write_text("\n".join(lines))
    assert read_runs(tmp_path / "runs.jsonl").observations.loss.tolist() == [2.0, 4.0]


NAMES = st.text("abc/:_ xyz", min_size=1).map(str.strip).filter(bool)


@given(NAMES, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), st.floats(-1e30, 1e30))
def test_any_column_name_can_be_asked_about(name, operator, number):
    first, second = parse_where(f"{name} {operator} {number!r} and {name} < 1")
    assert (first.name, first.operator, first.number) == (name, operator, number)
    assert second.number == 1.0


@pytest.mark.parametrize("text", ["", "loss", "loss = 3", "loss < three", "loss < 3 or lr > 1"])
def test_queries_that_are_none_get_a_sentence(text):
    with pytest.raises(TableError, match="column op number"):
        parse_where(text)
