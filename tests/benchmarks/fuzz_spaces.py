"""Damaged search spaces, bytewise and by structure."""

from __future__ import annotations

import json
import random
from pathlib import Path

from planner._yaml import write_yaml
from planner.proxy import ProxySpec, load_proxy
from planner.space import dump_space, load_space
from planner.sweep.layout import lay_out
from tests.benchmarks.fuzz_bytes import ODD, damaged_bytes, damaged_value
from tests.studies import TEXT

COMMAND = """
proxy: {name: command, options: {argv: [train, "--lr", "{lr}", "{checkpoint_dir}"]}}
sizes: [{params: 1M}, {params: 2M}, {params: 4M}, {params: 8M}]
lr: {distribution: log_uniform_values, min: 1.0e-3, max: 6.4e-2}
batch_tokens: {log: [1k, 64k]}
horizons: {tokens_per_run: [5M, 10M, 20M, 40M], forks: false}
stages: {finder: off, confirm: design, held_out: {compute: 2x, sizes: 3}}
budget: {flops: 1e18, gpu_hours: 40gpuh, usd: 500usd, wall: 12h}
target: {gpus: 64, gpu: h100, days: 14, mfu: .4}
"""

GPT = """
proxy: {name: gpt, options: {context: 128, head: untied, parametrization: sp}}
data: {source: python-source}
sizes: {width: [16, 32, 48, 64, 80], depth: 2}
lr: {log: [2.0e-3, 6.4e-2], factor: 2}
batch_tokens: {log: [128, 2048], factor: 4}
horizons: {tokens_per_run: [500k, 1M, 2M, 4M]}
budget: {flops: 1.5e13}
"""

EVIL = (
    b"proxy: !!python/object/apply:os.system ['touch ran']\n",
    b"data: !!python/name:os.system\n",
    b"a: &a [*a]\n",
    b"proxy: &p {name: *p}\n",
    b"data: {a: &a [x,x,x,x,x,x,x,x,x], b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a], c: &c [*b,*b,*b,*b,*b,"
    b"*b,*b,*b,*b], d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c], e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d], "
    b"f: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e], g: [*f,*f,*f,*f,*f,*f,*f,*f,*f]}\n",
    b"data: " + b"[" * 5000 + b"\n",
    b"data: {when: 2026-11-21, raw: !!binary aGVsbG8=, many: !!set {a, b}}\n",
    b"? [a, b]\n: 1\n",
    b"<<: {seed: 1}\n",
    b"proxy: {name: 'os:system'}\n",
    b"--- \n---\n",
    b"seed: 0o17\n",
    b"study: ../escape\n",
)
"""Documents that try to run code, to explode, or to mean something else."""


def space_bytes_case(draw: random.Random, folder: Path) -> str:
    """Damage the text of a search space."""
    text = draw.choice((TEXT, COMMAND, GPT)).encode()
    for _ in range(draw.choice((1, 1, 2, 4))):
        text = damaged_bytes(draw, text)
    if draw.random() < 0.15:
        text = draw.choice((draw.choice(EVIL) + text, text + draw.choice(EVIL)))
    return _used(text, [], folder)


def space_values_case(draw: random.Random, folder: Path) -> str:
    """Damage the values of a search space, or set one on the command line."""
    path = folder / "good.yaml"
    path.write_text(draw.choice((TEXT, COMMAND, GPT)))
    data = json.loads(load_space(path).model_dump_json(by_alias=True, exclude_none=True))
    if draw.random() < 0.2:
        keys = draw.choice(("lr.factor", "sizes", "stages.held_out", "budget.flops", "a.b.c", "."))
        return _used(path.read_bytes(), [f"{keys}={draw.choice(ODD)}"], folder)
    for _ in range(draw.choice((1, 1, 1, 1, 2, 4))):
        data = damaged_value(draw, data) if isinstance(data, dict) else data
    return _used(write_yaml(data).encode(), [], folder)


def _used(text: bytes, overrides: list[str], folder: Path) -> str:
    """Load, lay out, write and read again: the same space must come back."""
    path = folder / "space.yaml"
    path.write_bytes(text)
    space = load_space(path, overrides)
    (folder / "again.yaml").write_text(dump_space(space))
    assert load_space(folder / "again.yaml") == space, "it does not read back as it was written"
    assert not (Path.cwd() / "ran").exists(), "code from the YAML ran"
    spec = ProxySpec(space.proxy.name, dict(space.data), dict(space.proxy.options))
    lay_out(space, load_proxy(spec))
    return "laid out"
