"""Exports of trackers become runs: every layout told by its content, every loss by its end."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.errors import TableError
from planner.importers._tfrecord import masked_crc, records
from planner.table import import_runs, read_runs
from tests.exports import (
    event_file,
    hparams_event,
    mlflow_run,
    ray_state,
    ray_trial,
    scalar_event,
    trainer_state,
    wandb_run,
)

PLAIN = "params,tokens,loss\n1e6,1e8,3.5\n2e6,2e8,3.0\n"


def losses(path, maps=(), **options):
    return read_runs(path, maps, **options).observations.loss.tolist()


@pytest.mark.parametrize(
    "text",
    [
        "params;tokens;loss\n1e6;1e8;3,5\n2e6;2e8;3,0\n",
        "params\ttokens\tloss\n1.000.000\t100000000\t3,5\n2000000\t200000000\t3,0\n",
        'params,tokens,loss\n"1,000,000","100,000,000",3.5\n2M,0.2B tokens,3.0\n',
        "loss | params | tokens\n350% | 1e6 | 1e8\n3.0 | 2e6 | 2e8\n",
        "\n\nparams, tokens, loss,\n 1e6 , 1e8 , 3.5 ,\n\n2e6,2e8,3.0,\n",
        json.dumps(
            [
                {"params": 1e6, "tokens": 1e8, "loss": 3.5},
                {"params": 2e6, "tokens": 2e8, "loss": "3.0"},
            ]
        ),
        json.dumps(
            {
                "meta": {"a": 1},
                "runs": [
                    {"params": 1e6, "tokens": 1e8, "loss": 3.5},
                    {"params": 2e6, "tokens": 2e8, "loss": 3},
                ],
            }
        ),
        json.dumps({"params": [1e6, 2e6], "tokens": [1e8, 2e8], "loss": [3.5, 3.0]}),
        json.dumps(
            {
                "params": {"0": 1e6, "1": 2e6},
                "tokens": {"0": 1e8, "1": 2e8},
                "loss": {"0": 3.5, "1": 3},
            }
        ),
        json.dumps(
            {
                "a": {"params": 1e6, "tokens": 1e8, "loss": 3.5},
                "b": {"params": 2e6, "tokens": 2e8, "loss": 3},
            }
        ),
        '{"params": 1e6, "tokens": 1e8, "loss": 3.5}\n'
        '{"params": 2e6, "tokens": 2e8, "loss": 3.0}\n{"para',
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_one_table_in_many_spellings_is_the_same_table(tmp_path, text, packed):
    path = tmp_path / "export.dat"
    content = text.encode("utf-8-sig")
    path.write_bytes(gzip.compress(content) if packed else content)
    found = read_runs(path).observations
    assert found.loss.tolist() == [3.5, 3.0]
    assert found.params.tolist() == [1e6, 2e6]
    assert found.tokens.tolist() == [1e8, 2e8]


def test_a_utf16_table_of_a_spreadsheet_is_read(tmp_path):
    path = tmp_path / "runs.txt"
    path.write_bytes(PLAIN.replace(",", "\t").encode("utf-16"))
    assert losses(path) == [3.5, 3.0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no rows"),
        (b"params;tokens;loss\n1;2;3,141\n", "can be 3.141 or 3141; write numbers"),
        (b"PK\x03\x04rest", "spreadsheet or a zip archive; save the sheet as CSV"),
        (b"SQLite format 3\0", "a database; export"),
        (b"\x80\x04\x95abc", "pickle"),
        (b"<html></html>", "web page"),
        (b"just words\nand more\n", "is no table: its first line `just words`"),
        (b"a,b\n\xff\xfe\xfa,1\n", "not text in UTF-8 .byte 4."),
        (b"\x00\x01\x02\x03", "bytes that are no text"),
        (b"PAR1 not really", "damaged Parquet"),
        (b"\x1f\x8b not really", "cannot be read"),
        (b"{nothing", "neither JSON nor JSON lines"),
        (b'{"a": [{"x": 1}], "b": [{"y": 1}]}', "several lists of records: a, b"),
        (b'{"a": 1}', "holds no records"),
        (b"Step,run - loss,run - loss__MIN\n1,2,3\n", "a chart of W&B"),
        (b"loss,loss\n1,2\n", "no `params`"),
    ],
)
def test_what_is_no_table_gets_a_sentence(tmp_path, content, message):
    path = tmp_path / "export"
    path.write_bytes(content)
    with pytest.raises(TableError, match=message):
        read_runs(path)


def test_rows_of_another_width_are_dropped_by_line(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text(PLAIN + "3e6,3e8,2,9\n4e6,4e8,2.8\n")
    table = read_runs(path)
    assert table.observations.loss.tolist() == [3.5, 3.0, 2.8]
    ((row, reason),) = table.dropped
    assert row.endswith("line 4")
    assert "4 cells and the header 3" in reason


def test_a_runs_csv_of_wandb(tmp_path):
    path = tmp_path / "wandb_export.csv"
    path.write_text(
        '"Name","State","Runtime","n_params","train/tokens","eval/loss","train/loss","optimizer.lr","Tags"\n'
        '"fast-sun-1","finished","60","1000000","100000000","3.5","3.4","0.001",""\n'
        '"fast-sun-2","crashed","30","2000000","50000000","3.9","3.8","0.001",""\n'
        '"fast-sun-3","running","10","2000000","","","","0.001",""\n'
        '"fast-sun-4","finished","90","2000000","200000000","NaN","3.1","0.001",""\n'
        '"fast-sun-5","finished","90","2000000","200000000","3.0","2.9","0.001",""\n'
    )
    table = read_runs(path)
    found = table.observations
    assert found.key == ("fast-sun-1", "fast-sun-2", "fast-sun-5")
    assert found.censored.tolist() == [False, True, False]
    assert found.lr.tolist() == [0.001] * 3
    assert dict(table.dropped) == {
        "fast-sun-3": "loss is missing; status is running",
        "fast-sun-4": "loss is missing",
    }
    assert "`eval/loss` taken as loss." in table.notes
    assert any("upper bounds: fast-sun-2 (crashed)" in note for note in table.notes)
    assert table.unknown_columns == ("Tags", "train/loss")


def test_a_frame_of_wandbs_api_holds_mappings_in_cells(tmp_path):
    path = tmp_path / "project.csv"
    rows = [
        {
            "summary": {"val_loss": 3.5, "lr": 0.0, "bad": float("nan"), "_wandb": {"runtime": 3}},
            "config": {"lr": 0.01, "model": {"n_params": 10**6}, "tokens": 10**8},
            "name": "a",
        }
    ]
    pd.DataFrame(rows).to_csv(path)
    found = read_runs(path).observations
    assert (found.loss[0], found.lr[0], found.params[0], found.tokens[0]) == (3.5, 0.01, 1e6, 1e8)


def test_wandbs_run_folders(tmp_path):
    for k, loss in enumerate((3.5, 3.0), start=1):
        wandb_run(
            tmp_path,
            f"id{k}",
            params=k * 10**6,
            summary={"val/loss": loss, "tokens": k * 10**8, "lr": 0},
        )
    broken = wandb_run(tmp_path, "id3", params=1, summary={})
    (broken / "wandb-summary.json").write_text('{"val/loss": 3.')
    table = read_runs(tmp_path)
    found = table.observations
    assert sorted(found.key) == ["id1", "id2"]
    assert found.lr.tolist() == [3e-4] * 2
    assert found.width.tolist() == [256] * 2
    assert any("W&B folder does not say whether a run ended" in note for note in table.notes)
    ((folder, reason),) = table.dropped
    assert "id3" in folder
    assert "W&B run cannot be read" in reason


def test_a_history_of_wandb_keeps_its_last_loss(tmp_path):
    rows = [
        {
            "_step": s,
            "n_params": 10**6,
            "tokens": s * 10**5,
            "val_loss": 4 - s / 1000 if s % 500 == 0 else None,
        }
        for s in range(100, 1001, 100)
    ]
    (tmp_path / "my-run.json").write_text(json.dumps(rows))
    table = read_runs(tmp_path / "my-run.json")
    assert table.observations.loss.tolist() == [3.0]
    assert table.observations.tokens.tolist() == [1e8]
    assert table.dropped == (
        (
            "my-run",
            "of 10 rows, left out: 1 earlier rows, which are not decayed, 8 rows without a loss",
        ),
    )
    every = read_runs(tmp_path / "my-run.json", all_rows=True).observations
    assert every.loss.tolist() == [3.5, 3.0]
    assert every.censored.tolist() == [True, False]
    assert every.group == ("my-run", "my-run")


def test_mlflows_file_store(tmp_path):
    settings = {"learning_rate": "0.001", "global_batch_size": "8", "seq_len": "1024"}
    for k, (run, status) in enumerate((("r1", 3), ("r2", 5), ("r3", 4)), start=1):
        metrics = {
            "val/loss": [(500, 3.6 - k / 10), (1000, 3.1 - k / 10)],
            "n_params": [(0, k * 1e6)],
        }
        mlflow_run(
            tmp_path, run, status=status, params=settings, metrics=metrics if run != "r3" else {}
        )
    mlflow_run(tmp_path, "r4", params=settings, metrics={"val/loss": [(1, 9.0)]}, stage="deleted")
    table = read_runs(tmp_path)
    found = table.observations
    assert found.key == ("name-r1", "name-r2")
    assert found.loss.tolist() == [3.0, 2.9]
    assert found.params.tolist() == [1e6, 2e6]
    assert found.tokens.tolist() == [1000 * 8 * 1024] * 2
    assert found.censored.tolist() == [False, True]
    assert found.lr.tolist() == [0.001] * 2
    reasons = dict(table.dropped)
    assert "deleted in MLflow" in reasons[str(tmp_path / "0" / "r4")]
    assert "failed" in reasons["name-r3"]


def test_ray_tunes_results(tmp_path):
    results = [{"eval_loss": 3.5, "tokens": 5e7}, {"eval_loss": 3.2, "tokens": 1e8}]
    for k, trial in enumerate(("t1", "t2", "t3", "t4"), start=1):
        config = {"lr": 0.001 * k, "model": {"n_params": k * 10**6}}
        folder = ray_trial(tmp_path, trial, config=config, results=results, done=trial == "t1")
        if trial == "t2":
            (folder / "error.txt").write_text("CUDA out of memory")
    ray_state(tmp_path, {"t3": "TERMINATED", "t4": "RUNNING"})
    found = read_runs(tmp_path).observations
    status = dict(zip(found.group, found.status, strict=True))
    assert status == {"t1": "done", "t2": "crashed", "t3": "done", "t4": "running"}
    assert found.loss.tolist() == [3.2] * 4
    assert found.censored.tolist() == [False, True, False, True]
    assert found.lr.tolist() == pytest.approx([0.001, 0.002, 0.003, 0.004])


def test_a_trainers_folders(tmp_path):
    for name, step, planned in (("small", 1000, 1000), ("large", 600, 1000)):
        for at in (step // 2, step):
            folder = tmp_path / name / f"checkpoint-{at}"
            folder.mkdir(parents=True)
            state = trainer_state(step=at, planned=planned, tokens=at * 10**5)
            (folder / "trainer_state.json").write_text(json.dumps(state))
            (folder / "config.json").write_text(json.dumps({"hidden_size": 64, "vocab_size": 99}))
    table = read_runs(tmp_path)
    found = table.observations
    assert dict(zip(found.key, found.loss, strict=True)) == pytest.approx(
        {"small": 3.1, "large": 3.5}
    )
    assert dict(zip(found.key, found.censored, strict=True)) == {"small": False, "large": True}
    assert found.params.tolist() == pytest.approx([1e6] * 2)
    assert found.width.tolist() == [64] * 2
    assert any("`total_flos` taken as flops" in note for note in table.notes)


def test_tensorboards_event_files(tmp_path):
    for k, run in enumerate(("a", "b"), start=1):
        events = [hparams_event({"n_params": k * 1e6, "lr": 0.01})]
        for step in (100, 200):
            tokens = scalar_event(step, "train/tokens", step * 1e6)
            events += [
                scalar_event(step, "val/loss", 4 - k - step / 1000, tensor=run == "b"),
                tokens,
            ]
        event_file(tmp_path / run, events)
    found = read_runs(tmp_path).observations
    assert found.key == ("a", "b")
    assert found.loss.tolist() == pytest.approx([2.8, 1.8])
    assert found.params.tolist() == [1e6, 2e6]
    assert found.tokens.tolist() == [2e8] * 2
    assert found.lr.tolist() == [0.01] * 2


def test_a_damaged_event_file_is_named_and_a_cut_one_is_read(tmp_path):
    events = [
        hparams_event({"n_params": 1e6}),
        scalar_event(1, "tokens", 1e6),
        scalar_event(1, "val/loss", 3),
    ]
    file = event_file(tmp_path / "run", [*events, scalar_event(2, "val/loss", 2)])
    whole = file.read_bytes()
    file.write_bytes(whole[:-3])
    assert losses(tmp_path) == [3.0]
    file.write_bytes(whole[:60] + b"?" + whole[61:])
    with pytest.raises(TableError, match=r"record at byte \d+ is damaged"):
        read_runs(tmp_path)


def test_the_checksum_is_crc_32c():
    crc = (masked_crc(b"123456789") - 0xA282EAD8) & 0xFFFFFFFF
    assert ((crc >> 17) | (crc << 15)) & 0xFFFFFFFF == 0xE3069283


def test_an_image_in_an_event_file_is_passed_over(tmp_path):
    from tests.exports import record

    file = tmp_path / "events"
    file.write_bytes(record(b"a") + record(bytes(1 << 21)) + record(b"b"))
    assert list(records(file)) == [b"a", b"b"]


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text("loss_0{", max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["loss", "params", "tokens", "trial", "_step"]), inner)
    ),
    max_leaves=12,
)
CELLS = st.lists(st.text('0123456789.,;\t"eE%-nalosk ', max_size=6), max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(),
        st.text().map(str.encode),
        JSON.map(lambda data: json.dumps(data).encode()),
        CELLS.map(lambda cells: ("params,tokens,loss,run\n" + ",".join(cells)).encode()),
        CELLS.map(lambda cells: ("params;tokens;loss\n" + "\n".join(cells)).encode()),
    )
)
def test_whatever_a_file_holds_it_is_read_or_refused_with_a_sentence(tmp_path, content):
    (tmp_path / "export").write_bytes(content)
    try:
        read_runs(tmp_path / "export")
    except TableError as error:
        assert len(str(error)) > 20  # noqa: PT017


def test_a_folder_is_walked_and_what_is_no_table_is_named(tmp_path):
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / "deep/er/one.csv").write_text(PLAIN)
    (tmp_path / "deep/two.jsonl").write_text('{"params": 4e6, "tokens": 4e8, "loss": 2.5}\n')
    (tmp_path / "config.json").write_text('{"a": 1}')
    table = read_runs(tmp_path)
    assert sorted(table.observations.loss.tolist()) == [2.5, 3.0, 3.5]
    assert sorted(table.observations.key) == ["one.csv row 1", "one.csv row 2", "two.jsonl row 1"]
    ((file, reason),) = table.dropped
    assert file.endswith("config.json")
    assert "holds no records" in reason


def test_a_folder_without_runs_gets_a_sentence(tmp_path):
    with pytest.raises(TableError, match=r"holds no runs: no table .*W&B"):
        read_runs(tmp_path)


def test_several_sources_become_one_table(tmp_path):
    (tmp_path / "one.csv").write_text(PLAIN)
    wandb_run(tmp_path / "wandb", "id1", params=10**6, summary={"val_loss": 3.3, "tokens": 10**8})
    (tmp_path / "curves.csv").write_text("step,lr\n1,2\n")
    sources = [tmp_path / "one.csv", tmp_path / "wandb", tmp_path / "curves.csv"]
    report = import_runs(sources, tmp_path / "all.parquet")
    assert report.rows == 3
    assert [name for name, _ in report.dropped] == [str(tmp_path / "curves.csv")]
    found = read_runs(tmp_path / "all.parquet").observations
    assert found.loss.tolist() == [3.5, 3.0, 3.3]
    assert np.isnan(found.lr[0])
    assert found.lr[2] == 3e-4
