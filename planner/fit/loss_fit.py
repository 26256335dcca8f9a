"""A loss law that met data: its parameters, its draws, and what it may be asked.

Statistical draws hold the law for right. Predictive draws add, per draw s (contracts.md section 1),

    which law       a member drawn by its weight from rolling-origin error
    discrepancy     ln L += l r d g_s,    ln N* += (n + m h_s) ((1 - b) d + b d^2),

d = log10(C / C_max) >= 0, with l, r, m, n, b and the t tails of g, h learned by
:mod:`planner.fit.discrepancy`; g and h are shared by all points of a draw, so that neighbouring
sizes at one C move together. After a failed held-out rung every draw moves away from the median by
``factor``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np

from planner.arrays import Floats
from planner.errors import UsageError
from planner.estimate import LEVEL, Estimate
from planner.finding import Finding
from planner.fit.discrepancy import Discrepancy
from planner.fit.registry import law_named

SCHEMA_VERSION = 2
Kind = Literal["predictive", "statistical"]


@dataclass(frozen=True, slots=True)
class FitRange:
    """Where the data lie: (lowest, highest) of N, D and C, rows and distinct sizes."""

    params: tuple[float, float]
    tokens: tuple[float, float]
    flops: tuple[float, float]
    n_points: int
    n_sizes: int


@dataclass(frozen=True)
class Member:
    """One law of the average: weight, parameters, statistical draws (S, 5), held-out error.

    ``held_out`` is the rolling-origin RMS of ln loss, nan where there were too few points.
    """

    law: str
    weight: float
    params: dict[str, float]
    draws: Floats
    held_out: float


@dataclass(frozen=True)
class LossFit:
    """See the module.

    ``law``, ``params`` and ``draws`` are the chosen member's; ``members`` stand from the heaviest
    to the lightest. ``sigma`` is the robust residual sd of ln loss; ``status`` is "converged",
    "at bound: ..." or "not identified: ...". Predictions are for a data set of ``unique_tokens``
    distinct tokens, None for endless data; only a law that knows of repeats can tell them apart.
    """

    law: str
    params: dict[str, float]
    draws: Floats
    names: tuple[str, ...]
    sigma: float
    status: str
    range: FitRange
    method: str
    members: tuple[Member, ...]
    n_convention: str
    flops_convention: str
    level: float = LEVEL
    discrepancy: Discrepancy = field(default_factory=Discrepancy)
    findings: tuple[Finding, ...] = ()
    unique_tokens: float | None = None

    def statistical(self, params: Floats, tokens: Floats) -> Floats:
        """Return draws (S, n) of the mean loss, as if the chosen law were right."""
        at = np.atleast_1d(params), np.atleast_1d(tokens)
        return law_named(self.law).predict(self.draws, *at, self.unique_at(at[0]))

    def unique_at(self, params: Floats) -> Floats | None:
        """Return the distinct tokens behind every point, shape (n,); None: data are endless."""
        if self.unique_tokens is None:
            return None
        return np.full(np.shape(params), self.unique_tokens, dtype=np.float64)

    def loss_draws(
        self,
        params: Floats,
        tokens: Floats,
        flops: Floats | None = None,
        *,
        seed: int = 0,
        run_noise: bool = False,
    ) -> Floats:
        """Return predictive draws (S, n) of the loss; ``flops`` default to 6 N D.

        One seed gives one set of laws and discrepancies: calls with the same seed may be compared
        draw by draw. ``run_noise`` adds the run-to-run noise ``sigma`` of ln loss.
        """
        n, d = np.atleast_1d(params).astype(float), np.atleast_1d(tokens).astype(float)
        pick, common, tilt = self._shared_draws(seed)
        decades = self._decades(6.0 * n * d if flops is None else np.atleast_1d(flops))
        shift = np.exp(self.discrepancy.log_params(decades, tilt))
        log_loss = self.discrepancy.log_loss(decades, common)
        for k, member in enumerate(self.members):
            rows = pick == k
            law, theta = law_named(member.law), member.draws[rows]
            at = n / shift[rows], d * shift[rows]
            log_loss[rows] += np.log(law.predict(theta, *at, self.unique_at(at[0])))
        if run_noise:
            noise = np.random.default_rng([seed, 1]).standard_normal(log_loss.shape)
            log_loss = log_loss + self.sigma * noise
        return np.exp(self._widen(log_loss))

    def predict(
        self,
        params: Floats,
        tokens: Floats,
        *,
        flops: Floats | None = None,
        level: float = LEVEL,
        kind: Kind = "predictive",
        run_noise: bool = False,
    ) -> tuple[Estimate, ...]:
        """Return one Estimate of the loss per point."""
        if kind == "predictive":
            draws = self.loss_draws(params, tokens, flops, run_noise=run_noise)
        else:
            draws = self.statistical(params, tokens)
        return tuple(
            Estimate.from_draws(column, level=level, method=f"{kind}: {self.method}")
            for column in draws.T
        )

    def optimal_params_draws(
        self, flops: float, *, kind: Kind = "predictive", seed: int = 0
    ) -> Floats:
        """Return draws (S,) of N*(C) for C = 6 N D; D* is C / 6 N*."""
        if kind == "statistical":
            return law_named(self.law).optimal_params(self.draws, flops)
        pick, _, tilt = self._shared_draws(seed)
        best = np.empty(len(pick))
        for k, member in enumerate(self.members):
            rows = pick == k
            best[rows] = law_named(member.law).optimal_params(member.draws[rows], flops)
        shift = self.discrepancy.log_params(self._decades(np.array([flops])), tilt)
        return np.exp(self._widen(np.log(best)[:, None] + shift))[:, 0]

    def drift(self, flops: Floats) -> Floats:
        """Return the middle of the shifts of ln N* at each C, shape (n,)."""
        return self.discrepancy.log_params(self._decades(flops), np.zeros(1))

    def widened(self, factor: float) -> LossFit:
        """Return the fit with every predictive interval ``factor`` times as wide."""
        wider = replace(self.discrepancy, factor=self.discrepancy.factor * factor)
        return replace(self, discrepancy=wider)

    def _shared_draws(self, seed: int) -> tuple[np.ndarray, Floats, Floats]:
        """Return each draw's member, shape (S,), and the two discrepancies, each (S, 1)."""
        rng = np.random.default_rng([seed, 0])
        size = len(self.draws)
        common, tilt = rng.standard_t(self.discrepancy.freedom, (2, size, 1))
        edges = np.cumsum([member.weight for member in self.members])
        pick = np.minimum(np.searchsorted(edges, rng.random(size)), len(self.members) - 1)
        return pick, common, tilt

    def _decades(self, flops: Floats) -> Floats:
        return np.maximum(0.0, np.log10(flops / self.range.flops[1]))

    def _widen(self, log_draws: Floats) -> Floats:
        if self.discrepancy.factor == 1.0:
            return log_draws
        middle = np.median(log_draws, axis=0)
        return np.asarray(middle + self.discrepancy.factor * (log_draws - middle))

    def to_json(self) -> dict[str, Any]:
        """Return the content of fit.json: everything a prediction needs, floats in full."""
        tails = [(1 - self.level) / 2, (1 + self.level) / 2]
        bounds = np.quantile(self.draws, tails, axis=0).T.tolist()
        plain = {name: getattr(self, name) for name in _PLAIN}
        if self.unique_tokens is not None:
            plain["unique_tokens"] = self.unique_tokens
        return plain | {
            "schema_version": SCHEMA_VERSION,
            "names": list(self.names),
            "intervals": dict(zip(self.names, bounds, strict=True)),
            "members": [asdict(m) | {"draws": m.draws.tolist()} for m in self.members],
            "draws": self.draws.tolist(),
            "range": asdict(self.range),
            "discrepancy": asdict(self.discrepancy),
            "held_out_errors": {m.law: _none_if_nan(m.held_out) for m in self.members},
            "findings": [finding.to_json() for finding in self.findings],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LossFit:
        """Read a fit back; it predicts exactly what the written one did."""
        if data.get("schema_version") != SCHEMA_VERSION:
            raise UsageError(
                f"this fit.json has schema version {data.get('schema_version')}, planner reads "
                f"{SCHEMA_VERSION}; fit the table again"
            )
        spans = {name: tuple(data["range"][name]) for name in ("params", "tokens", "flops")}
        return cls(
            **{name: data[name] for name in _PLAIN},
            names=tuple(data["names"]),
            draws=np.asarray(data["draws"], dtype=np.float64),
            members=tuple(
                Member(**(m | {"draws": np.asarray(m["draws"], dtype=np.float64)}))
                for m in data["members"]
            ),
            range=FitRange(**(data["range"] | spans)),
            discrepancy=Discrepancy(**data["discrepancy"]),
            findings=tuple(Finding.from_json(f) for f in data["findings"]),
            unique_tokens=data.get("unique_tokens"),
        )


_PLAIN = ("law", "params", "sigma", "status", "method", "n_convention", "flops_convention", "level")


def _none_if_nan(value: float) -> float | None:
    return None if np.isnan(value) else value
