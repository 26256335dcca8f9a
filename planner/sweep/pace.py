"""How long a trial will take, learned from those that have ended.

    seconds = a FLOPs + b / n + c tokens + d steps / n,    a, b, c, d >= 0

by least squares of the relative error: arithmetic, starting up, what every token costs whatever the
model, what every step costs whatever its batch. Of the time of a stack of n trials each counts its
n-th part; a stack starts up and steps once for all of them. Trials that run compiled code have
coefficients of their own, and the others' until one of them has ended. A promise carries a margin
of TWICE the root mean square of that error, so that what was committed is seldom exceeded. Times
stop a sweep and price it; they never steer it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations, islice

import numpy as np

from planner.arrays import Floats
from planner.run import Run, Status, Trial
from planner.shape import Size

TERMS = 4

TWICE = 2.0
"""Margin in units of the relative error's root mean square."""

LEAST_MARGIN = 0.1
"""Smallest margin: machines that slow down by a tenth are common."""

RUNS_PER_TERM = 3
"""Runs it takes to tell one more of the terms apart."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a trial has to do, on how many devices, in a stack of how many."""

    flops: float
    tokens: float
    steps: float
    devices: float = 1.0
    stack: float = 1.0
    compiled: bool = False

    @classmethod
    def of(cls, trial: Trial, size: Size, devices: float = 1.0, stack: int = 1) -> Work:
        """Read the work of a trial: a fork's branch only."""
        tokens = float(trial.new_tokens)
        return cls(size.flops(tokens), tokens, tokens / trial.batch_tokens, devices, stack)

    @property
    def terms(self) -> Floats:
        """The terms of its time."""
        return np.array([self.flops, 1 / self.stack, self.tokens, self.steps / self.stack])


class Pace:
    """The time of trials, from sums over those that have ended."""

    def __init__(self, runs: Iterable[Run] = ()) -> None:
        self._plain, self._compiled = _Times(), _Times()
        self._seen = 0
        for run in runs:
            self.learn(run)

    def follow(self, runs: dict[str, Run]) -> None:
        """Learn the runs that were added since it last followed them."""
        for run in islice(reversed(runs.values()), len(runs) - self._seen):
            self.learn(run)
        self._seen = len(runs)

    def learn(self, run: Run) -> None:
        """Take in how long a run took; a failure's time says nothing."""
        first = max(run.trial.fork_at, int(run.metrics.get("resumed_tokens", 0)))
        tokens = run.tokens - first
        if run.status is Status.FAILED or run.seconds <= 0 or tokens <= 0:
            return
        steps, stack = tokens / run.trial.batch_tokens, run.metrics.get("stack", 1.0)
        done = Work(run.size.flops(tokens), tokens, steps, stack=stack)
        times = self._compiled if run.metrics.get("compiled") else self._plain
        times.learn(done.terms, run.seconds)

    @property
    def known(self) -> bool:
        """Say whether any run has told its time."""
        return self._plain.known or self._compiled.known

    def expect(self, work: Work) -> float:
        """Return the seconds a trial is expected to take (its part of a stack's); 0 if unknown."""
        return self._of(work).expect(work.terms)

    def promise(self, work: Work) -> float:
        """Return the seconds a trial seldom exceeds; 0 while nothing is known."""
        times = self._of(work)
        return times.expect(work.terms) * (1 + times.margin)

    def _of(self, work: Work) -> _Times:
        first, second = self._plain, self._compiled
        if work.compiled:
            first, second = second, first
        return first if first.known else second


class _Times:
    """The coefficients of trials that run alike, from sums over those that have ended."""

    def __init__(self) -> None:
        self._matrix, self._vector, self._count = np.zeros((TERMS, TERMS)), np.zeros(TERMS), 0
        self._solved: tuple[int, Floats, float] | None = None

    @property
    def known(self) -> bool:
        return self._count > 0

    @property
    def margin(self) -> float:
        return self._solve()[2] if self.known else LEAST_MARGIN

    def learn(self, terms: Floats, seconds: float) -> None:
        scaled = terms / seconds
        self._matrix += np.outer(scaled, scaled)
        self._vector += scaled
        self._count += 1

    def expect(self, terms: Floats) -> float:
        return float(self._solve()[1] @ terms) if self.known else 0.0

    def _solve(self) -> tuple[int, Floats, float]:
        """Return the count it was solved for, the best coefficients >= 0, and the margin."""
        if self._solved is None or self._solved[0] != self._count:
            terms = min(TERMS, 1 + self._count // RUNS_PER_TERM)
            chosen = (
                subset
                for number in range(1, terms + 1)
                for subset in combinations(range(TERMS), number)
            )
            solutions = [found for subset in chosen if (found := self._fit(subset)) is not None]
            left, coefficients = min(solutions, key=lambda found: found[0])
            spread = np.sqrt(max(left, 0.0) / max(self._count - terms, 1))
            self._solved = self._count, coefficients, max(LEAST_MARGIN, TWICE * float(spread))
        return self._solved

    def _fit(self, subset: tuple[int, ...]) -> tuple[float, Floats] | None:
        """Return the residual's square and the coefficients of a subset; None if one is < 0."""
        index = list(subset)
        scale = np.sqrt(np.diag(self._matrix)[index])
        if not scale.all():
            return None
        matrix = self._matrix[np.ix_(index, index)] / np.outer(scale, scale)
        solved = np.linalg.lstsq(matrix, self._vector[index] / scale, rcond=1e-9)[0] / scale
        if (solved < 0).any():
            return None
        whole = np.zeros(TERMS)
        whole[index] = solved
        left = self._count - 2 * self._vector @ whole + whole @ self._matrix @ whole
        return float(left), whole
