"""The verbs on tables and fits: fit, predict, plan, import, report, replay.

One thin handler each, its stage imported inside it; :mod:`planner.cli` gives them their names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Machine-readable output on stdout.")]
Folder = Annotated[Path | None, typer.Option("--out", help="Folder to write to.")]


def fit(
    source: Annotated[Path, typer.Argument(help="A runs table or a study folder.")],
    law: Annotated[str, typer.Option(help="auto, or a form such as chinchilla.")] = "auto",
    loss: Annotated[str, typer.Option(help="huber or ls.")] = "huber",
    delta: Annotated[str, typer.Option(help="Huber threshold, or auto.")] = "auto",
    where: Annotated[str | None, typer.Option(help="Rows to keep: `tokens > 1e9`.")] = None,
    map_: Annotated[list[str] | None, typer.Option("--map", help="theirs=ours")] = None,
    level: Annotated[float, typer.Option(help="Level of the intervals.")] = 0.9,
    curves: Annotated[
        Path | None, typer.Option(help="Training curves: doubt runs that ended badly.")
    ] = None,
    out: Folder = None,
    json: Json = False,
) -> None:
    """Fit a loss law, with intervals and findings.

    --curves FILE|DIR checks the fitted final losses against the runs' training curves: learning
    rates not decayed, mixed schedules, early ends, spikes, losses in another unit. What it finds
    joins the findings; the law is fitted to the same losses as without it. Where curves of one
    size, peak learning rate and batch follow several schedules, laws of the loss under any schedule
    are fitted to them, and the best cooldown by them is told (`schedule` in fit.json); where runs
    of one size come at three batches or more, so is the critical batch (`critical_batch`).
    """
    from planner.fitting import FitOptions, fit_command

    options = FitOptions(law, loss, delta, level, where, tuple(map_ or ()))
    fit_command(source, options, out, curves, as_json=json)


def predict(
    fit: Annotated[Path, typer.Argument(help="fit.json, or the folder that holds it.")],
    params: Annotated[str | None, typer.Option(help="Parameters, such as 7B.")] = None,
    tokens: Annotated[str | None, typer.Option(help="Tokens, such as 140B.")] = None,
    points: Annotated[Path | None, typer.Option(help="CSV with params,tokens.")] = None,
    json: Json = False,
) -> None:
    """Predict the loss of runs from a fit."""
    from planner.fitting import predict_command

    predict_command(fit, params, tokens, points, as_json=json)


def plan(
    source: Annotated[Path, typer.Argument(help="fit.json, a study folder or a runs table.")],
    flops: Annotated[str | None, typer.Option(help="Compute, such as 1e21.")] = None,
    gpus: Annotated[int | None, typer.Option(help="Number of devices.")] = None,
    gpu: Annotated[str | None, typer.Option(help="Device, such as h100.")] = None,
    days: Annotated[float | None, typer.Option(help="Days on them.")] = None,
    usd: Annotated[str | None, typer.Option(help="Money, such as 20000.")] = None,
    price: Annotated[float | None, typer.Option(help="USD per device hour.")] = None,
    mfu: Annotated[float | None, typer.Option(help="Model FLOPs utilisation.")] = None,
    params: Annotated[str | None, typer.Option(help="A given size.")] = None,
    tokens: Annotated[str | None, typer.Option(help="A given token count.")] = None,
    inference_tokens: Annotated[str | None, typer.Option(help="Tokens to serve.")] = None,
    unique_tokens: Annotated[str | None, typer.Option(help="Distinct tokens there are.")] = None,
    max_params: Annotated[str | None, typer.Option(help="Largest size allowed.")] = None,
    where: Annotated[str | None, typer.Option(help="Rows of a table to keep.")] = None,
    map_: Annotated[list[str] | None, typer.Option("--map", help="theirs=ours")] = None,
    out: Folder = None,
    json: Json = False,
) -> None:
    """Recommend size, tokens and hyperparameters for a budget."""
    from planner.fitting import FitOptions
    from planner.offline import plan_command

    target: dict[str, object] = {"flops": flops, "gpus": gpus, "gpu": gpu, "days": days, "usd": usd}
    target |= {"price": price, "mfu": mfu, "params": params, "tokens": tokens}
    target |= {"inference_tokens": inference_tokens, "unique_tokens": unique_tokens}
    target |= {"max_params": max_params}
    given = {name: value for name, value in target.items() if value is not None}
    options = FitOptions(where=where, maps=tuple(map_ or ()))
    plan_command(source, given, options, out, as_json=json)


def import_(
    sources: Annotated[list[Path], typer.Argument(help="Tables, tracker folders, exports.")],
    out: Annotated[Path, typer.Option("--out", help=".csv, .tsv, .jsonl or .parquet to write.")],
    map_: Annotated[list[str] | None, typer.Option("--map", help="theirs=ours")] = None,
    where: Annotated[str | None, typer.Option(help="Rows to keep: `tokens > 1e9`.")] = None,
    all_rows: Annotated[bool, typer.Option(help="Keep the checkpoints of each run.")] = False,
) -> None:
    """Turn trackers' exports into one runs table, and say what was left out."""
    from planner.fitting import import_command

    import_command(sources, out, tuple(map_ or ()), where, all_rows=all_rows)


def report(
    source: Annotated[Path, typer.Argument(help="A study folder or plan.json.")],
    out: Folder = None,
) -> None:
    """Write report.md, report.html and the figures."""
    from planner.offline import report_command

    report_command(source, out)


def replay(
    tables: Annotated[list[Path], typer.Argument(help="Published runs: lr, batch, N, D, loss.")],
    target: Annotated[str, typer.Option(help="`params == 1.07e9 and tokens == 1e11`")],
    budget: Annotated[str, typer.Option(help="In target runs: 0.1x.")],
    max_proxy: Annotated[str | None, typer.Option(help="Dearest proxy, such as 0.03x.")] = None,
    policy: Annotated[
        str, typer.Option(help="ours, random, cost-random, grid, v-optimal or tpe.")
    ] = "ours",
    without_prior: Annotated[
        str | None, typer.Option(help="steplaw (all fitted on those runs) or all.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Replays, each with its own draw of rows.")] = 10,
    where: Annotated[str | None, typer.Option(help="Rows to keep: `tokens > 1e9`.")] = None,
    map_: Annotated[list[str] | None, typer.Option("--map", help="theirs=ours")] = None,
    json: Json = False,
) -> None:
    """Replay the sweep on a published table: what a policy would have recommended, at what cost."""
    from planner.replay import ReplayOptions, replay_command

    maps = tuple(map_ or ())
    options = ReplayOptions(target, budget, max_proxy, policy, without_prior, seeds, where, maps)
    replay_command(tables, options, as_json=json)
