"""A proxy that runs the user's own trainer as a command.

    argv: [torchrun, train.py, --lr, "{lr}", --tokens, "{tokens}", --out, "{checkpoint_dir}"]

Placeholders are replaced after the template was split into arguments; no shell ever sees it. A line
``{"tokens": 4096, "loss": 5.1}`` on the trainer's standard output is a report, the last line
``{"final_loss": 1.71}`` (maybe with loss_se, params, flops_per_token) the result; all other lines
are the trainer's own business. Sizes state ``params`` in the YAML. A trial on several nodes runs
the command on each, torchrun finds the others by its environment, and only the first is heard.
"""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import shutil
import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from planner._secrets import hide, secrets_of
from planner.errors import SpaceError
from planner.proxies._child import running
from planner.proxy import Context, Outcome
from planner.run import Status, Trial
from planner.shape import Size, size_from_mapping

PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*)\}")

TRIAL_WORDS = (
    "lr",
    "tokens",
    "batch_tokens",
    "warmup_tokens",
    "steps",
    "seed",
    "weight_decay",
    "beta2",
)
"""Placeholders that are fields of the trial."""

TAIL = 400
"""Characters of the trainer's stderr kept in a failed run's note."""

PARAMS_TOLERANCE = 0.02
"""By how much the trainer's own parameter count may differ from the YAML's without a note."""


class CommandProxy:
    """``argv`` is the template, a list or one string (split as a shell would split it).

    ``version`` is the user's name for the state of trainer and data: change it and finished trials
    are run again. ``context`` fills ``{context}``. ``data`` is not read: argv names it.
    """

    capabilities: frozenset[str] = frozenset({"distributed"})

    def __init__(
        self,
        data: Mapping[str, Any],
        *,
        argv: str | Sequence[str],
        version: str | float = 1,
        context: int | None = None,
    ) -> None:
        parts = _split(argv) if isinstance(argv, str) else argv
        words = isinstance(parts, list | tuple) and bool(parts)
        if not words or not all(isinstance(part, str | int | float) for part in parts):
            raise SpaceError(
                "proxy command: `argv` must be a command: a list of words, or a string"
            )
        self.argv = tuple(str(part) for part in parts)
        del data
        self.version, self.context = str(version), context

    def size(self, shape: Mapping[str, Any]) -> Size:
        """Return the stated size. Raises SpaceError for a placeholder nothing fills."""
        known = {*TRIAL_WORDS, "schedule", "decay_ratio", "checkpoint_dir", *shape}
        known |= {"context"} if self.context else set()
        used = {word for part in self.argv for word in PLACEHOLDER.findall(part)}
        if unknown := sorted(used - known):
            raise SpaceError(
                f"proxy command: nothing fills `{{{unknown[0]}}}` in argv; known are "
                f"{', '.join(f'{{{word}}}' for word in sorted(known))}, and any key of `sizes`"
            )
        return size_from_mapping(shape)

    def recipe(self) -> Mapping[str, Any]:
        """Return the template and the user's version of what it runs."""
        return {
            "proxy": "command",
            "argv": list(self.argv),
            "version": self.version,
            "context": self.context,
        }

    def train(self, trial: Trial, ctx: Context) -> Outcome:
        """Run the command to its end; its reports become the curve, its last word the loss."""
        size = self.size(trial.shape)
        ctx.checkpoint_dir.mkdir(parents=True, exist_ok=True)
        rank = int(os.environ.get("PLANNER_NODE_RANK", "0"))
        log = ctx.checkpoint_dir / (f"stderr-{rank}.log" if rank else "stderr.log")
        argv = self._filled(trial, ctx)
        heard = _Heard()
        if shutil.which(argv[0]) is None:
            return _failed(
                heard, f"there is no program `{argv[0]}`; the first word of argv names it"
            )
        try:
            with running(argv, log) as process:
                heard.listen(process.stdout or (), ctx)
                code = 0 if heard.diverged else process.wait()
        except _BadReportError as error:
            return _failed(heard, str(error))
        finally:
            self._hide_secrets(log)
        if heard.diverged:
            note = f"the loss is not finite after {heard.tokens} tokens"
            return Outcome(Status.DIVERGED, math.nan, math.nan, heard.tokens, note)
        if code != 0:
            return _failed(heard, f"the trainer {_ending(code)}{_tail(log)}")
        if rank:
            return Outcome(Status.DONE, math.nan, math.nan, trial.tokens)
        if "final_loss" not in heard.result:
            said = f"; its last line was {heard.last[:TAIL]!r}" if heard.last else ""
            return _failed(
                heard, f"the trainer never wrote a line with `final_loss`{said}{_tail(log)}"
            )
        return heard.outcome(trial, size)

    def _hide_secrets(self, log: Path) -> None:
        """Take out of the log what the trainer printed of its tokens: folders are published."""
        text = log.read_text(encoding="utf-8", errors="replace")
        log.write_text(hide(text, secrets_of(self.argv)), encoding="utf-8")

    def _filled(self, trial: Trial, ctx: Context) -> list[str]:
        words: dict[str, Any] = {name: getattr(trial, name) for name in TRIAL_WORDS}
        words |= {"schedule": trial.schedule.name, "decay_ratio": trial.schedule.decay_ratio}
        words |= {"checkpoint_dir": ctx.checkpoint_dir, "context": self.context, **trial.shape}
        return [PLACEHOLDER.sub(lambda match: str(words[match[1]]), part) for part in self.argv]


def _split(argv: str) -> list[str]:
    try:
        return shlex.split(argv)
    except ValueError as error:
        raise SpaceError(f"proxy command: `argv` cannot be split into words: {error}") from None


class _BadReportError(Exception):
    """A line meant as a report holds something else than numbers."""


@dataclass
class _Heard:
    """What the trainer has said so far."""

    tokens: int = 0
    last: str = ""
    diverged: bool = False
    result: dict[str, float] = field(default_factory=dict)

    def listen(self, lines: Iterable[str], ctx: Context) -> None:
        """Read lines until the end, or until a loss is not finite. Raises _BadReportError."""
        for line in lines:
            self.last = line.strip() or self.last
            said = _json_object(line)
            if "tokens" in said and "loss" in said:
                self._report(_numbers(said, line), ctx)
            if "final_loss" in said:
                self.result = _numbers(said, line)
                self.diverged |= not math.isfinite(self.result["final_loss"])
            if self.diverged:
                return

    def _report(self, values: dict[str, float], ctx: Context) -> None:
        self.tokens, loss = int(values.pop("tokens")), values.pop("loss")
        self.diverged = not math.isfinite(loss)
        if not self.diverged:
            ctx.report(tokens=self.tokens, loss=loss, **values)

    def outcome(self, trial: Trial, size: Size) -> Outcome:
        """Return the result; a parameter count that contradicts the YAML is noted."""
        metrics = {k: v for k, v in self.result.items() if k in ("params", "flops_per_token")}
        counted, note = metrics.get("params", size.params_matmul), ""
        if abs(counted / size.params_matmul - 1) > PARAMS_TOLERANCE:
            note = (
                f"the trainer counts {counted:g} parameters, the YAML states {size.params_matmul:g}"
            )
        loss_se = self.result.get("loss_se", math.nan)
        loss = self.result["final_loss"]
        return Outcome(Status.DONE, loss, loss_se, trial.tokens, note, metrics)


def _json_object(line: str) -> dict[str, Any]:
    """Return the JSON object of a line, or an empty one: trainers print other things too."""
    try:
        said = json.loads(line)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _numbers(said: dict[str, Any], line: str) -> dict[str, float]:
    """Read the numbers of a report; ``null`` is how JSON writers spell NaN."""
    numbers = {}
    for name, value in said.items():
        if isinstance(value, int | float) or (value is None and name != "tokens"):
            numbers[name] = math.nan if value is None else float(value)
        elif name in ("tokens", "loss", "final_loss", "loss_se"):
            raise _BadReportError(
                f"the trainer's report {line.strip()!r} has a `{name}` that is no number"
            )
    return numbers


def _failed(heard: _Heard, note: str) -> Outcome:
    return Outcome(Status.FAILED, math.nan, math.nan, heard.tokens, note)


def _ending(code: int) -> str:
    if code > 0:
        return f"ended with exit code {code}"
    return f"was killed by signal {-code} ({signal.strsignal(-code)})"


def _tail(log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace").strip()
    return f"; stderr ends: {text[-TAIL:]}" if text else ""
