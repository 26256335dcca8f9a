"""The shipped language model: a small decoder-only transformer on bytes or tokens.

Trains a :class:`planner.run.Trial` with AdamW, or Muon beside it, and judges it, in fp32, on the
corpus' frozen evaluation set: mean loss in nats per token, and the standard error over its windows.
Shapes are ``{width, depth}``; every head has ``head_dim``, the SwiGLU is 8/3 of the width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import torch

from planner.errors import SpaceError
from planner.proxies import _checkpoint, _optim
from planner.proxies._compile import CHOICES as COMPILE
from planner.proxies._compile import Code, compiled, pass_windows, pays
from planner.proxies._coordinates import pre_activations
from planner.proxies._data import Batches, Corpus, prepare
from planner.proxies._evaluate import EVALUATION_WINDOWS, evaluate
from planner.proxies._loop import Training
from planner.proxies._model import Gpt
from planner.proxies._noise import NoiseScale
from planner.proxies._parametrization import Parametrization
from planner.proxies._schedule import check_batches
from planner.proxies._stack import Stack
from planner.proxies._stepper import Stepper
from planner.proxies._tokens import make_encoder
from planner.proxy import Context, Outcome
from planner.run import Status, Trial
from planner.shape import ModelShape, ShapeFamily, Size

VERSION = 1
"""Raised whenever the same trial would end at another loss."""

MICRO_TOKENS = 4_096
"""Tokens that pass through the model at a time on a CPU; a larger batch is accumulated."""

BF16_GAP = 0.003
"""Relative difference of the bf16 and the fp32 loss above which bf16 is doubted (science G18)."""

NOTHING: Mapping[int, int] = {}

CHOICES = {
    "head": ("untied", "tied"),
    "precision": ("auto", "fp32", "bf16"),
    "compile": COMPILE,
    "optimizer": _optim.OPTIMIZERS,
}


class GptProxy:
    """A :class:`planner.proxy.TransformerProxy`; cheap to make, the corpus is prepared on demand.

    ``precision`` auto is bf16 autocast on a GPU that has it, else fp32. ``micro_tokens`` bounds
    what passes through the model at a time. ``parametrization`` sp, mup or completep; under the
    latter two ``base_width`` and ``base_depth`` say where the learning rate means what it does
    under sp, ``alpha_in`` and ``alpha_out`` multiply embedding and logits. ``noise_scale`` adds
    grad_sq_small and grad_sq_big to the curves; it changes no loss, so it is not in the recipe.
    ``compile`` auto, on or off changes a loss by rounding only; auto is what saves a trial on a CPU
    time (``proxies/_compile.py``). ``stack``: so many trials at most are trained as one batched
    model on a GPU; never measured on one, so it is 1 unless asked for. ``optimizer`` adamw or muon
    (``proxies/_muon.py``), which goes with sp alone.
    Raises SpaceError for options it does not know.
    """

    capabilities = frozenset(
        {"fork", "resume", "finder", "noise_scale", "coordinates", "train_many", "compiles"}
    )

    def __init__(  # noqa: PLR0913 - the options of the YAML
        self,
        data: Mapping[str, Any],
        *,
        context: int = 128,
        head: str = "untied",
        parametrization: str = "sp",
        base_width: int | None = None,
        base_depth: int | None = None,
        alpha_in: float | None = None,
        alpha_out: float | None = None,
        head_dim: int = 16,
        kv_share: int = 1,
        evaluation_tokens: int | None = None,
        precision: str = "auto",
        micro_tokens: int | None = None,
        noise_scale: bool = False,
        compile: str | bool = "auto",
        stack: int = 1,
        optimizer: str = "adamw",
    ) -> None:
        compiles = {"True": "on", "False": "off"}.get(str(compile), compile)  # on is true in YAML
        given = {"head": head, "precision": precision, "compile": compiles, "optimizer": optimizer}
        _check(given, stack)
        _optim.check(optimizer, parametrization)
        bases = {"base_width": base_width, "base_depth": base_depth}
        scales = {"alpha_in": alpha_in, "alpha_out": alpha_out}
        self.parametrization = Parametrization.read(parametrization, bases | scales)
        self.data, self.optimizer = dict(data), optimizer
        if evaluation_tokens is not None:
            self.data["evaluation_tokens"] = evaluation_tokens
        self.context, self.tied = context, head == "tied"
        self.head_dim, self.kv_share = head_dim, kv_share
        self.precision, self.micro_tokens = precision, micro_tokens
        self.noise_scale, self.compile, self.stack = noise_scale, compiles, stack

    @cached_property
    def corpus(self) -> Corpus:
        """The tokens, prepared when first asked for. Raises DataError."""
        return prepare(self.data, context=self.context)

    @cached_property
    def vocab(self) -> int:
        """The vocabulary, from the tokenizer alone where text is read; sizes need nothing more."""
        if "tokens" in self.data or ("shards" in self.data and "vocab" in self.data):
            return int(self.data.get("vocab") or self.corpus.vocab)
        return make_encoder(str(self.data.get("tokenizer", "bytes"))).vocab

    def model_shape(self, shape: Mapping[str, Any]) -> ModelShape:
        """Return the full shape of ``{width, depth}``. Raises SpaceError."""
        if set(shape) != {"width", "depth"}:
            raise SpaceError(f"gpt sizes are a width and a depth, not {dict(shape)}")
        family = ShapeFamily(
            vocab=self.vocab,
            context=self.context,
            head_dim=self.head_dim,
            kv_share=self.kv_share,
            tied=self.tied,
        )
        return family.at_width(int(shape["width"]), int(shape["depth"]))

    def size(self, shape: Mapping[str, Any]) -> Size:
        """Return exact parameters and FLOPs per token of a shape."""
        return self.model_shape(shape).size

    def recipe(self) -> Mapping[str, Any]:
        """Return what every trial of this proxy shares; prepares the corpus."""
        corpus = self.corpus
        return {
            "proxy": "gpt",
            "version": VERSION,
            "context": self.context,
            "head": "tied" if self.tied else "untied",
            "head_dim": self.head_dim,
            "kv_share": self.kv_share,
            **self.parametrization.recipe(),
            "vocab": corpus.vocab,
            "train_hash": corpus.train_hash,
            "validation_hash": corpus.validation_hash,
            "unique_tokens": corpus.unique_tokens,
            "epochs": corpus.epochs,
            "precision": self.precision,
            **_optim.recipe(self.optimizer),
            "clip": "global norm",
        }

    def train(self, trial: Trial, ctx: Context) -> Outcome:
        """Train one trial; StopTrial passes through. Raises SpaceError, DataError, UsageError."""
        torch.set_num_threads(1)
        check_batches(trial, self.context)
        stepper = self._stepper(trial, ctx.device, ctx.alike)
        measures = self.noise_scale and trial.schedule.name != "finder"
        training = Training(stepper, ctx, NoiseScale(stepper) if measures else None)
        state, damage = _checkpoint.load_start(trial, ctx.checkpoint_dir, ctx.parent, ctx.device)
        if state is not None:
            training.restore(state)
        training.run()
        outcome = training.ended(partial(self._judged, stepper))
        return replace(outcome, note="; ".join(filter(None, (damage, outcome.note))))

    def stack_key(self, trial: Trial, device: str) -> str | None:
        """Name what the trials of a stack share; None for those that are always alone.

        Those are forks and their trunks, finders, whose end lies in the middle, and Muon's.
        """
        alone = trial.parent is not None or trial.keep_at or trial.schedule.name == "finder"
        if alone or self.noise_scale or self.optimizer != "adamw":
            return None
        return f"{dict(trial.shape)} {trial.batch_tokens} {trial.tokens}"

    def stack_size(self, trial: Trial, device: str) -> int:
        """Return ``stack`` on a GPU; on a CPU a stack does not pay (``proxies/_stack.py``)."""
        return self.stack if device.startswith("cuda") else 1

    def train_many(
        self, trials: Sequence[Trial], contexts: Sequence[Context]
    ) -> Sequence[Outcome | None]:
        """Train trials of one stack key as one batched model; None for those told to stop.

        They save their states as trials do that are trained alone, and go on from them alone.
        """
        torch.set_num_threads(1)
        steppers = []
        for trial, ctx in zip(trials, contexts, strict=True):
            check_batches(trial, self.context)
            stepper = self._stepper(trial, ctx.device)
            stepper.code = None
            steppers.append(stepper)
        stack = Stack(list(zip(steppers, contexts, strict=True)))
        left = stack.run()
        return [
            None if training in left else training.ended(partial(self._judged, stepper))
            for training, stepper in zip(stack.trainings, steppers, strict=True)
        ]

    def compiles(self, trial: Trial, device: str, alike: Mapping[int, int]) -> bool:
        """Say whether a trial is to run compiled code (``proxies/_compile.py``)."""
        if self.compile != "auto" or device != "cpu":
            return self.compile == "on"
        windows = self._pass(trial.batch_tokens)
        same = (tokens for batch, tokens in alike.items() if self._pass(batch) == windows)
        return pays(self.model_shape(trial.shape), windows, trial.new_tokens, sum(same))

    def coordinates(self, trial: Trial, device: str = "cpu") -> Mapping[str, list[float]]:
        """Return the RMS of the pre-activations of each kind of layer after each step of a trial.

        The kinds are qkv, out, gate_up, down (over all layers) and logits; nothing is kept.
        """
        torch.set_num_threads(1)
        check_batches(trial, self.context)
        return pre_activations(self._stepper(trial, device))

    def _stepper(self, trial: Trial, device: str, alike: Mapping[int, int] = NOTHING) -> Stepper:
        shape = self.model_shape(trial.shape)
        factors = self.parametrization.at(shape.width, shape.layers, shape.head_dim)
        model = Gpt(shape, trial.seed, device, factors)
        drawn = trial.tokens // self.context
        batches = Batches(self.corpus.train, self.context, trial.seed, self.corpus.epochs, drawn)
        tokens = self.micro_tokens or (MICRO_TOKENS if device == "cpu" else trial.batch_tokens)
        micro, bf16 = max(1, tokens // self.context), self._bf16(device)
        stepper = Stepper(model, trial, batches, micro=micro, bf16=bf16, optimizer=self.optimizer)
        stepper.code = self._code(model, trial, bf16, alike)
        return stepper

    def _code(self, model: Gpt, trial: Trial, bf16: bool, alike: Mapping[int, int]) -> Code | None:
        """Return the compiled pass of a trial, if it is to run one."""
        if not self.compiles(trial, model.flat.device.type, alike):
            return None
        code = compiled(model, windows=self._pass(trial.batch_tokens), bf16=bf16)
        return None if code.broken else code

    def _pass(self, batch_tokens: int) -> int:
        windows = max(1, batch_tokens // self.context)
        return pass_windows(windows, self.context, self.micro_tokens)

    def _bf16(self, device: str) -> bool:
        able = device.startswith("cuda") and torch.cuda.is_bf16_supported()
        return self.precision == "bf16" or (self.precision == "auto" and able)

    def _judged(self, stepper: Stepper, tokens: int) -> Outcome:
        """Evaluate in fp32; where training ran in bf16, record how far bf16 lies from it."""
        model, bf16 = stepper.model, stepper.bf16
        at_once = min(stepper.micro, EVALUATION_WINDOWS) if stepper.shrunk else EVALUATION_WINDOWS
        loss, se = evaluate(model, self.corpus, at_once=at_once)
        metrics, note = {"params": float(model.flat.numel())}, ""
        if self.corpus.bytes_per_token:
            metrics["bits_per_byte"] = loss / math.log(2) / self.corpus.bytes_per_token
        if bf16:
            rough, _ = evaluate(model, self.corpus, bf16=True, at_once=at_once)
            gap = metrics["bf16_gap"] = rough - loss
            if abs(gap) > BF16_GAP * loss:
                note = f"bf16 moves the loss by {gap:+.4f} nats: train in fp32 (`precision: fp32`)"
        if not math.isfinite(loss):
            return Outcome(Status.DIVERGED, math.nan, math.nan, tokens, f"final loss {loss}")
        return Outcome(Status.DONE, loss, se, tokens, note, metrics)


def _check(given: Mapping[str, str | bool], stack: object) -> None:
    """Raise SpaceError for an option that is none of its CHOICES, or a stack that is no count."""
    for name, chosen in given.items():
        if chosen not in CHOICES[name]:
            raise SpaceError(
                f"gpt knows no {name} {chosen!r}: write one of {', '.join(CHOICES[name])}"
            )
    if isinstance(stack, bool) or not isinstance(stack, int) or stack < 1:
        raise SpaceError(f"gpt's `stack` is {stack!r}: write how many trials, 1 or more")
