"""A small synthetic study for tests of the sweep: the real loop, milliseconds a trial."""

from __future__ import annotations

from pathlib import Path

from planner.space import SearchSpace, load_space

TEXT = """
study: small
seed: 0
proxy: {name: synthetic, options: {noise: 0.004}}
sizes: {width: [16, 32, 48, 64, 80], depth: 2}
lr: {log: [2.0e-3, 6.4e-2], factor: 2}
batch_tokens: {log: [128, 2048], factor: 4}
horizons: {tokens_per_run: [500k, 1M, 2M, 4M], forks: true}
stages: {finder: on, seeds: 3, lr_batch: on, confirm: on, warmup: on, ladder: on, held_out: on}
budget: {flops: 2e13}
target: {flops: 1e15}
executor: {name: inline, workers: 1}
"""


class Silence:
    """A watch that says nothing."""

    def __getattr__(self, name):
        return lambda *_: None


def space_file(folder: Path, text: str = TEXT) -> Path:
    """Write the small study's YAML into a folder."""
    path = folder / "small.yaml"
    path.write_text(text)
    return path


def small_space(folder: Path, *overrides: str) -> SearchSpace:
    """Return the small study, with overrides as ``--set`` takes them."""
    return load_space(space_file(folder), overrides)
