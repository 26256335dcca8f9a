"""The shipped language model: a small decoder-only transformer on bytes or tokens.

Trains a :class:`planner.run.Trial` with AdamW and reports the loss in nats per token on the corpus'
frozen evaluation set. Shapes are ``{width, depth}``; heads of ``head_dim``, SwiGLU of 8/3 width.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch

from planner.errors import SpaceError
from planner.proxies import _checkpoint
from planner.proxies._data import Batches, Corpus, prepare, windows
from planner.proxies._loop import Training
from planner.proxies._model import Gpt
from planner.proxies._schedule import learning_rates
from planner.proxy import Context, Outcome
from planner.run import Status, Trial
from planner.shape import ModelShape, ShapeFamily, Size

VERSION = 1
EVALUATION_TOKENS = 262_144
MICRO_TOKENS = 1_024


class GptProxy:
    """A :class:`planner.proxy.TransformerProxy` that trains for real; cheap to make."""

    capabilities = frozenset({"fork", "resume", "finder"})

    def __init__(
        self,
        data: Mapping[str, Any],
        *,
        context: int = 128,
        head: str = "untied",
        parametrization: str = "sp",
        head_dim: int = 16,
        kv_share: int = 1,
        evaluation_tokens: int = EVALUATION_TOKENS,
        precision: str = "auto",
        micro_tokens: int | None = None,
    ) -> None:
        self.data = {"evaluation_tokens": evaluation_tokens} | dict(data)
        self.context, self.head, self.head_dim, self.kv_share = context, head, head_dim, kv_share
        self.parametrization, self.precision = parametrization, precision
        self.micro_tokens = micro_tokens or MICRO_TOKENS

    @cached_property
    def corpus(self) -> Corpus:
        """The tokens, prepared when first asked for."""
        return prepare(self.data, context=self.context)

    def model_shape(self, shape: Mapping[str, Any]) -> ModelShape:
        """Return the full shape of ``{width, depth}``. Raises SpaceError."""
        family = ShapeFamily(
            vocab=self.corpus.vocab,
            context=self.context,
            head_dim=self.head_dim,
            kv_share=self.kv_share,
            tied=self.head == "tied",
        )
        return family.at_width(int(shape["width"]), int(shape["depth"]))

    def size(self, shape: Mapping[str, Any]) -> Size:
        """Return exact parameters and FLOPs per token of a shape."""
        return self.model_shape(shape).size

    def recipe(self) -> Mapping[str, Any]:
        """Return what every trial of this proxy shares."""
        return {"proxy": "gpt", "version": VERSION}

    def train(self, trial: Trial, ctx: Context) -> Outcome:
        """Train one trial and judge it on the frozen evaluation set."""
        torch.set_num_threads(1)
        corpus = self.corpus
        model = Gpt(self.model_shape(trial.shape), trial.seed, ctx.device)
        batches = Batches(corpus.train, self.context, trial.seed, corpus.epochs)
        micro = max(1, self.micro_tokens // self.context)
        training = Training(model, trial, batches, ctx, micro, contextlib.nullcontext())
        state = _checkpoint.load_start(trial, ctx.checkpoint_dir, ctx.parent, ctx.device)
        if state is not None:
            training.restore(state)
        if not training.run() and trial.schedule.name != "finder":
            return self._diverged(training)
        _checkpoint.resume_file(ctx.checkpoint_dir).unlink(missing_ok=True)
        loss, se = evaluate(model, corpus)
        return Outcome(Status.DONE, loss, se, training.step * trial.batch_tokens)

    def _diverged(self, training: Training) -> Outcome:
        tokens = training.step * training.trial.batch_tokens
        lr = float(learning_rates(training.trial)[training.step - 1])
        note = f"diverged by {tokens:,} tokens at a learning rate of {lr:.3g}"
        return Outcome(Status.DIVERGED, math.nan, math.nan, tokens, note)


@torch.inference_mode()
def evaluate(model: Gpt, corpus: Corpus, batch: int = 16) -> tuple[float, float]:
    """Return the mean loss on the evaluation set and its standard error over windows."""
    cut = windows(corpus.validation, model.shape.context)
    parts = [
        model.losses(torch.from_numpy(cut[i : i + batch].astype("int64")).to(model.flat.device))
        for i in range(0, len(cut), batch)
    ]
    means = torch.cat(parts).double().mean(1)
    return float(means.mean()), float(means.std() / math.sqrt(len(means)))
