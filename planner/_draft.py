"""A search space drafted from a trainer's command line: what it says is kept, gaps are named.

Values of flags that a trial sets become placeholders; every guess stands in the file's head. What
cannot be known, above all the parameters of each size, is left as FILL_IN, which no sweep accepts.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from textwrap import wrap

from planner._flags import Flag, flags_of
from planner.errors import UsageError

FILL_IN = "FILL_IN"

ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)

WIDTHS = (1 / 8, 1 / 4, 1 / 2, 1)
"""Sizes drafted, as shares of the command's own width; ladders must reach downwards."""

LEAST_WIDTH = 16
UNKNOWN_BATCH, UNKNOWN_TOKENS = 8192.0, 1e9
"""What is drafted where the command does not say."""

COLUMNS = 116


@dataclass
class Draft:
    """A command with its placeholders, and what was thought about it."""

    words: list[str]
    env: dict[str, str] = field(default_factory=dict)
    taken: dict[str, Flag] = field(default_factory=dict)
    guesses: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def number(self, ours: str) -> float | None:
        """Return what the command itself says of one of our words."""
        return self.taken[ours].number if ours in self.taken else None


def drafted_space(command: str) -> str:
    """Return the YAML. Raises UsageError for what is no single command."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"the command cannot be split into words: {error}") from None
    draft = Draft(words)
    while draft.words and (first := ASSIGNMENT.fullmatch(draft.words[0])):
        draft.env[first[1]] = first[2]
        del draft.words[0]
    if not draft.words:
        raise UsageError("the command is empty: write what starts your trainer")
    _take(draft, flags_of(draft.words))
    _look_for_missing(draft)
    return "\n".join([*_head(draft), "", *_proxy(draft), "", *_sizes(draft), "", *_rest(draft), ""])


def _take(draft: Draft, flags: Sequence[Flag]) -> None:
    """Put placeholders in the place of known values."""
    known = {flag.ours for flag in flags}
    context = any(flag.ours == "context" and flag.number for flag in flags)
    for flag in flags:
        ours = flag.ours
        if ours == "micro":
            ours, flag = _micro(flag, known)
        if ours == "batch_seqs" and not context:
            draft.missing.append(
                f"{flag.name} counts sequences, and nothing says how long one is: put `context:` "
                "(tokens of a sequence) beside argv, then write {batch_seqs} there; or "
                "{batch_tokens} if it counts tokens"
            )
        elif ours and "{" not in flag.value:
            draft.words[flag.at] = f"{flag.head}{{{ours}}}"
            draft.taken[ours] = flag
            draft.guesses.append(f"{flag.name} {flag.value} -> {{{ours}}}")
        elif flag.remark:
            draft.remarks.append(f"{flag.name} {flag.value} stays; it {flag.remark}")


def _micro(flag: Flag, known: set[str]) -> tuple[str, Flag]:
    """Take what a device holds at a time for the batch where nothing else sets that."""
    if known & {"batch_seqs", "batch_tokens"}:
        remark = "must divide every batch, in sequences"
        return "", Flag(flag.at, flag.name, flag.head, flag.value, "", remark)
    return "batch_seqs", flag


NEEDED = (
    ("lr", "the peak learning rate", True),
    ("tokens steps", "how long it trains, in tokens or steps", True),
    ("batch_tokens batch_seqs", "the batch; without it every trial has the trainer's own", True),
    ("out", "the folder it writes to; two trials at once would share one", True),
    ("seed", "the seed; without it the noise cannot be measured", False),
    ("weight_decay", "weight decay, which trials scale with batch and lr", False),
    ("warmup_steps warmup_tokens", "the warmup", False),
    ("beta2", "AdamW's beta2", False),
)
"""(our words, what it is, whether the sweep is pointless without it)."""


def _look_for_missing(draft: Draft) -> None:
    text = " ".join([*draft.words, *draft.env.values()])
    for words, what, needed in NEEDED:
        names = [f"{{{word}}}" for word in words.split()]
        if not any(name in text for name in names):
            say = f"no flag was recognised for {what}: write {' or '.join(names)} in its place"
            if needed:
                draft.missing.append(say)
            else:
                draft.remarks.append(f"{say}, or the plan's advice on it is untested")


def _head(draft: Draft) -> Iterator[str]:
    yield "# Drafted from a command line by `planner init --from-command`. Look at every line once."
    yield "# All keys are explained in the starters `--proxy quickstart` and `--proxy command`."
    for title, lines in (
        ("Recognised, and replaced by what a trial sets:", draft.guesses),
        ("STILL TO DO:", [*draft.missing, *_always(draft)]),
        ("To think of:", draft.remarks),
    ):
        if lines:
            yield "#"
            yield f"# {title}"
            for line in lines:
                yield from wrap(line, COLUMNS, initial_indent="#   - ", subsequent_indent="#     ")


def _always(draft: Draft) -> Iterator[str]:
    yield f"params of every size, where it says {FILL_IN}: matrices only, without the embedding"
    yield (
        'its reports: it must print lines {"step": 8, "loss": 5.1} and at its end {"final_loss": '
        "3.2}, the validation loss; or say how its lines read with `lines:`; or name its log with "
        "`reports:` and its words with `map:`"
    )
    if not any(word in draft.taken for word in ("decay_steps", "decay_ratio")):
        yield (
            "its schedule: a trial wants linear warmup, constant, then a 1-sqrt cooldown to zero "
            "over the last {decay_ratio} of its steps ({decay_steps}); with another one the "
            "plan's schedule is not what was tried"
        )


def _proxy(draft: Draft) -> Iterator[str]:
    yield from ("seed: 0", "", "proxy:", "  name: command", "  options:")
    words = [_quoted(word) for word in draft.words]
    lines, line = [], "    argv: ["
    for word in words:
        if len(line) + len(word) > 108:
            lines.append(line.rstrip())
            line = " " * 11
        line += f"{word}, "
    yield from lines
    yield f"{line.rstrip(', ')}]"
    if context := draft.number("context"):
        yield f"    context: {context:.0f}"
    if draft.env:
        yield f"    env: {{{', '.join(f'{k}: {_quoted(v)}' for k, v in draft.env.items())}}}"
    yield '    # reports: "{out}/metrics.csv"        # .csv, .jsonl or a TensorBoard folder'
    yield '    # lines: ["iter {step}: loss {loss}", "val loss {final_loss}"]  # of plain text'
    yield "    # map: {total_tokens: tokens, val_loss: final_loss}   # their name: ours"
    yield "    # resume_argv: [--resume, auto]      # words that let it go on from what {out} holds"
    yield "    # timeout_minutes: 60                # a trial that takes longer has failed"
    yield "    version: 1"


def _sizes(draft: Draft) -> Iterator[str]:
    width, depth = draft.number("width"), draft.number("depth")
    yield "sizes:"
    if width is None:
        axes = f", depth: {depth:.0f}" if depth else ""
        yield f"  - {{params: {FILL_IN}{axes}}}"
        yield "  # nothing in the command sets a width: add a key for whatever makes your model"
        yield "  # larger, write it in braces in argv, and list at least four sizes"
        return
    shares = (max(1, round(width * share / LEAST_WIDTH)) * LEAST_WIDTH for share in WIDTHS)
    for own in dict.fromkeys(shares):
        about = 12 * (depth or 1) * own**2
        axes = f"width: {own}" + (f", depth: {depth:.0f}" if depth else "")
        times = "" if depth else " x layers"
        guess = f"a plain transformer: {about:.3g}{times} + vocab x {own}"
        yield f"  - {{params: {FILL_IN}, {axes}}}  # {guess}"


def _rest(draft: Draft) -> Iterator[str]:
    lr, tokens, batch = draft.number("lr") or 3e-3, _tokens(draft), _batch(draft)
    yield f"lr: {{log: [{lr / 4:.4g}, {lr * 4:.4g}], factor: 2}}  # x4 to both sides of yours"
    batch = batch or UNKNOWN_BATCH
    context = draft.number("context") or 1
    low = max(context, batch / 4)
    yield f"batch_tokens: {{log: [{low:.0f}, {max(batch * 4, 4 * low):.0f}], factor: 4}}"
    horizons = ", ".join(f"{(tokens or UNKNOWN_TOKENS) / part:.4g}" for part in (16, 8, 4))
    yours = f"your command trains {tokens:.4g}" if tokens else "a guess: no flag says how many"
    yield f"horizons: {{tokens_per_run: [{horizons}], forks: false}}  # tokens of a run; {yours}"
    yield "stages: {finder: off, seeds: 3, lr_batch: on, confirm: on, warmup: on, ladder: on,"
    yield "         held_out: {compute: 2x, sizes: 3}}"
    yield "budget: {flops: 1e17}  # set it by what `planner sweep FILE --dry-run` says"
    yield "# target: {gpus: 8, gpu: h100, days: 1, mfu: 0.4}"
    yield "executor: {name: local, workers: 1}"


def _batch(draft: Draft) -> float | None:
    """Return the tokens of a step of the command, where it says so."""
    if seqs := draft.number("batch_seqs"):
        return seqs * (draft.number("context") or 1)
    return draft.number("batch_tokens")


def _tokens(draft: Draft) -> float | None:
    """Return the tokens the command trains, where it says so."""
    steps, batch = draft.number("steps"), _batch(draft)
    return steps * batch if steps and batch else draft.number("tokens")


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "''") + "'"
