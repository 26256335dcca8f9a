"""The sections about what was run, what it cost, and where the numbers come from."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from planner.bought import Doubt, bought, unit_of
from planner.decide.standing import Standing
from planner.finding import Finding, Severity
from planner.plan.plan import Cost
from planner.report import text
from planner.report.content import Block, Paragraph, Section, Table, bullets
from planner.report.study import ReportInput, StageSummary
from planner.run import Run, Status

FAILURES_SHOWN = 12
"""More failed or diverged trials than this are counted, not listed."""
ORDER = (Severity.BLOCKING, Severity.WARNING, Severity.INFO)
GLOSSARY = (
    (
        "loss:",
        "validation cross-entropy in nats per token on a frozen evaluation set, after the learning "
        "rate has decayed.",
    ),
    (
        "params_matmul (N):",
        "every matrix a token is multiplied with: the blocks and the head, and no input embedding "
        "unless it is the tied head.",
    ),
    (
        "compute (C, FLOPs):",
        "6 x params_matmul x tokens plus the attention's share, for the whole path of a run from "
        "step 0; a table without FLOPs uses 6 x params x tokens.",
    ),
    (
        "statistical interval:",
        "what noise, seeds and the choice of runs leave open if the law is right.",
    ),
    (
        "predictive interval:",
        "the statistical one, plus what may be wrong with the law itself, which grows with the "
        "distance beyond the largest run. Plans show this one, at 90 %.",
    ),
    (
        "compute-equivalent error:",
        "an error of a predicted loss, said in compute: 0.1 means that the loss was predicted that "
        "10 % more or less compute would have given.",
    ),
    (
        "flat region:",
        "the sizes that reach the same loss for at most 5 % more compute than the best size.",
    ),
    (
        "held-out rung:",
        "runs larger than the ladder's, whose losses were written down before they were trained.",
    ),
    (
        "cell:",
        "runs that differ in nothing but the learning rate; its basin gives a best rate.",
    ),
    (
        "anchor:",
        "the size and number of tokens with most cells, where learning rate and batch were swept.",
    ),
    (
        "fork:",
        "a run that starts from another's state (its trunk) and only decays the learning rate; the "
        "law counts the compute of its whole path, the budget only its own branch.",
    ),
    (
        "diverged, pruned:",
        "runs that ended early; their losses are bounds and never enter a fit.",
    ),
)


def evidence(study: ReportInput) -> Section:
    """Return what was run: stages, trials, FLOPs, failures, seeds."""
    if not study.runs:
        return Section("Evidence", (Paragraph(_fitted(study)),))
    blocks: list[Block] = [Paragraph(f"{_trials(study)} {_fitted(study)}")]
    if study.rounds:
        known = any(one.left for one in study.rounds)
        unit = unit_of([one.spent_flops for one in study.rounds])
        each = bought([(one.spent_flops, _doubt(one.left)) for one in study.rounds], unit)
        rows = tuple(
            (one.stage, one.why, str(one.trials), text.flops(one.spent_flops))
            + ((*_left(one), off.told) if known else ())
            for one, off in zip(study.rounds, each, strict=True)
        )
        more = ("Regret left", "Loss there", f"Off per {text.flops(unit)}") if known else ()
        blocks.append(Table(("Stage", "Question", "Trials", "Spent", *more), rows))
        if known:
            blocks.append(Paragraph(_BOUGHT))
    if forks := [run for run in study.runs if run.done and run.trial.parent is not None]:
        blocks.append(Paragraph(_forks(study, forks), "Forks."))
    if seeds := [run for run in study.in_stage("seeds") if run.done]:
        blocks.append(Paragraph(_seeds(seeds), "Seeds."))
    return Section("Evidence", (*blocks, *_failures(study)))


_BOUGHT = (
    "What a round bought is what it took off the doubt at the target: the expected regret of the "
    "recommended learning rate and batch (nats), and the 90 % interval of the loss. The last "
    "column is the rate: nats that so much compute took off the regret, and off the interval's "
    "width. Both may grow where a measurement contradicts what was believed before it."
)


def _doubt(left: Standing | None) -> Doubt | None:
    if left is None:
        return None
    return Doubt(left.regret_nats, left.loss.high - left.loss.low if left.loss else None)


def _left(one: StageSummary) -> tuple[str, str]:
    """Say what a round left in doubt."""
    if one.left is None:
        return "-", "-"
    loss = one.left.loss
    interval = f"{loss.low:.2f} to {loss.high:.2f}" if loss else "-"
    return text.number(one.left.regret_nats), interval


def findings(study: ReportInput) -> Section:
    """Return every doubt, the heaviest first, with what would remove it."""
    plan = study.plan
    own = [one for decision in plan.decisions for one in decision.findings]
    known: dict[str, Finding] = {one.what: one for one in (*plan.findings, *own)}
    if not known:
        return Section("Findings", (Paragraph("No check raised a doubt."),))
    ordered = sorted(known.values(), key=lambda one: ORDER.index(one.severity))
    items = [
        (f"{one.severity.value.capitalize()} ({one.code}).", text.finding(one)) for one in ordered
    ]
    return Section("Findings: what is doubtful, and what would remove it", (bullets(items),))


def cost(study: ReportInput) -> Section:
    """Return what the planned run takes in devices, days and money, and what was spent so far."""
    blocks: list[Block] = []
    if study.runs:
        spent = sum(run.spent_flops for run in study.runs)
        share = f"{text.percent(spent / study.plan.flops)} of the planned run's"
        blocks.append(Paragraph(f"The evidence cost {text.flops(spent)}, {share} compute."))
    if study.plan.cost is None:
        blocks.append(
            Paragraph("The objective names no device, so the plan states no time or price.")
        )
    else:
        blocks.append(_price(study.plan.cost))
    return Section("Cost", tuple(blocks))


def provenance(study: ReportInput) -> Section:
    """Return where every number comes from: versions, hashes, recipe, run keys."""
    plan = study.plan
    facts = _flat({"objective": plan.objective, "recipe": study.recipe, **plan.provenance})
    blocks: list[Block] = [Table(("Fact", "Value"), tuple(facts))]
    rests: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for decision in plan.decisions:
        rests[decision.evidence].append(decision.name)
    if keys := tuple((", ".join(n), ", ".join(runs)) for runs, n in rests.items() if runs):
        blocks.append(Table(("Decision", "Keys of the runs it rests on"), keys))
    if study.losses:
        blocks.append(Paragraph(_lost(study.losses)))
    return Section("Provenance", tuple(blocks))


def _lost(losses: Mapping[str, int]) -> str:
    """Say what happened to the machines while the evidence was gathered."""
    common = sorted(losses.items(), key=lambda item: (-item[1], item[0]))
    told = "; ".join(f"{count} x {note}" for note, count in common[:FAILURES_SHOWN])
    rest = sum(count for _, count in common[FAILURES_SHOWN:])
    more = f"; {rest} x something else" if rest else ""
    return (
        f"{text.plural(sum(losses.values()), 'attempt')} at a trial ended without a result "
        f"({told}{more}). They were paid for and made again; no result depends on them."
    )


def glossary() -> Section:
    """Return what the words mean."""
    return Section("Glossary", (bullets(GLOSSARY),))


def _trials(study: ReportInput) -> str:
    ended = Counter(run.status for run in study.runs)
    others = ", ".join(f"{ended[s]} {s.value}" for s in Status if s is not Status.DONE and ended[s])
    spent = text.flops(sum(run.spent_flops for run in study.runs))
    total = text.plural(len(study.runs), "trial")
    return f"{total} ended{f' ({others})' if others else ''} and cost {spent} together."


def _fitted(study: ReportInput) -> str:
    seen = study.fit.range
    return (
        f"The loss law was fitted to {text.plural(seen.n_points, 'run')} of "
        f"{text.plural(seen.n_sizes, 'size')}: {text.count(seen.params[0])} to "
        f"{text.count(seen.params[1])} parameters ({study.fit.n_convention}), "
        f"{text.count(seen.tokens[0])} to {text.count(seen.tokens[1])} tokens, "
        f"{text.flops(seen.flops[0])} to {text.flops(seen.flops[1])}."
    )


def _forks(study: ReportInput, forks: list[Run]) -> str:
    """Say what branches saved, and what sharing a trunk's batch and learning rate cost them."""
    trunks = {run.trial.parent for run in forks}
    spent = sum(run.spent_flops for run in study.runs if run.key in trunks or run in forks)
    alone = sum(run.flops for run in forks)
    told = (
        f"{text.plural(len(forks), 'run')} branched off {text.plural(len(trunks), 'trunk')}: "
        f"{text.flops(spent)} instead of {text.flops(alone)} for as many runs from the start, "
        f"{text.percent(1 - spent / alone)} less."
    )
    if study.hyper is None:
        return told
    cost = [study.hyper.known_regret(r.size, r.tokens, r.trial.batch_tokens, r.trial.lr)
            for r in forks]  # fmt: skip
    return (
        f"{told} They share their trunk's batch and learning rate, right for one horizon only; by "
        f"the fitted basins that cost them {min(cost):.3f} to {max(cost):.3f} nats, taken "
        "off before the law was fitted."
    )


def _seeds(seeds: list[Run]) -> str:
    losses = ", ".join(f"{run.loss:.4f}" for run in seeds)
    return f"Runs that repeat a trial with another seed ended at {losses} nats per token."


def _failures(study: ReportInput) -> tuple[Block, ...]:
    lost = [run for run in study.runs if run.status in (Status.FAILED, Status.DIVERGED)]
    if not lost:
        return ()
    rows = tuple(
        (run.status.value, study.stage(run), f"{run.trial.lr:.3g}", str(run.trial.batch_tokens),
         text.count(run.tokens), run.note.strip().splitlines()[-1] if run.note.strip() else "")
        for run in lost[:FAILURES_SHOWN]
    )  # fmt: skip
    table = Table(("Ended", "Stage", "lr", "Batch (tokens)", "At token", "Note"), rows)
    if len(lost) <= FAILURES_SHOWN:
        return (table,)
    return table, Paragraph(f"{len(lost) - FAILURES_SHOWN} more ended like this.")


def _price(one: Cost) -> Table:
    rows = [
        ("Device hours", text.estimate(one.gpu_hours), f"{one.gpu} at the utilisation below"),
        ("Model FLOPs utilisation", text.estimate(one.mfu), one.mfu_source),
    ]
    if one.days is not None and one.gpus is not None:
        rows.append(("Days", text.estimate(one.days), f"{one.gpus:g} x {one.gpu}"))
    if one.price_usd_per_gpu_hour is not None:
        hour = text.estimate(one.price_usd_per_gpu_hour)
        rows.append(("Price of a device hour (USD)", hour, one.price_source))
    if one.usd is not None:
        rows.append(("Cost (USD)", text.estimate(one.usd), "device hours x price"))
    return Table(("Quantity", "Value and 90 % interval", "Where it comes from"), tuple(rows))


def _flat(data: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Flatten nested plain data into (dotted name, text) rows; what is empty is left out."""
    rows: list[tuple[str, str]] = []
    for name, value in data.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{name}.")
        elif value not in (None, "", [], ()):
            rows.append(
                (f"{prefix}{name}", f"{value:g}" if isinstance(value, float) else str(value))
            )
    return rows
