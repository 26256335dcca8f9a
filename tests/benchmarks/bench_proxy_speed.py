"""Tokens per second and core of the gpt proxy, against the same model in plain eager PyTorch.

    ratio = median over interleaved rounds of (CPU time of the plain step / CPU time of ours)

The plain model is what one would write: nn.Module, torch.optim.AdamW, clip_grad_norm_, an ordinary
loop; it starts from the same weights and must give the same losses. Both fetch their batches.
Beside the ratios: the share of our loop outside forward, backward and optimizer, what compiling
costs (nothing but loading, where this machine's cache has the code: only two processes of their own
are sure to compile and to load), what the matrix products and attention of a step take by
themselves, compiled stacks, and what a quickstart sweep would gain. One core,
CPU time. On a busy machine the ratios hold better than the rates.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import ClassVar

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from planner.proxies import _stepper
from planner.proxies._compile import (
    COLD_SECONDS,
    LAUNCH_SECONDS,
    LOAD_SECONDS,
    TOKEN_SECONDS,
    _settings,
)
from planner.proxies._loop import Training
from planner.proxies.gpt import GptProxy
from planner.run import Round, Trial
from planner.sweep.alike import Decided
from tests.benchmarks.plain_gpt import Plain, kernels

CASES = [(16, 2, 512, 2.0), (32, 2, 512, 2.0), (32, 2, 128, 0.0), (64, 3, 4096, 1.6)]
CASES += [(192, 2, 4096, 1.6), (272, 2, 4096, 1.6)]
"""Width, depth, tokens a step, the ratio to reach (0: none was set)."""

STACKS, MEMBERS = [(16, 2, 512), (16, 2, 128), (32, 2, 512)], 4

BF16_FROM = 512
"""Above so many tokens a step the compiled proxy is timed in bf16 too (its CPU should have it)."""

HEAD = (
    "   params  shape  batch     plain     eager  compiled  eager  comp.   bf16  outside  compile s"
    "  loss gap"
)
ROUNDS, ROUND_SECONDS = 7, 0.5
DATA = {"source": "python-source", "tokens_needed": 4_000_000}
EXAMPLE = Path(__file__).parents[2] / "results" / "example"


class Silence:
    """A context that throws its reports away."""

    alike: ClassVar = {}

    def __init__(self, folder: str) -> None:
        self.checkpoint_dir, self.parent, self.device = Path(folder), None, "cpu"

    def report(self, **values):
        pass

    def resumed(self, tokens):
        pass

    def give_way(self, tokens):
        pass


def arms(width, depth, batch):
    """Return the trial, the plain step, and steppers of the proxy, eager and compiled."""
    trial = Trial("t", {"width": width, "depth": depth}, 1000 * batch, batch, 0.005, 0)
    eager = GptProxy(DATA, compile="off")._stepper(trial, "cpu")
    code = GptProxy(DATA, compile="on")._stepper(trial, "cpu")
    half = GptProxy(DATA, compile="on", precision="bf16")._stepper(trial, "cpu")
    plain = Plain(eager.model, trial)
    count = batch // eager.model.shape.context

    def plain_step(step, lr):
        return plain.step(torch.from_numpy(eager.batches.at(step * count, count)), lr)

    return trial, plain_step, eager, code, half


def compare(width, depth, batch, target):
    trial, plain, eager, code, half = arms(width, depth, batch)
    compiling = first(lambda: code.gradient(0, code.windows))
    steps = {
        "plain": plain,
        "ours, eager": lambda s, lr: eager.take(s, lr)[0],
        "compiled": lambda s, lr: code.take(s, lr)[0],
    }
    losses = {name: [float(take(s, 0.005)) for s in range(5)] for name, take in steps.items()}
    gap = max(
        abs(a - b) for name in losses for a, b in zip(losses[name], losses["plain"], strict=True)
    )
    assert gap < 1e-4, losses
    if batch > BF16_FROM:
        steps["bf16"] = lambda s, lr: half.take(s, lr)[0]
        steps["bf16"](0, 0.005)
        steps |= kernels(code.model, batch)
    times = {name: [] for name in steps}
    count = max(2, int(ROUND_SECONDS / timed(plain, 2)))
    for _ in range(ROUNDS):
        for name, take in steps.items():
            times[name].append(timed(take, count))
    rate = {name: batch / statistics.median(seconds) for name, seconds in times.items()}
    ratio = {
        name: statistics.median(a / b for a, b in zip(times["plain"], times[name], strict=True))
        for name in steps
    }
    size = GptProxy(DATA).size(trial.shape).params_matmul
    verdict = "" if not target else " ok" if ratio["compiled"] >= target else f" MISSED {target}x"
    print(
        f"{size:>9,.0f} {width:>4}x{depth} {batch:>6,} {rate['plain']:>9,.0f}"
        f" {rate['ours, eager']:>9,.0f} {rate['compiled']:>9,.0f}"
        f" {ratio['ours, eager']:>6.2f} {ratio['compiled']:>6.2f}"
        f" {ratio.get('bf16', float('nan')):>6.2f} {outside(code):>8.1%}"
        f" {compiling:>8.1f} {gap:>9.1e}{verdict}",
        flush=True,
    )
    if "products" in ratio:
        products, attention = 1 / ratio["products"], 1 / ratio["attention"]
        print(
            f"          of plain's step the matrix products alone take {products:.0%}, torch's "
            f"attention {attention:.0%}: in fp32, with these, at most "
            f"{1 / (products + attention):.2f}x",
            flush=True,
        )


def timed(take, count):
    began = time.process_time()
    for step in range(count):
        take(step, 0.005)
    return (time.process_time() - began) / count


def cpu():
    child = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + child.ru_utime + child.ru_stime


def outside(stepper) -> float:
    """Return the share of the training loop outside forward, backward, clipping and optimizer."""
    inside = 0.0

    def watched(work):
        def run(*args):
            nonlocal inside
            began = time.thread_time()
            found = work(*args)
            inside += time.thread_time() - began
            return found

        return run

    code, clip, step = stepper.code, _stepper.clip_gradient, stepper.optimizer.step
    stepper.code = watched(code)
    _stepper.clip_gradient, stepper.optimizer.step = watched(clip), watched(step)
    with tempfile.TemporaryDirectory() as folder:
        training = Training(stepper, Silence(folder))
        began, passed = time.thread_time(), 0.0
        for stop in range(10, 1000, 10):  # a report every tenth step, as in a run of 1,000
            training._advance(stop)
            passed = time.thread_time() - began
            if passed > ROUND_SECONDS * 4:
                break
    stepper.code, _stepper.clip_gradient, stepper.optimizer.step = code, clip, step
    return 1 - inside / passed


def stacks(width, depth, batch) -> None:
    """Compare a stack's passes, eager and compiled, with those of compiled trials one by one."""
    torch.compiler.reset()  # without guards, code of another shape would be taken for this one's
    _, _, _, code, _ = arms(width, depth, batch)
    model, count = code.model, code.windows
    windows = torch.from_numpy(code.batches.at(0, count * MEMBERS))
    many = windows.view(MEMBERS, count, -1)
    rows = model.flat.expand(MEMBERS, -1).contiguous()
    code.code(model, many[0])  # before the kernels of stacks are chosen: a trial has better ones

    def batched(rows, many):
        return torch.func.vmap(model.mean_gradient)(rows, many)

    with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        together = torch.compile(batched, fullgraph=True, dynamic=False, options=_settings("cpu"))
        work = {
            "alone": lambda *_: [code.code(model, part) for part in many],
            "eager": lambda *_: batched(rows, many),
            "stack": lambda *_: together(rows, many),
        }
        for run in work.values():
            run()
        steps = max(2, int(ROUND_SECONDS / timed(work["eager"], 2)))
        times = [[timed(run, steps) for run in work.values()] for _ in range(ROUNDS)]
    rates = [MEMBERS * batch / statistics.median(each) for each in zip(*times, strict=True)]
    eager, ratio = (statistics.median(each[0] / each[arm] for each in times) for arm in (1, 2))
    print(
        f"stack of {MEMBERS}, {width}x{depth}, {batch} tokens: compiled one by one "
        f"{rates[0]:,.0f} tokens/s, stack eager {rates[1]:,.0f} ({eager:.2f}x), compiled "
        f"{rates[2]:,.0f} ({ratio:.2f}x)",
        flush=True,
    )


def first(run) -> float:
    """Return the CPU seconds of the first call."""
    began = cpu()
    run()
    return cpu() - began


def first_step() -> None:
    """Print what the first step costs this process."""
    _, _, _, code, _ = arms(*CASES[0][:3])
    wall = time.perf_counter()
    seconds = first(lambda: code.gradient(0, code.windows))
    print(f"{seconds:.1f} s of CPU time, {time.perf_counter() - wall:.1f} s")


def two_processes() -> None:
    """Time the first step in a process that has to compile, and in another that finds the code."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.bench_proxy_speed"]
    with tempfile.TemporaryDirectory() as place:
        own = os.environ | {"TORCHINDUCTOR_CACHE_DIR": place}
        for what in ("compiles", "loads"):
            told = subprocess.run(
                [*command, "--first"], capture_output=True, text=True, check=True, env=own
            )
            print(f"first step of {CASES[0][:3]} in a process that {what}: {told.stdout.strip()}")


def quickstart() -> None:
    """Say what the cost model's own figures promise for the rounds of results/example."""
    events = [json.loads(line) for line in (EXAMPLE / "events.jsonl").read_text().splitlines()]
    rounds = [Round.from_json(event["round"]) for event in events if event["event"] == "decided"]
    runs = [json.loads(line) for line in (EXAMPLE / "runs.jsonl").read_text().splitlines()]
    proxy, decided, gain, passes = GptProxy(DATA), Decided(), 0.0, {}
    for number, step in enumerate(rounds, 1):
        decided.follow(rounds[:number])
        for trial in step.trials:
            shape = proxy.model_shape(trial.shape)
            windows = proxy._pass(trial.batch_tokens)
            if proxy.compiles(trial, "cpu", dict(decided.alike(trial.shape))):
                per_token = LAUNCH_SECONDS / (128 * windows) + TOKEN_SECONDS * shape.width
                gain += shape.layers * per_token * trial.new_tokens
                passes[shape, windows] = min(2, passes.get((shape, windows), 0) + 1)
    print(
        f"results/example: {sum(run['seconds'] for run in runs):,.0f} s of trials; the model says "
        f"compiling saves {gain:,.0f} s, loading costs at most "
        f"{LOAD_SECONDS * sum(passes.values()):,.0f} s in two workers and, once a machine, "
        f"compiling {COLD_SECONDS * len(passes):,.0f} s more"
    )


def main() -> None:
    torch.set_num_threads(1)
    if "--first" in sys.argv:
        first_step()
        return
    print("  tokens/s and core: plain eager, ours eager, ours compiled; ratios to plain")
    print(HEAD)
    for case in CASES:
        compare(*case)
    for case in STACKS:
        stacks(*case)
    two_processes()
    quickstart()


if __name__ == "__main__":
    main()
