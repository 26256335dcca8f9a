"""What `planner import` writes comes back to the last bit, and nothing is lost in silence."""

from __future__ import annotations

import gzip
from dataclasses import fields

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.errors import LedgerError, TableError
from planner.importers.study import runs_frame
from planner.run import Run, Schedule, Status, Trial
from planner.shape import Size
from planner.table import import_runs, read_runs

SUFFIXES = ["csv", "tsv", "jsonl", "parquet", "csv.gz", "jsonl.gz"]
PLAIN = "params,tokens,loss\n1e6,1e8,3.5\n2e6,2e8,3.0\n"


def same(one, other):
    """Compare two observations column by column, bit by bit."""
    for field in fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, np.ndarray):
            np.testing.assert_array_equal(a, b, err_msg=field.name)
        else:
            assert a == b, field.name


@pytest.mark.parametrize("suffix", SUFFIXES[:4])
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(
            st.floats(1e3, 1e15),
            st.integers(1, 10**15),
            st.floats(0.1, 20),
            st.one_of(st.none(), st.floats(1e-9, 10)),
            st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "Zs"])),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_a_table_comes_back_exactly(tmp_path, suffix, rows):
    names = ["params_total", "tokens", "loss", "lr", "what, is; this"]
    pd.DataFrame(rows, columns=names).to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    import_runs([tmp_path / "a.jsonl"], tmp_path / "first.parquet")
    report = import_runs([tmp_path / "first.parquet"], tmp_path / f"b.{suffix}")
    assert report.rows == len(rows)
    before = read_runs(tmp_path / "first.parquet")
    after = read_runs(tmp_path / f"b.{suffix}")
    same(before.observations, after.observations)
    assert before.unknown_columns == after.unknown_columns


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_digit_and_every_unknown_text_survives(tmp_path, suffix):
    (tmp_path / "a.csv").write_text(
        "note,loss,params,tokens,lr,git_sha,seed\n"
        '"a ""quoted"", one",3.141592653589793,12345678901234567,6.02e8,0.1,12e5678,007\n'
        "ünïcode,2.718281828459045,2,602200000,1e-300,0012,8\n"
    )
    out = tmp_path / f"b.{suffix}"
    report = import_runs([tmp_path / "a.csv"], out)
    assert report.unknown_columns == ("note",)
    found = read_runs(out).observations
    assert found.loss.tolist() == [3.141592653589793, 2.718281828459045]
    assert found.params.tolist() == [12345678901234567.0, 2.0]
    assert found.lr.tolist() == [0.1, 1e-300]
    assert found.key == ("row 1", "row 2")
    if suffix == "csv":
        frame = pd.read_csv(out, dtype=str)
        assert list(frame.columns) == [
            *("key", "params", "tokens", "loss", "lr", "seed", "git_sha", "note"),
        ]
        assert frame["note"].tolist() == ['a "quoted", one', "ünïcode"]
        assert frame["git_sha"].tolist() == ["12e5678", "0012"]
        assert frame["tokens"].tolist() == ["602000000", "602200000"]


def test_dropped_rows_and_notes_are_reported(tmp_path):
    (tmp_path / "a.csv").write_text(
        "name,n_params,tokens,val_loss,train_loss\n"
        "a,1M,1e8,3.5,3.4\nb,2M,,3.1,3.0\nc,3M,1e8,nan,3.0\nd,4M,3e8,2.5,2.4\n"
    )
    report = import_runs([tmp_path / "a.csv"], tmp_path / "out" / "b.csv")
    assert dict(report.dropped) == {"b": "tokens is missing", "c": "loss is missing"}
    assert "`val_loss` taken as loss." in report.notes
    assert report.unknown_columns == ("train_loss",)
    assert (report.rows, report.bounds) == (2, 0)


def test_a_second_validation_loss_does_not_make_the_written_table_ambiguous(tmp_path):
    (tmp_path / "a.csv").write_text("params,tokens,val_loss,mine\n1e6,1e8,3.5,3.4\n")
    import_runs([tmp_path / "a.csv"], tmp_path / "b.csv", ["mine=loss"])
    table = read_runs(tmp_path / "b.csv")
    assert table.observations.loss.tolist() == [3.4]
    assert table.unknown_columns == ("val_loss (theirs)",)


def test_an_inferred_third_is_not_written_as_a_fact(tmp_path):
    (tmp_path / "a.csv").write_text(PLAIN)
    import_runs([tmp_path / "a.csv"], tmp_path / "b.csv")
    assert "flops" not in pd.read_csv(tmp_path / "b.csv")
    assert read_runs(tmp_path / "b.csv").observations.flops_convention == "6ND"


def test_gz_is_packed_and_repeatable(tmp_path):
    (tmp_path / "a.csv").write_text(PLAIN)
    for name in ("b.csv.gz", "c.csv.gz"):
        import_runs([tmp_path / "a.csv"], tmp_path / name)
    assert (tmp_path / "b.csv.gz").read_bytes() == (tmp_path / "c.csv.gz").read_bytes()
    assert gzip.decompress((tmp_path / "b.csv.gz").read_bytes()).startswith(b"key,params")


def test_a_failed_import_leaves_the_old_table(tmp_path):
    (tmp_path / "a.csv").write_text("params,tokens\n1,2\n")
    (tmp_path / "b.csv").write_text("old")
    with pytest.raises(TableError, match="no `loss`"):
        import_runs([tmp_path / "a.csv"], tmp_path / "b.csv")
    assert (tmp_path / "b.csv").read_text() == "old"


@pytest.mark.parametrize(
    ("sources", "out", "message"),
    [
        (["a.csv"], "b.xlsx", "ends in none of .csv, .tsv, .jsonl, .parquet"),
        (["a.csv"], "a.csv", "is one of the sources"),
        ([], "b.csv", "at least one file or folder"),
        (["none"], "b.csv", "none does not exist"),
    ],
)
def test_what_cannot_be_imported_gets_a_sentence(tmp_path, sources, out, message):
    (tmp_path / "a.csv").write_text(PLAIN)
    with pytest.raises(TableError, match=message):
        import_runs([tmp_path / source for source in sources], tmp_path / out)


def test_a_place_that_cannot_be_written_gets_a_sentence(tmp_path):
    (tmp_path / "a.csv").write_text(PLAIN)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(LedgerError, match="cannot be written"):
        import_runs([tmp_path / "a.csv"], tmp_path / "folder.csv")


def test_a_study_is_imported_without_its_range_tests(tmp_path):
    size = Size(1e4, 9e3, 1.1e4, 6.5e4)

    def run(key, schedule, loss, status=Status.DONE, parent=None):
        trial = Trial("ladder", {"width": 16, "depth": 2}, 1000, 10, 0.01, 50, schedule, seed=3)
        trial = Trial.from_json(trial.to_json() | {"parent": parent})
        return Run(trial, key, status, loss, 0.01, size, 1000, 6.5e7)

    runs = [
        run("trunk", Schedule("constant"), 2.4),
        run("fork", Schedule("wsd"), 2.2, parent="trunk"),
        run("range", Schedule("finder"), 5.0),
        run("gone", Schedule("wsd"), 7.0, Status.DIVERGED),
    ]
    lines = pd.Series([run.to_json() for run in runs])
    (tmp_path / "events.jsonl").write_text('{"event": "study"}\n')
    lines.to_json(tmp_path / "runs.jsonl", orient="records", lines=True, double_precision=15)
    report = import_runs([tmp_path], tmp_path / "table.csv")
    assert set(dict(report.dropped)) == {"range", "gone"}
    found = read_runs(tmp_path / "table.csv").observations
    assert found.key == ("trunk", "fork")
    assert found.censored.tolist() == [True, False]
    assert found.params.tolist() == [1e4, 1e4]
    assert found.flops_convention == "6N+attn"
    assert found.width.tolist() == [16, 16]
    assert found.seed.tolist() == [3, 3]
    assert runs_frame(runs)["final_lr_ratio"].tolist() == [0.0] * 4
