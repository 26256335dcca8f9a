"""The command line: one thin handler per verb, each stage imported inside its handler.

Machine output goes to stdout, logs to stderr. Exit codes: 0 a plan was written; 1 unexpected; 2
usage or configuration; 3 the evidence is not enough; 4 the budget is spent; 5 too many trials
failed; 130 interrupted, state saved (contracts.md section 6).
"""

from __future__ import annotations

import sys
import traceback
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from planner.cli_tables import Folder, Json, fit, import_, plan, predict, replay, report
from planner.errors import PlannerError, UsageError

if TYPE_CHECKING:
    from planner.space import SearchSpace

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Decide what to train before the money is spent.",
)

Set = Annotated[list[str] | None, typer.Option("--set", help="key.path=value")]
Cluster = Annotated[str | None, typer.Option(help="A Ray cluster: auto, or HOST:PORT of its head.")]
Gpus = Annotated[
    float | None, typer.Option(help="GPUs a trial takes; below 1 a share of one; 0: the CPU.")
]
Dear = Annotated[float | None, typer.Option(help="Ask before a round dearer than this, in USD.")]
Mirrors = Annotated[
    list[str] | None, typer.Option(help="mlflow, wandb, tensorboard or optuna[=PLACE].")
]


def main() -> None:
    """Run the command line; a PlannerError becomes its sentence and its exit code."""
    try:
        app()
    except PlannerError as error:
        _complain(f"planner: {error}")
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in (ENOSPC, EDQUOT):
            _complain(traceback.format_exc())
            sys.exit(1)
        place = error.filename or "a file"
        told = f"{place} cannot be written, its disk is full: make room and run the same line again"
        _complain(f"planner: {told}")
        sys.exit(1)
    except Exception:
        _complain(traceback.format_exc())
        sys.exit(1)


def _complain(text: str) -> None:
    from planner._secrets import hide

    print(hide(text), file=sys.stderr)  # noqa: T201


@app.command()
def init(
    file: Annotated[Path, typer.Argument(help="YAML to write.")] = Path("space.yaml"),
    proxy: Annotated[
        str, typer.Option(help="gpt, gpt_mup, synthetic, command, litgpt ... or quickstart.")
    ] = "gpt",
    from_command: Annotated[
        str | None, typer.Option("--from-command", help="Your trainer's command line.")
    ] = None,
) -> None:
    """Write a starter search space to edit."""
    from planner.starter import write_starter

    write_starter(file, proxy, from_command)
    typer.echo(f"wrote {file}; price it with `planner sweep {file} --dry-run`", err=True)


@app.command()
def sweep(
    space: Annotated[Path, typer.Argument(help="The search space (YAML).")],
    out: Folder = None,
    executor: Annotated[str | None, typer.Option(help="inline, local, ray or slurm.")] = None,
    workers: Annotated[int | None, typer.Option(help="Trials at once.")] = None,
    ray_address: Cluster = None,
    cpus_per_trial: Annotated[float | None, typer.Option(help="CPUs a trial takes.")] = None,
    gpus_per_trial: Gpus = None,
    budget: Annotated[str | None, typer.Option(help="FLOPs, such as 2e13.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the study.")] = None,
    set_: Set = None,
    dry_run: Annotated[bool, typer.Option(help="Print every stage with its price.")] = False,
    no_report: Annotated[bool, typer.Option(help="Stop after the sweep and its plan.")] = False,
    approve_above: Dear = None,
    mirror: Mirrors = None,
    log_format: Annotated[str, typer.Option(help="Progress on stderr: text or json.")] = "text",
) -> None:
    """Run proxy trials, then fit, plan and report; run again to resume."""
    from planner.campaign import print_prices
    from planner.space import load_space

    named = {
        "executor.name": executor,
        "executor.workers": workers,
        "executor.address": ray_address,
        "executor.cpus_per_trial": cpus_per_trial,
        "executor.gpus_per_trial": gpus_per_trial,
        "budget.flops": budget,
        "seed": seed,
    }
    overrides = [f"{key}={value}" for key, value in named.items() if value is not None]
    overrides += [f"mirrors.{name}" + "=" * ("=" not in name) for name in mirror or []]
    if log_format not in ("text", "json"):
        raise UsageError(f"--log-format {log_format} is unknown: write text or json")
    chosen = load_space(space, [*overrides, *(set_ or [])])
    if dry_run:
        print_prices(chosen)
        return
    json_log = log_format == "json"
    _sweep(chosen, out, report=not no_report, approve_above=approve_above, json_log=json_log)


def _sweep(space: SearchSpace, out: Path | None, **options: Any) -> None:  # noqa: ANN401 (its own)
    """Run a campaign with its options; Ctrl-C says how to go on, and is exit 130."""
    from planner.campaign import run_campaign

    folder = out or Path("results") / space.study
    try:
        run_campaign(space, folder, **options)
    except KeyboardInterrupt:
        typer.echo(
            f"planner: stopped; all that has ended is in {folder}: the same command goes on",
            err=True,
        )
        raise typer.Exit(130) from None


@app.command()
def launch(
    where: Annotated[str, typer.Argument(help="slurm or kuberay.")],
    space: Annotated[Path, typer.Argument(help="The search space (YAML).")],
    out: Annotated[str | None, typer.Option("--out", help="Study folder, on shared disk.")] = None,
    file: Annotated[Path | None, typer.Option(help="File to write; else stdout.")] = None,
    nodes: Annotated[int, typer.Option(help="Nodes, the head's among them.")] = 1,
    cpus: Annotated[int, typer.Option(help="CPUs of a node.")] = 8,
    gpus: Annotated[int, typer.Option(help="GPUs of a node.")] = 0,
    memory: Annotated[
        str, typer.Option(help="Of a node, in the scheduler's words: 64G, 64Gi.")
    ] = "",
    option: Annotated[
        list[str] | None, typer.Option(help="partition=..., time=...; or image=..., volume=...")
    ] = None,
    gpus_per_trial: Annotated[float | None, typer.Option(help="GPUs a trial takes.")] = None,
    set_: Set = None,
) -> None:
    """Write a SLURM batch script or a KubeRay manifest that sweeps over Ray; submit nothing."""
    from planner.launch import Launch, launch_text
    from planner.space import load_space

    study = load_space(space, set_ or []).study
    words = ["--gpus-per-trial", f"{gpus_per_trial:g}"] if gpus_per_trial is not None else []
    words += [word for override in set_ or [] for word in ("--set", override)]
    options = dict(part.partition("=")[::2] for part in option or [])
    asked = Launch(
        space, study, out or f"results/{study}", nodes, cpus, gpus, memory, options, tuple(words)
    )
    text = launch_text(where, asked)
    if file is None:
        typer.echo(text, nl=False)
    else:
        file.write_text(text, encoding="utf-8")
        submit = "sbatch" if where == "slurm" else "kubectl apply -f"
        typer.echo(f"wrote {file}; submit it with `{submit} {file}`", err=True)


@app.command()
def check(
    space: Annotated[Path | None, typer.Argument(help="The search space (YAML).")] = None,
    proxy: Annotated[
        str | None, typer.Option("--proxy", help="Does it keep what a sweep builds on? Its name.")
    ] = None,
    coordinate: Annotated[
        bool, typer.Option("--coordinate", help="Do activations keep their size at any width?")
    ] = False,
    transfer: Annotated[
        bool, typer.Option("--transfer", help="Is lr* the same at the two largest sizes?")
    ] = False,
    out: Folder = None,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Check a proxy or a parametrisation before money is spent on it.

    With --proxy a few tiny trials show whether it keeps its promises (exit 2 where one blocks);
    else all checks of the parametrisation unless some are named.
    """
    from planner.check.command import check_command, check_proxy
    from planner.space import load_space
    from planner.starter import space_for_proxy

    if proxy is not None:
        if coordinate or transfer:
            raise UsageError("--proxy checks the proxy alone; leave --coordinate, --transfer out")
        chosen = space_for_proxy(proxy, space, set_ or [])
        if not check_proxy(chosen, as_json=json):
            raise typer.Exit(2)
        return
    if space is None:
        raise UsageError("name a search space (YAML) to check, or a proxy with --proxy")
    chosen = load_space(space, set_ or [])
    folder = out or Path("results") / chosen.study
    check_command(chosen, folder, coordinate=coordinate, transfer=transfer, as_json=json)


@app.command()
def status(
    study: Annotated[Path, typer.Argument(help="A study folder.")],
    audit: Annotated[bool, typer.Option(help="Recompute every stored decision.")] = False,
    json: Json = False,
) -> None:
    """Say where a study stands."""
    from planner.status import print_status

    print_status(study, audit=audit, as_json=json)


@app.command("next")
def next_(
    study: Annotated[Path, typer.Argument(help="A study folder.")], json: Json = False
) -> None:
    """Print the next round of a study without running it."""
    from planner.campaign import print_next

    print_next(study, as_json=json)


@app.command()
def explain(
    name: Annotated[str, typer.Argument(help="A decision: lr, batch_tokens, params ...")],
) -> None:
    """Print the mathematics behind a decision."""
    from planner.explain import explanation

    typer.echo(explanation(name))


for verb in (fit, predict, plan, import_, report, replay):
    app.command(verb.__name__.rstrip("_"))(verb)
