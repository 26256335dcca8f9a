"""What a trainer has said so far: points of a curve, and at the end its validation loss.

    tokens = `tokens` of the record, else `step` * step_tokens

The final loss is the last one named so. Where ``map`` took it from a name of the trainer's own, it
must stand at the end of training: the last validation loss of a run that went on training after it
is another quantity. A trial that resumes tells its earlier points once more, out of a book it keeps
beside the trainer's states.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from planner.proxies._advice import Unheard
from planner.proxies._lines import Lines
from planner.proxies._reports import BadReportError, Names, Record, json_record
from planner.proxy import Context, Outcome
from planner.run import Status, Trial
from planner.shape import Size

MOST_POINTS = 5_000
"""Points of a curve; a trainer that tells more is heard at this many places."""

END_TOLERANCE = 0.01
"""Share of the tokens by which the end may be missed, besides two steps."""

PARAMS_TOLERANCE = 0.02
"""By how much the trainer's own parameter count may differ from the YAML's without a note."""

LINE = 400
"""Characters of a line that are quoted."""


class TrialFailedError(Exception):
    """The trainer came to no result that can be used; the text says why."""


@dataclass
class Heard:
    """Hears one attempt; ``book`` is the file of its points, None where it cannot resume."""

    trial: Trial
    ctx: Context
    names: Names
    step_tokens: float
    book: Path | None = None
    lines: Lines = field(default_factory=Lines)
    tokens: float = 0.0
    last: bytes = b""
    diverged: bool = False
    _gap: float = 0.0
    _final: dict[str, float] = field(default_factory=dict)
    _facts: dict[str, float] = field(default_factory=dict)
    _earlier: list[dict[str, float]] = field(default_factory=list)
    _unplaced: bool = False
    _unheard: Unheard = field(default_factory=Unheard)

    def goes_on(self) -> None:
        """Say that the trainer starts from what an earlier attempt saved."""
        if self.book and self.book.is_file():
            lines = self.book.read_bytes().split(b"\n")
            points = [json_record(line) for line in lines]
            self._earlier = [dict(p) for p in points if "tokens" in p]  # type: ignore[arg-type]

    def line(self, line: bytes) -> None:
        """Hear a line of the standard output. Raises BadReportError."""
        self.last = line if line.strip() else self.last
        if said := json_record(line) or self.lines.read(line):
            self.record(said)
        else:
            self._unheard.line(line)

    def record(self, said: Record) -> None:
        """Hear a record. Raises BadReportError; what ``ctx.report`` raises passes through."""
        if self.diverged:
            return
        values = self.names.read(said)
        self._unheard.record(values)
        step = values.pop("step", math.nan)
        tokens = values.pop("tokens", step * self.step_tokens)
        self._facts |= {k: v for k, v in values.items() if k in ("params", "flops_per_token")}
        if "final_loss" in values:
            self._final = {"tokens": tokens, "loss_se": math.nan} | values
            self.diverged |= not math.isfinite(values["final_loss"])
        if "loss" in values:
            self._point(tokens, values)

    def _point(self, tokens: float, values: Mapping[str, float]) -> None:
        values = {k: v for k, v in values.items() if k not in ("final_loss", "loss_se")}
        self._unplaced |= math.isnan(tokens)
        self.diverged |= not math.isfinite(values["loss"])
        if self.diverged:
            self.tokens = self.tokens if math.isnan(tokens) else max(self.tokens, tokens)
        elif tokens - self.tokens > self.trial.tokens / MOST_POINTS:
            self._recall(tokens)
            self._gap, self.tokens = max(self._gap, tokens - self.tokens), tokens
            self._write({"tokens": tokens, **values})
            self.ctx.report(tokens=int(tokens), **values)

    def _recall(self, before: float) -> None:
        """Tell the points of the attempt that this one goes on from."""
        points, self._earlier = self._earlier, []
        kept = [point for point in points if point["tokens"] < before]
        if self.book and not self.tokens:
            self.book.write_text("")
        for point in kept:
            self._write(point)
            self.ctx.report(**point | {"tokens": int(point["tokens"])})  # type: ignore[arg-type]
        if kept:
            self.tokens = kept[-1]["tokens"]
            self.ctx.resumed(int(self.tokens))

    def _write(self, point: Mapping[str, float]) -> None:
        if self.book:
            with self.book.open("a") as stream:
                stream.write(json.dumps(point) + "\n")

    def ends(self) -> None:
        """Say that the trainer has ended well. Raises TrialFailedError if it did not train on."""
        self._recall(math.inf)
        asked, slack = self.trial.tokens, self._slack
        if self.tokens and not asked - self._gap - slack <= self.tokens <= asked + slack:
            raise TrialFailedError(
                f"the trainer's last report is at {self.tokens:,.0f} tokens, the trial is one of "
                f"{asked:,}: it trains another number of tokens, or step_tokens "
                f"({self.step_tokens:g} tokens a step) is not what it means by a step"
            )

    @property
    def _slack(self) -> float:
        return END_TOLERANCE * self.trial.tokens + 2 * self.trial.batch_tokens

    def outcome(self, size: Size) -> Outcome:
        """Return the result. Raises TrialFailedError where there is none at the end of training.

        A parameter count that contradicts the YAML is noted.
        """
        if not self._final:
            advice = self._unheard.advice
            raise TrialFailedError(f"the trainer never wrote {self._wanted}; {advice}{self._said}")
        at = self._final["tokens"]
        at = self.tokens if math.isnan(at) and self.names.final else at
        if at and at < self.trial.tokens - self._slack - (self._gap if at == self.tokens else 0):
            raise TrialFailedError(
                f"its last validation loss is from {at:,.0f} of {self.trial.tokens:,} tokens: let "
                "the trainer evaluate once more when training has ended"
            )
        counted = self._facts.get("params", size.params_matmul)
        near = [abs(counted / n - 1) for n in (size.params_matmul, size.params_total)]
        note = "its losses came without `tokens` or `step`" if self._unplaced else ""
        if min(near) > PARAMS_TOLERANCE:
            stated = f"{size.params_matmul:g}"
            note = f"the trainer counts {counted:g} parameters, the YAML states {stated}"
        loss, loss_se = self._final["final_loss"], self._final["loss_se"]
        return Outcome(Status.DONE, loss, loss_se, self.trial.tokens, note, dict(self._facts))

    @property
    def _wanted(self) -> str:
        theirs = " or ".join(f"`{name}`" for name in self.names.final)
        return f"its final loss ({theirs})" if theirs else "a line with `final_loss`"

    @property
    def _said(self) -> str:
        last = self.last.decode("utf-8", "replace").strip()[:LINE]
        return f"; its last line was {last!r}" if last else ""


__all__ = ["BadReportError", "Heard", "TrialFailedError"]
