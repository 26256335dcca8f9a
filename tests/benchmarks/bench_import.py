"""Importing the public runs of ../shared/data, and the CPU time of large tables.

Run with `python -m tests.benchmarks.bench_import`. Every table is read with the --map its columns
need, written in each format and read back: the observations must be the same to the last bit. The
times are CPU seconds of one import; "bare csv" is pandas reading the same file and nothing more.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd

from planner.errors import TableError
from planner.observations import Observations
from planner.table import import_runs, read_runs

DATA = Path("../shared/data")
C4 = "loss::c4_val/shard-{0000000..0000010}.tar"
TABLES: dict[str, tuple[str, ...]] = {
    "epoch_chinchilla/svg_extracted_data.csv": (),
    "marin_dclm/isoflop-dclm.csv": ("eval/paloma/macro_loss=loss",),
    "gadre_rpj/runs_losses.csv": (f"{C4}=loss", "global_bs*2048=batch_tokens"),
    "steplaw_dense/dense_lr_bs_loss.csv": (
        *("N=params_non_embedding", "D=tokens", "smooth loss=loss", "bs*2048=batch_tokens"),
    ),
    "scalebench/farseer/train-00000-of-00001.parquet": ("N=params", "D=tokens"),
    "scalebench/data_constrained/train-00000-of-00001.parquet": (),
    "scalebench/lr_bsz/train-00000-of-00001.parquet": (
        *("lm_loss=loss", "data_size=tokens", "bsz*2048=batch_tokens"),
    ),
}
REFUSED: dict[str, tuple[str, ...]] = {
    "scalebench/vocab/train-00000-of-00001.parquet": (
        *("unigram_normalized_loss=loss", "non_vocab_parameters=params", "num_characters=tokens"),
    ),
    "runplan/published_runs.csv": ("final_loss=loss",),
    "critical_batch_size/steps_to_target.csv": (),
    "multipowerlaw/csv_25/wsdcon_3.csv": (),
    "README.md": (),
}
"""What holds no runs of a loss law: each must be refused with a sentence that helps."""


def main() -> None:
    """Print what each table gave, or why there are no figures."""
    with tempfile.TemporaryDirectory() as folder:
        if DATA.is_dir():
            _real(Path(folder))
        else:
            print(f"skipped the public runs: {DATA} is not there")
        _large(Path(folder))


def _real(folder: Path) -> None:
    for name, maps in TABLES.items():
        start = time.process_time()
        table = read_runs(DATA / name, maps)
        spent = time.process_time() - start
        runs = table.observations
        print(
            f"{name}: {len(runs)} rows, {len(table.dropped)} dropped, N {runs.n_convention}, FLOPs "
            f"{runs.flops_convention}, {1e3 * spent:.0f} ms; {_round_trips(folder, name, maps)}"
        )
        print("".join(f"    {note}\n" for note in table.notes), end="")
    for name, maps in REFUSED.items():
        try:
            read_runs(DATA / name, maps)
            print(f"{name}: NOT REFUSED")
        except TableError as error:
            print(f"refused {name}: {str(error)[:240]}")


def _round_trips(folder: Path, name: str, maps: Sequence[str]) -> str:
    before = read_runs(DATA / name, maps).observations
    differ = []
    for suffix in ("csv", "jsonl", "parquet"):
        out = folder / f"table.{suffix}"
        import_runs([DATA / name], out, maps)
        if not _same(before, read_runs(out).observations):
            differ.append(suffix)
    return f"NOT THE SAME through {', '.join(differ)}" if differ else "same through every format"


def _same(one: Observations, other: Observations) -> bool:
    pairs = [(getattr(one, f.name), getattr(other, f.name)) for f in fields(one) if f.name != "key"]
    arrays = [(a, b) for a, b in pairs if isinstance(a, np.ndarray)]
    return all(
        np.array_equal(a, b, equal_nan=a.dtype.kind == "f") and a.shape == b.shape
        for a, b in arrays
    )


def _large(folder: Path) -> None:
    rng = np.random.default_rng(0)
    n = 10_000
    columns = {"key": [f"run-{i}" for i in range(n)]}
    columns |= {c: 10 ** rng.uniform(6, 9, n) for c in ("params", "tokens")}
    columns |= {f"x{k}": rng.uniform(0, 1, n) for k in range(15)}
    columns |= {"loss": rng.uniform(2, 4, n), "status": rng.choice(["finished", "crashed"], n)}
    history = pd.DataFrame(columns).assign(run=np.repeat(np.arange(200), n // 200), params=1e6)
    frames = {
        "10,000 runs": pd.DataFrame(columns),
        "10,000 runs, texts": pd.DataFrame(columns).assign(tokens="1,234,567 tokens"),
        "200 runs of 50 rows": history,
    }
    path = folder / "large.csv"
    for name, frame in frames.items():
        frame.to_csv(path, index=False)
        bare = _cpu(lambda: pd.read_csv(path))
        read = _cpu(lambda: read_runs(path))
        report = _cpu(lambda: import_runs([path], folder / "out.csv"))
        print(
            f"{name}: read_runs {read:.2f} s CPU, import {report:.2f} s, bare csv {bare:.2f} s "
            f"({read / bare:.1f}x)"
        )


def _cpu(work: Callable[[], object]) -> float:
    """Return the least CPU time of three calls."""
    times = []
    for _ in range(3):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


if __name__ == "__main__":
    main()
