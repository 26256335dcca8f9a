"""A study from its YAML to its report: sweep, status, next, and the prices beforehand."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from planner._log import replace_file
from planner._secrets import hide_data
from planner.errors import LedgerError
from planner.ledger import Ledger
from planner.means import ExecutorChoice
from planner.run import Round
from planner.space import SearchSpace, dump_space, load_space
from planner.study import describe_environment, read_env, read_study, write_json
from planner.sweep.events import Executor
from planner.sweep.inline import InlineExecutor
from planner.sweep.layout import Layout
from planner.sweep.limits import Approval
from planner.sweep.local import LocalExecutor
from planner.sweep.loop import Setup, prepare, run_sweep, state_of
from planner.sweep.mirrors import mirrored
from planner.sweep.policy import audit, next_round, wants_prediction
from planner.sweep.seats import seats, settled
from planner.sweep.size_worth import further_sizes
from planner.sweep.slurm import SlurmExecutor
from planner.sweep.state import StudyState
from planner.sweep.watch import LiveWatch, Meter, PlainWatch, Watch, describe
from planner.sweep.watch_json import JsonWatch
from planner.sweep.worth import Worth, further_runs
from planner.units import format_count
from planner.words import TOKENS, unit_of

STEERING = ("seed", "proxy", "data", "shapes", "lr", "batch_tokens", "horizons", "stages")
"""The parts of a space that decide the rounds: a study keeps them for life."""

SLURM_JOBS = 16
"""Trials in a SLURM queue at once, where ``executor.workers`` says nothing else."""


def run_campaign(
    space: SearchSpace,
    folder: Path,
    *,
    report: bool,
    approve_above: float | None = None,
    json_log: bool = False,
) -> None:
    """Run or resume a study, then fit, plan and report. Ends with the verdict on stdout.

    A round expected to cost more than ``approve_above`` dollars is asked about on a terminal, and
    stops the sweep with BudgetError elsewhere. With ``json_log`` the progress on stderr is JSON, an
    object per line.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    space = space.model_copy(update={"executor": settled(space.executor)})
    with Ledger.open(folder) as ledger:
        _refuse_other_space(folder, space)
        setup = prepare(space)
        _write_setup(folder, setup)
        if ledger.repaired:
            _say(ledger.repaired)
        with ExitStack() as stack:
            watch = JsonWatch(space.budget.flops) if json_log else _watch(stack, setup, ledger)
            ask = watch.ask if isinstance(watch, LiveWatch) and sys.stdin.isatty() else None
            approval = None if approve_above is None else Approval(approve_above, ask)
            heard = stack.enter_context(mirrored(watch, space.mirrors, space.study, folder))
            run_sweep(setup, ledger, _executor(space, folder), heard, approval)
    from planner.offline import write_conclusion  # heavy, and of no use while trials run

    write_conclusion(folder, report=report)


def print_prices(space: SearchSpace) -> None:
    """Print every stage with its trials, its price and its worst case. Writes nothing."""
    setup = prepare(space)
    Console().print(_price_table(space, setup.layout, unit_of(setup.recipe)))


def print_next(folder: Path, *, as_json: bool) -> None:
    """Print the next round, and which further runs are worth their FLOPs; runs nothing."""
    study = read_study(folder)
    setup = prepare(study.space)
    state = state_of(setup, study.ledger)
    step = next_round(state)
    worth, of_size = further_runs(state), further_sizes(state)
    if as_json:
        told = {
            "schema_version": 1,
            "round": None if step is None else step.to_json(),
            "worth": [one.to_json() for one in worth],
            "worth_size": [one.to_json() for one in of_size],
        }
        print(json.dumps(told))  # noqa: T201
        return
    _print_round(setup, state, step)
    _print_worth(worth, "the learning rate and batch of the target, each given those above")
    _print_worth(of_size, "the best size at the target's compute, each given those above")


def _print_round(setup: Setup, state: StudyState, step: Round | None) -> None:
    if step is None:
        waits = "the prediction of the held-out rung" if wants_prediction(state) else "nothing"
        print(f"no further round; the study waits for {waits}")  # noqa: T201
        return
    costs = [setup.proxy.size(t.shape).flops(t.new_tokens) for t in step.trials]
    total = f"{sum(costs):.3g}"
    print(f"round {step.number} {step.stage}: {step.why} ({total} FLOPs)")  # noqa: T201
    for trial, cost in zip(step.trials, costs, strict=True):
        print(f"  {describe(trial)}: {cost:.3g} FLOPs")  # noqa: T201


def _print_worth(worth: Sequence[Worth], sake: str) -> None:
    """Print what else could be trained for the sake of something, best first."""
    if not worth:
        return
    table = Table(
        "train",
        "FLOPs",
        "saves, nats",
        "worth, FLOPs",
        title=f"further runs for {sake}",
        caption="saves: expected regret of the choice; worth: target FLOPs that buy as much",
    )
    for one in worth:
        what = "\n".join(describe(trial) for trial in one.trials)
        pays = f"{one.worth_flops:.3g}" + ("" if one.pays else " (does not pay)")
        table.add_row(what, f"{one.flops:.3g}", f"{one.saves_nats:.2g}", pays)
    Console().print(table)


def audit_study(folder: Path) -> list[str]:
    """Recompute every stored decision; a sentence for each that today's policy would not take."""
    study = read_study(folder)
    found = audit(state_of(prepare(study.space), study.ledger), study.ledger.policies)
    return found or ["every stored decision is what today's policy would decide"]


def _refuse_other_space(folder: Path, space: SearchSpace) -> None:
    """Refuse to mix two search spaces: a study's rounds belong to one of them."""
    path = folder / "space.yaml"
    if not path.is_file():
        return
    old = load_space(path)
    space = SearchSpace.model_validate(hide_data(space.model_dump(by_alias=True)))
    changed = [name for name in STEERING if getattr(old, name) != getattr(space, name)]
    if old.budget.flops != space.budget.flops:
        changed.append("budget.flops")
    if changed:
        raise LedgerError(
            f"{folder} holds a study of another search space: {', '.join(changed)} differ; use "
            "--out for a new folder, or restore the YAML to go on with this one"
        )


def _write_setup(folder: Path, setup: Setup) -> None:
    """Write space.yaml and env.json. Raises LedgerError when data or proxy have changed since."""
    env = folder / "env.json"
    if env.is_file():
        before = read_env(folder)["recipe"]
        changed = [name for name, value in setup.recipe.items() if before.get(name) != value]
        if changed:
            raise LedgerError(
                f"{folder} was trained under another recipe: {', '.join(changed)} changed since; "
                "use --out for a new folder, or restore the data and packages it was made with"
            )
    replace_file(folder / "space.yaml", dump_space(setup.space).encode())
    shapes = []
    if hasattr(setup.proxy, "model_shape"):
        shapes = [setup.proxy.model_shape(shape) for shape in setup.space.shapes]
    prices = {"prices": {stage.name: stage.flops for stage in setup.layout.stages}}
    write_json(folder / "env.json", describe_environment(setup.recipe, shapes) | prices)


def _executor(space: SearchSpace, folder: Path) -> Callable[[], Executor]:
    choice = space.executor
    match choice.name:
        case "inline":
            return InlineExecutor
        case "ray":
            return lambda: _on_ray(choice)
        case "slurm":
            return lambda: SlurmExecutor(
                choice.workers or SLURM_JOBS, folder / "jobs", choice.slurm
            )
    return lambda: LocalExecutor(choice.processes, seats(choice))


def _on_ray(choice: ExecutorChoice) -> Executor:
    from planner.sweep.cluster import RayExecutor

    return RayExecutor(choice)


def _watch(stack: ExitStack, setup: Setup, ledger: Ledger) -> Watch:
    kind, space = LiveWatch if sys.stderr.isatty() else PlainWatch, setup.space
    slots, unit = space.executor.processes, unit_of(setup.recipe)
    meter = Meter(setup.layout, space.budget.flops, ledger, slots, space.price, unit)
    watch = kind(meter)
    return stack.enter_context(watch) if isinstance(watch, LiveWatch) else watch


def _price_table(space: SearchSpace, layout: Layout, unit: str) -> Table:
    needed = format_count(layout.tokens_needed)
    data = f"{needed} distinct tokens needed" if unit == TOKENS else f"at most {needed} {unit} seen"
    table = Table(
        "stage",
        "trials",
        "FLOPs",
        "at worst",
        title=f"{space.study}: budget {space.budget.flops:.3g} FLOPs",
        caption=(
            f"ladder up to C_max = {layout.c_max:.3g} FLOPs, {len(layout.ladder)} cells; "
            f"held-out rung at {layout.held_out_flops:.3g} FLOPs; {data}"
        ),
    )
    for stage in layout.stages:
        row = (stage.name, str(stage.trials), f"{stage.flops:.3g}", f"{stage.worst_flops:.3g}")
        table.add_row(*row)
    table.add_section()
    trials = str(sum(stage.trials for stage in layout.stages))
    table.add_row("sum", trials, f"{layout.flops:.3g}", f"{layout.worst_flops:.3g}")
    return table


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201
