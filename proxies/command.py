"""A proxy that runs the user's own trainer as a command.

    argv: [torchrun, train.py, --lr, "{lr}", --tokens, "{tokens}", --out, "{out}"]

Placeholders are replaced after the template was split into arguments; no shell sees it unless
``shell: true`` asks for one, and then no value is part of its program. A line ``{"tokens": 4096,
"loss": 5.1}`` on the trainer's standard output is a report, the last line ``{"final_loss": 1.71}``
(maybe with loss_se, params, flops_per_token) the result; all other lines are the trainer's own
business. ``reports`` names a CSV, JSON lines or TensorBoard file to be read besides, ``map`` says
what their names mean. Sizes state ``params`` in the YAML. A trial on several nodes runs the command
on each, torchrun finds the others by its environment, and only the first must tell the result.
"""

from __future__ import annotations

import glob
import math
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from planner._secrets import hide, secrets_of
from planner.errors import SpaceError
from planner.proxies._child import Child, running
from planner.proxies._command_options import Options
from planner.proxies._ending import ended, not_started, told_in
from planner.proxies._heard import BadReportError, Heard, TrialFailedError
from planner.proxies._reports import Files
from planner.proxies._words import (
    NoSequencesError,
    Template,
    fill,
    free_port,
    known_words,
    placeholders,
    trial_words,
)
from planner.proxy import Context, Outcome, Preempted
from planner.run import Status, Trial
from planner.shape import Size, size_from_mapping

READING_SHARE = 0.1
"""Of the time at most that is spent reading report files again while the trainer runs."""


LOG_BYTES = 16 << 20
"""Of the trainer's stderr that are kept once it has ended."""


class CommandProxy:
    """``argv`` is the template, a list or one string (split as a shell would split it).

    ``version`` is the user's name for the state of trainer and data: change it and finished trials
    are run again. ``context`` fills ``{context}`` and ``{batch_seqs}``. ``data`` is not read: argv
    names it. ``reports`` is a file (.csv, .tsv, else JSON lines) or a TensorBoard folder, or a
    pattern of them, and ``map`` gives {their name: our name}; ours are tokens, step, loss,
    final_loss, loss_se, params, flops_per_token, lr, grad_norm. ``lines`` describe lines of plain
    text that are reports (``_lines``). ``step_tokens`` are the tokens of one step of the reports,
    the trial's batch by default. ``resume_argv`` are words added where
    ``{out}`` holds states of an earlier attempt: something that matches ``resume_when``, the newest
    of it is ``{latest}``. ``env`` and ``cwd`` may hold placeholders too. After ``timeout_minutes``
    a trial has failed. Raises SpaceError for what it does not understand.
    """

    def __init__(  # noqa: PLR0913 - the options of the YAML
        self,
        data: Mapping[str, Any],
        *,
        argv: str | Sequence[str],
        version: str | float = 1,
        context: int | None = None,
        shell: bool = False,
        reports: str | None = None,
        map: Mapping[str, str] | None = None,
        lines: str | Sequence[str] | None = None,
        step_tokens: float | None = None,
        resume_argv: str | Sequence[str] | None = None,
        resume_when: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        timeout_minutes: float | None = None,
    ) -> None:
        del data
        given: dict[str, Any] = {"reports": reports, "map": map, "step_tokens": step_tokens}
        given |= {
            "lines": lines,
            "resume_argv": resume_argv,
            "resume_when": resume_when,
            "env": env,
        }
        given |= {"cwd": cwd, "timeout_minutes": timeout_minutes}
        self.options = Options.read(given)
        self.template = Template.of(argv, shell=shell)
        self.version, self.context = str(version), context
        resumes = {"resume"} if self.options.resume_argv else set()
        self.capabilities = frozenset({"distributed"} | resumes)

    @property
    def used(self) -> set[str]:
        """The placeholders the command and its options hold."""
        return self.template.used | self.options.used

    def size(self, shape: Mapping[str, Any]) -> Size:
        """Return the stated size. Raises SpaceError for a placeholder nothing fills."""
        known = known_words(shape, self.context)
        used, again = self.used, self.options.resume_argv
        unknown = sorted((used - known) | (placeholders(again) - known - {"latest"}))
        if unknown:
            raise SpaceError(
                f"proxy command: nothing fills `{{{unknown[0]}}}` in argv; known are "
                f"{', '.join(f'{{{word}}}' for word in sorted(known))}, and any key of `sizes`"
            )
        try:
            size = size_from_mapping(shape)
        except (TypeError, ValueError):
            raise SpaceError(
                f"the size {dict(shape)} states no number of parameters: count the matrices a "
                "token is multiplied with, without the input embedding"
            ) from None
        for needed in (("lr",), ("tokens", "steps")):
            if not used & set(needed):
                raise SpaceError(
                    f"proxy command: argv holds no {' or '.join(f'{{{w}}}' for w in needed)}: "
                    "every trial would be the same run"
                )
        return size

    def recipe(self) -> Mapping[str, Any]:
        """Return the template, its options and the user's version of what it runs."""
        return {
            "proxy": "command",
            "argv": list(self.template.argv),
            "version": self.version,
            "context": self.context,
            **({"shell": True} if self.template.shell else {}),
            # Told how many sequences make a batch, it can make none below one.
            **({"least_batch": self.context} if "batch_seqs" in self.used else {}),
            **self.options.recipe(),
        }

    def train(self, trial: Trial, ctx: Context) -> Outcome:
        """Run the command to its end; its reports become the curve, its last word the loss.

        A command that fails before its first report, started from states of an earlier attempt, is
        started once more without them.
        """
        size, out = size_from_mapping(trial.shape), ctx.checkpoint_dir / "out"
        out.mkdir(parents=True, exist_ok=True)
        latest = self.options.latest(out)
        attempt = _Attempt(self, trial, ctx, out)
        outcome = attempt.run(size, latest)
        if latest and outcome.status is Status.FAILED and not attempt.heard.tokens:
            shutil.rmtree(out)
            out.mkdir()
            anew = _Attempt(self, trial, ctx, out).run(size, None)
            why = f"begun anew, as it would not go on from {latest.name}: {outcome.note}"
            outcome = replace(anew, note="; ".join(filter(None, (anew.note, why))))
        return outcome


class _Attempt:
    """One start of the trainer."""

    def __init__(self, proxy: CommandProxy, trial: Trial, ctx: Context, out: Path) -> None:
        self.proxy, self.trial, self.ctx, self.out = proxy, trial, ctx, out
        self.rank = int(os.environ.get("PLANNER_NODE_RANK", "0"))
        self.log = ctx.checkpoint_dir / (f"stderr-{self.rank}.log" if self.rank else "stderr.log")
        options = proxy.options
        book = ctx.checkpoint_dir / "reports.jsonl" if options.resume_argv else None
        step_tokens = options.step_tokens or trial.batch_tokens
        self.code: int | None = None
        self.heard = Heard(trial, ctx, options.names, step_tokens, book, options.lines)

    def run(self, size: Size, latest: Path | None) -> Outcome:
        """Start the trainer, from its ``latest`` state if there is one, and hear it to its end."""
        heard = self.heard
        if latest:
            heard.goes_on()
        try:
            self.code = self._listen(latest)
            if heard.diverged:
                note = f"the loss is not finite after {heard.tokens:.0f} tokens"
                return Outcome(Status.DIVERGED, math.nan, math.nan, int(heard.tokens), note)
            if self.code:
                raise TrialFailedError(f"the trainer {ended(self.code)}")
            if self.rank:
                return Outcome(Status.DONE, math.nan, math.nan, self.trial.tokens)
            heard.ends()
            return heard.outcome(size)
        except (BadReportError, NoSequencesError, TrialFailedError) as error:
            note = f"{error}{told_in(self.log, crashed=bool(self.code))}"
            return Outcome(Status.FAILED, math.nan, math.nan, int(heard.tokens), note)

    def _listen(self, latest: Path | None) -> int | None:
        """Run the command; return its exit code. Raises TrialFailedError if it cannot be run."""
        options, context = self.proxy.options, self.proxy.context
        words = trial_words(self.trial, context, self.proxy.used) | {
            "device": self.ctx.device,
            "latest": latest,
        }
        words |= {"checkpoint_dir": self.out, "out": self.out}
        if "port" in self.proxy.used:
            words["port"] = os.environ.get("MASTER_PORT") or free_port()
        argv, values = self.proxy.template.filled(words, options.resume_argv if latest else ())
        own = {name: fill(value, words) for name, value in options.env.items()}
        cwd = fill(options.cwd, words) or None
        pattern = Path(cwd or ".") / fill(options.reports, words, glob.escape)
        files = Files(str(pattern)) if options.reports else None
        self.log.touch()
        try:
            with running(argv, self.log, env=os.environ | own | values, cwd=cwd) as child:
                self._hear(child, files)
        except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
            raise TrialFailedError(not_started(argv[0], cwd, error)) from None
        finally:
            self._hide_secrets()
        return child.process.returncode

    def _hear(self, child: Child, files: Files | None) -> None:
        """Hear the trainer until it ends or its loss is not finite."""
        minutes, look = self.proxy.options.timeout_minutes, 0.0
        until = time.monotonic() + 60 * minutes if minutes else math.inf
        try:
            for lines in child.lines():
                for line in lines:
                    self.heard.line(line)
                if files and (began := time.monotonic()) >= look:
                    self._read(files)
                    look = time.monotonic() + (time.monotonic() - began) / READING_SHARE
                if self.heard.diverged:
                    return
                self.ctx.heed()
                if time.monotonic() > until:
                    raise TrialFailedError(f"the trainer was not done after {minutes:g} minutes")
        except Preempted:
            child.leaving = True
            raise
        if files:
            self._read(files, last=True)
            if not files.found():
                raise TrialFailedError(f"the trainer wrote no reports at {files.pattern}")

    def _read(self, files: Files, *, last: bool = False) -> None:
        for record in files.fresh(last=last):
            self.heard.record(record)

    def _hide_secrets(self) -> None:
        """Take out of the log what the trainer printed of its tokens: folders are published."""
        with self.log.open("rb") as stream:
            stream.seek(max(0, self.log.stat().st_size - LOG_BYTES))
            text = stream.read().decode("utf-8", "replace")
        known = {"argv": self.proxy.template.argv, "env": dict(self.proxy.options.env)}
        self.log.write_text(hide(text, secrets_of(known)), encoding="utf-8")
