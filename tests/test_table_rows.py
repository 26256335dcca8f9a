"""Which rows of a real table are values, which are bounds, and which names are believed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.table import import_runs, read_runs
from planner.table.names import meaning, spelled
from planner.table.numbers import number, to_floats

BASE = {"params": [1e6, 2e6, 4e6], "tokens": [1e8, 2e8, 4e8], "loss": [3.0, 2.8, 2.6]}


@pytest.fixture
def write(tmp_path):
    def to_csv(columns):
        path = tmp_path / "runs.csv"
        pd.DataFrame(columns).to_csv(path, index=False)
        return path

    return to_csv


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("1,234,567", 1234567.0),
        ("1 234 567", 1234567.0),
        ("1_000_000", 1e6),
        ("1'000.5", 1000.5),
        ("7B", 7e9),
        ("1.5k", 1500.0),
        ("1e9 tokens", 1e9),
        ("300M params", 3e8),
        ("2.5 GFLOPs", 2.5e9),
        ("1,234 tokens", 1234.0),
        ("12.5%", 0.125),
        (" 3.25 ", 3.25),
        (True, 1.0),
        (10**30, 1e30),
    ],
)
def test_numbers_as_people_write_them(cell, value):
    assert number(cell) == value


@pytest.mark.parametrize("cell", ["3,14", "1,23,456", "0,123", "7 B or so", "", "none", None, [1]])
def test_what_is_no_number_is_none(cell):
    assert np.isnan(number(cell))


@given(st.floats(allow_nan=False, width=64), st.integers(-(10**15), 10**15))
def test_plain_and_grouped_numbers_come_back_exactly(real, whole):
    assert number(repr(real)) == real
    assert number(f"{whole:,}") == whole
    assert number(f"{whole:_}") == whole


@given(st.lists(st.floats(-1e300, 1e300), min_size=1))
def test_a_column_with_decimal_commas_is_read_as_such(values):
    cells = [f"{value:.6f}".replace(".", ",") for value in values]
    expected = [float(f"{value:.6f}") for value in values]
    assert to_floats(pd.Series(cells, dtype=object)).tolist() == expected


@settings(max_examples=50)
@given(st.text())
def test_no_cell_breaks_the_reading(text):
    number(text)
    spelled(text)


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("Training FLOP", "flops"),
        ("optimizer.lr", "lr"),
        ("config/lr", "lr"),
        ("params.lr", "lr"),
        ("params.learningRate", "lr"),
        ("Learning-Rate", "lr"),
        ("config.model.hidden_size", "width"),
        ("eval/loss", "loss"),
        ("summary.val_loss", "loss"),
        ("metrics.val/loss", "loss"),
        ("throughput/total_tokens", "tokens"),
        ("trainer/global_step", "steps"),
        ("State", "status"),
        ("tags.mlflow.runName", "key"),
        # never taken: a measured lr is the last one, a plain tracked loss may be the training's
        ("summary.lr", ""),
        ("metrics.loss", ""),
        ("config.loss", ""),
        ("train/loss", ""),
        ("batch_size", ""),
        ("N", ""),
        ("_step", ""),
    ],
)
def test_only_sure_names_are_believed(name, ours):
    assert meaning(name) == ours


def test_every_taken_name_is_told(write):
    table = read_runs(
        write({"n_params": [1e6], "tokens_seen": [1e8], "eval_loss": [3.0], "max_lr": [0.1]})
    )
    told = [note for note in table.notes if "taken as" in note]
    assert told == [
        "`n_params` taken as params.",
        "`tokens_seen` taken as tokens.",
        "`eval_loss` taken as loss.",
        "`max_lr` taken as lr.",
    ]


def test_columns_that_agree_are_joined_and_a_measured_count_beats_the_planned(write):
    table = read_runs(
        write(
            {
                "n_params": [1e6, None, 4e6],
                "num_params": [1e6, 2e6, None],
                "summary.tokens_seen": [0.9e8, None, 4e8],
                "config.total_tokens": [1e8, 2e8, 4e8],
                "val_loss": [3.0, 2.8, 2.6],
            }
        )
    )
    assert table.observations.params.tolist() == [1e6, 2e6, 4e6]
    assert table.observations.tokens.tolist() == [0.9e8, 2e8, 4e8]


def test_an_ambiguous_optional_column_is_left_alone_and_told(write):
    table = read_runs(write(BASE | {"max_lr": [1, 1, 1], "base_lr": [2, 2, 2]}))
    assert np.isnan(table.observations.lr).all()
    assert any("lr is not taken: `max_lr` and `base_lr` differ" in note for note in table.notes)


def test_tokens_follow_from_steps_and_batches(write):
    table = read_runs(
        write(
            {
                "params": [1e6, 2e6],
                "loss": [3.0, 2.8],
                "steps": [1000, 2000],
                "global_batch_size": [8, 8],
                "seq_len": [128, 256],
                "warmup_steps": [10, 10],
            }
        )
    )
    found = table.observations
    assert found.tokens.tolist() == [1000 * 8 * 128, 2000 * 8 * 256]
    assert found.batch_tokens.tolist() == [8 * 128, 8 * 256]
    assert found.warmup_tokens.tolist() == [10 * 8 * 128, 10 * 8 * 256]
    assert "tokens is steps x batch_tokens where it is missing." in table.notes


def test_a_product_of_columns_can_be_mapped(write):
    path = write({"params": [1e6], "loss": [3.0], "bs": [16], "ti": [1000], "a*b": [5]})
    table = read_runs(path, ["bs*ti*2048=tokens", "a*b=seed"])
    assert table.observations.tokens.tolist() == [16 * 1000 * 2048]
    assert table.observations.seed.tolist() == [5]


def test_optional_columns_reach_the_observations(write):
    table = read_runs(
        write(
            BASE
            | {
                "seed": [0, 1, 2],
                "unique_tokens": [1e8, 1e8, 1e8],
                "lr_scheduler_type": ["cosine", "wsd", None],
                "min_lr_ratio": ["10%", "0", "0"],
                "d_model": [64, 128, 256],
                "n_layer": [2, 4, 6],
            }
        )
    )
    found = table.observations
    assert found.seed.tolist() == [0, 1, 2]
    assert found.epochs.tolist() == [1, 2, 4]
    assert found.schedule.tolist() == ["cosine", "wsd", ""]
    assert found.final_lr_ratio.tolist() == [0.1, 0, 0]
    assert found.width.tolist() == [64, 128, 256]
    assert found.depth.tolist() == [2, 4, 6]


@pytest.mark.parametrize("word", ["finished", "FINISHED", "done", "Completed", "success", ""])
def test_a_run_that_ended_is_a_value(write, word):
    found = read_runs(write(BASE | {"state": ["done", "done", word]})).observations
    assert not found.censored.any()


@pytest.mark.parametrize(
    "word", ["crashed", "failed", "killed", "running", "preempting", "Early Stopped", "timed out"]
)
def test_a_run_that_was_cut_off_is_an_upper_bound(write, word):
    table = read_runs(write(BASE | {"state": ["finished", "finished", word]}))
    assert table.observations.censored.tolist() == [False, False, True]
    assert any("1 rows count only as upper bounds: row 3" in note for note in table.notes)


@pytest.mark.parametrize(
    ("word", "reason"), [("diverged", "the run diverged"), ("zzz", "`zzz` is no word")]
)
def test_other_ends_are_dropped_with_a_reason(write, word, reason):
    table = read_runs(write(BASE | {"state": ["finished", "finished", word]}))
    assert len(table.observations) == 2
    assert reason in dict(table.dropped)["row 3"]


def history(run, params, tokens, losses, **more):
    rows = {"run_id": run, "params": params, "tokens": tokens, "loss": losses}
    return pd.DataFrame(rows | more)


def test_checkpoints_of_a_run_leave_its_last_loss(write):
    frames = [
        history("a", 1e6, [1e8, 2e8, 3e8], [3.5, 3.2, 3.0]),
        history("b", 2e6, [3e8, 1e8, 2e8], [2.8, 3.4, 3.1]),
        history("c", 4e6, [3e8], [2.6]),
    ]
    table = read_runs(write(pd.concat(frames)))
    assert table.observations.loss.tolist() == [3.0, 2.8, 2.6]
    assert table.observations.group == ("a", "b", "c")
    assert [reason for _, reason in table.dropped] == [
        "of 3 rows, left out: 2 earlier rows, which are not decayed"
    ] * 2


def test_all_rows_keeps_checkpoints_as_bounds_even_through_a_file(write, tmp_path):
    path = write(history("a", 1e6, [1e8, 2e8, 3e8], [3.5, 3.2, 3.0]))
    report = import_runs([path], tmp_path / "all.csv", all_rows=True)
    assert (report.rows, report.bounds) == (3, 2)
    for found in (read_runs(path, all_rows=True), read_runs(tmp_path / "all.csv")):
        assert found.observations.loss.tolist() == [3.5, 3.2, 3.0]
        assert found.observations.censored.tolist() == [True, True, False]
        assert set(found.observations.group) == {"a"}


def test_a_last_loss_before_the_end_is_a_bound(write):
    columns = history("a", 1e6, [1e8, 2e8, 3e8], [3.5, 3.2, np.nan])
    table = read_runs(write(pd.concat([columns, history("b", 2e6, [3e8], [2.6])])))
    assert table.observations.censored.tolist() == [True, False]
    assert any("its last loss was measured at 67% of the run" in note for note in table.notes)


def test_a_crashed_history_is_a_bound_at_its_last_loss(write):
    rows = [
        history("a", 1e6, [1e8, 2e8], [3.5, 3.2], status="crashed"),
        history("b", 2e6, [3e8], [2.6], status="done"),
    ]
    found = read_runs(write(pd.concat(rows))).observations
    assert found.censored.tolist() == [True, False]
    assert found.tokens.tolist() == [2e8, 3e8]


def test_what_was_logged_in_other_rows_is_filled_in(write):
    columns = history("a", [1e6, None, None], [1e8, None, 3e8], [None, 3.2, None], step=[1, 2, 3])
    columns["lr"] = [0.1, 0.05, 0.01]
    table = read_runs(write(pd.concat([columns, history("b", 2e6, [3e8], [2.6], step=[9])])))
    found = table.observations
    assert (found.params[0], found.tokens[0], found.lr[0]) == (1e6, 2e8, 0.1)
    assert found.final_lr_ratio[0] == pytest.approx(0.1)
    assert found.censored.tolist() == [True, False]


def test_one_run_in_two_exports_counts_once(write):
    row = history("a", 1e6, [3e8], [3.0])
    table = read_runs(write(pd.concat([row, row, history("b", 2e6, [3e8], [2.6])])))
    assert table.observations.loss.tolist() == [3.0, 2.6]
    assert table.dropped == (("row 2", "of 2 rows, left out: 1 copies of a row"),)


def test_a_run_name_shared_by_sizes_or_seeds_is_a_group_and_not_a_history(write):
    rows = BASE | {"run": ["sweep"] * 3}
    table = read_runs(write(rows))
    assert table.observations.loss.tolist() == BASE["loss"]
    assert table.observations.group == ("sweep",) * 3
    assert any("share the name of a run" in note for note in table.notes)
    seeds = {"params": 1e6, "tokens": 1e8, "loss": [3, 3.1], "run": "a", "seed": [0, 1]}
    assert len(read_runs(write(seeds)).observations) == 2


def test_rows_of_a_run_that_nothing_orders_are_all_kept(write):
    table = read_runs(write(history("a", 1e6, [1e8] * 4, [3.0, 3.1, 3.2, 3.3])))
    assert len(table.observations) == 4
    assert any("nothing orders its 4 rows" in note for note in table.notes)


def test_names_shared_by_rows_are_told_apart(write):
    found = read_runs(write(BASE | {"name": ["base", "base", "large"]})).observations
    assert found.key == ("base", "base (2)", "large")


def test_a_run_short_of_its_plan_is_a_bound_unless_it_says_that_it_ended(write):
    steps = {"steps": [50, 100, 50], "max_steps": [100, 100, 100]}
    found = read_runs(write(BASE | steps)).observations
    assert found.censored.tolist() == [True, False, True]
    table = read_runs(write(BASE | steps | {"status": ["done"] * 3}))
    assert not table.observations.censored.any()
    assert any("2 runs say that they ended" in note for note in table.notes)


def test_the_trunk_of_forks_is_a_bound(write):
    rows = BASE | {
        "key": ["trunk", "x", "y"],
        "parent": [None, "trunk", "trunk"],
        "schedule": ["constant", "wsd", "wsd"],
    }
    found = read_runs(write(rows)).observations
    assert found.censored.tolist() == [True, False, False]
    assert found.group == ("trunk", "trunk", "trunk")


def test_far_losses_are_pointed_at(write):
    rows = {"params": [1e6] * 5, "tokens": [1e8] * 5, "loss": [3.0, 3.1, 3.2, 3.3, 9.9]}
    table = read_runs(write(rows))
    assert len(table.observations) == 5
    assert any("1 losses are over 2 times the median (row 5)" in note for note in table.notes)


def test_flops_of_some_rows_do_not_mix_conventions(write):
    table = read_runs(write(BASE | {"flops": [6.6e14, None, 9.7e15]}))
    assert table.observations.flops.tolist() == [6e14, 2.4e15, 9.6e15]
    assert table.observations.flops_convention == "6ND"
    assert any("flops is known for only 2 of 3 rows" in note for note in table.notes)


def test_where_knows_their_names_and_ours(write):
    path = write({"n_params": [1e6, 2e6], "tokens": [1e8, 2e8], "loss": [3.0, 2.8]})
    for query in ("n_params > 1.5e6", "params > 1.5e6"):
        assert read_runs(path, where=query).observations.loss.tolist() == [2.8]
