"""A proxy that runs a Ray Tune trainable the user already has: a class or a function.

    options: {trainable: "train.py:Trainer", metric: val_loss, config: {layers: 4}}

The config it gets is ``config`` with the trial's lr, tokens, batch_tokens ... and the size's keys
on top. Each of its results with ``tokens`` and the metric is a report; the last one's metric is the
loss. No Tune runs: a class is driven through its own train, save_checkpoint and load_checkpoint; a
function is called with ``tune.report`` and ``tune.get_checkpoint`` standing for the sweep's, which
is what Ray is imported for. It must call them by these names (``from ray import tune``).
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from planner.errors import SpaceError, UsageError
from planner.proxy import Context, Outcome, named_object
from planner.run import Status, Trial
from planner.shape import Size, size_from_mapping

TRIAL_KEYS = (
    "lr",
    "tokens",
    "batch_tokens",
    "warmup_tokens",
    "steps",
    "seed",
    "weight_decay",
    "beta2",
)
"""What a trial adds to the trainable's config."""

SAVES = 4
"""A class saves its state after every quarter of a trial."""


class TuneProxy:
    """``trainable`` is ``package.module:object`` or ``file.py:object``.

    ``metric`` and ``tokens`` name what its results call the loss and the tokens trained so far;
    ``version`` is the user's name for the state of code and data. Sizes state ``params``.
    """

    capabilities: frozenset[str] = frozenset({"resume"})

    def __init__(
        self,
        data: Mapping[str, Any],
        *,
        trainable: str,
        metric: str = "loss",
        tokens: str = "tokens",
        config: Mapping[str, Any] | None = None,
        version: str | float = 1,
    ) -> None:
        del data
        if ":" not in trainable:
            raise SpaceError(
                f"proxy tune: `trainable` is {trainable!r}; write package.module:object or "
                "file.py:object"
            )
        self.trainable, self.version = trainable, str(version)
        self.metric, self.tokens, self.config = metric, tokens, dict(config or {})

    def size(self, shape: Mapping[str, Any]) -> Size:
        """Return the stated size."""
        return size_from_mapping(shape)

    def recipe(self) -> Mapping[str, Any]:
        """Return what names the trainable and its fixed config."""
        return {
            "proxy": "tune",
            "trainable": self.trainable,
            "metric": self.metric,
            "config": self.config,
            "version": self.version,
        }

    def train(self, trial: Trial, ctx: Context) -> Outcome:
        """Drive the trainable to the trial's tokens, or to its own end if that comes first."""
        config = self.config | {name: getattr(trial, name) for name in TRIAL_KEYS}
        config |= {"schedule": trial.schedule.name, **trial.shape}
        made, heard = named_object(self.trainable), _Heard(self, ctx)
        if isinstance(made, type):
            self._drive(made, config, trial, heard)
        else:
            with _standing_in(heard):
                if isinstance(last := made(config), Mapping):
                    heard.result(last)
        if heard.tokens < trial.tokens:
            raise UsageError(
                f"the trainable {self.trainable} ended at {heard.tokens:,} of {trial.tokens:,} "
                "tokens: train as many as config['tokens'] says"
            )
        return Outcome(Status.DONE, heard.loss, math.nan, trial.tokens)

    def _drive(
        self, made: Callable[..., Any], config: dict[str, Any], trial: Trial, heard: _Heard
    ) -> None:
        """Train a class step by step, from its last saved state if there is one."""
        state = heard.ctx.checkpoint_dir / "tune"
        one = made(config=config)
        try:
            if (state / "planner.json").is_file():
                one.load_checkpoint(str(state))
                heard.tokens = int(json.loads((state / "planner.json").read_text())["tokens"])
            saved = heard.tokens
            while heard.tokens < trial.tokens:
                result = one.train()
                heard.result(result)
                if SAVES * (heard.tokens - saved) >= trial.tokens:
                    _save(one, state, heard.tokens)
                    saved = heard.tokens
                if result.get("done"):
                    return
        finally:
            one.stop()


@dataclass
class _Heard:
    """What the trainable has told so far."""

    proxy: TuneProxy
    ctx: Context
    tokens: int = 0
    loss: float = math.nan

    def result(self, result: Mapping[str, Any]) -> None:
        """Take one result as a report. Raises UsageError where tokens or the metric are missing."""
        missing = [n for n in (self.proxy.tokens, self.proxy.metric) if n not in result]
        if missing:
            raise UsageError(
                f"a result of {self.proxy.trainable} has no `{missing[0]}`; it has "
                f"{', '.join(map(str, result))}: name yours with the options tokens and metric"
            )
        self.tokens = int(result[self.proxy.tokens])
        self.loss = float(result[self.proxy.metric])
        self.ctx.report(tokens=self.tokens, loss=self.loss)


def _save(one: Any, state: Path, tokens: int) -> None:  # noqa: ANN401 (a Tune Trainable)
    """Save a state beside the last one, and put it in its place when it is whole."""
    half = state.with_name("tune.half")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    one.save_checkpoint(str(half))
    (half / "planner.json").write_text(json.dumps({"tokens": tokens}))
    shutil.rmtree(state, ignore_errors=True)
    half.rename(state)


@contextmanager
def _standing_in(heard: _Heard) -> Iterator[None]:
    """Let ``tune.report`` be a report of this trial; a process trains one trial at a time."""
    from ray import tune

    def report(metrics: Mapping[str, Any], **_: object) -> None:
        heard.result(metrics)

    before = tune.report, tune.get_checkpoint
    tune.report, tune.get_checkpoint = report, lambda: None
    try:
        yield
    finally:
        tune.report, tune.get_checkpoint = before
