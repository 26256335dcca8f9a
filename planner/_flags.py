"""Which flags of a trainer's command line mean what a trial sets, by the names people give them.

Only names that mean one thing in the trainers we know are here; everything else stays as it stands
and is said to. A flag is looked up by its last part: ``--train.max-tokens`` as ``max_tokens``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from planner.errors import UsageError
from planner.units import parse_count

MEANINGS: dict[str, str] = {
    "lr": "lr learning_rate peak_lr max_lr base_lr",
    "tokens": "tokens max_tokens num_tokens total_tokens train_tokens token_budget",
    "steps": "steps max_steps num_steps total_steps train_steps max_iters train_iters num_iters "
    "total_iters num_iterations iterations",
    "batch_tokens": "batch_tokens global_batch_tokens tokens_per_batch tokens_per_step",
    "batch_seqs": "batch_size global_batch_size train_batch_size",
    "micro": "micro_batch_size per_device_train_batch_size device_batch_size local_batch_size "
    "device_train_microbatch_size",
    "width": "width n_embd hidden_size d_model dim model_dim embed_dim embedding_dim n_embed",
    "depth": "depth n_layer n_layers num_layers num_hidden_layers layers",
    "context": "context block_size seq_len seq_length max_seq_len sequence_len sequence_length "
    "context_length max_seq_length",
    "seed": "seed random_seed",
    "warmup_tokens": "warmup_tokens",
    "warmup_steps": "warmup_steps lr_warmup_steps num_warmup_steps warmup_iters lr_warmup_iters",
    "decay_steps": "num_decay_steps cooldown_steps warmdown_steps",
    "decay_ratio": "decay_ratio cooldown_ratio warmdown_ratio",
    "weight_decay": "weight_decay wd",
    "beta1": "beta1 adam_beta1",
    "beta2": "beta2 adam_beta2",
    "clip": "clip grad_clip clip_grad max_grad_norm max_norm gradient_clip_val",
    "port": "master_port main_process_port rdzv_port",
    "out": "out out_dir output_dir save_dir checkpoint_dir run_dir",
}
"""Ours: theirs. ``micro`` is what one device takes at a time, which no trial sets."""

REMARKS: dict[str, str] = {
    "n_head num_heads n_heads num_attention_heads heads": "must divide every width of `sizes`",
    "intermediate_size ffn_hidden_size ffn_dim d_ff": "should grow with the width: give every "
    "entry of `sizes` its own, and write its name here in braces",
    "warmup_ratio": "cannot follow the warmup of a trial, which is {warmup_steps} steps or "
    "{warmup_tokens} tokens",
    "min_lr": "is absolute: trials at a lower peak learning rate end nearer to it",
    "epochs num_epochs num_train_epochs max_epochs": "must not end a trial before its tokens",
    "gradient_accumulation_steps grad_accum accumulate_grad_batches": "multiplies the batch: a "
    "trial's batch is batch_tokens in all",
    "lr_decay_steps lr_decay_iters": "is the end of the decay: most trainers want {steps} here",
}
"""Flags that stay, and what to think of."""

FLAG = r"--?[A-Za-z_][\w.-]*"
SHELL = re.compile(r"^(?:&&?|\|\|?|;|\d?[<>]+.*)$|\$\(|`|;$")

_OURS = {name: ours for ours, theirs in MEANINGS.items() for name in theirs.split()}
_REMARK = {name: text for names, text in REMARKS.items() for name in names.split()}
_NUMBERS = set(MEANINGS) - {"out"}


@dataclass(frozen=True)
class Flag:
    """A value on a command line: the words before it, its own, and what it means to us.

    ``ours`` is empty for what is not known; ``remark`` is what to think of then.
    """

    at: int
    name: str
    head: str
    value: str
    ours: str = ""
    remark: str = ""

    @property
    def number(self) -> float | None:
        """The value as a count such as 1e9 or 300M; None for words."""
        return _count(self.value)


def flags_of(words: Sequence[str]) -> list[Flag]:
    """Return every ``--flag value``, ``--flag=value`` and ``key=value`` of a command.

    Raises UsageError for what only a shell understands.
    """
    if shell := next((word for word in words if SHELL.search(word)), None):
        raise UsageError(
            f"{shell!r} is for a shell, and there is none: name one command. Where it must be, "
            "write the search space by hand, with `shell: true` beside argv"
        )
    return list(_flags(words))


def _flags(words: Sequence[str]) -> Iterator[Flag]:
    for at, (word, following) in enumerate(pairwise([*words, ""])):
        name, equals, value = word.partition("=")
        if equals and re.fullmatch(r"-{0,2}[A-Za-z_][\w.-]*", name):
            yield _known(at, name, f"{name}=", value)
        elif re.fullmatch(FLAG, word) and not re.match(r"--?[A-Za-z_]|$", following):
            yield _known(at + 1, word, "", following)


def _known(at: int, name: str, head: str, value: str) -> Flag:
    plain = name.lstrip("-").rpartition(".")[2].replace("-", "_").lower()
    ours, remark = _OURS.get(plain, ""), _REMARK.get(plain, "")
    if ours in _NUMBERS and _count(value) is None and "{" not in value:
        ours, remark = "", f"is no number, so it is not taken for {{{ours}}}"
    return Flag(at, name, head, value, ours, remark)


def _count(value: str) -> float | None:
    try:
        return float(parse_count(value))
    except UsageError:
        return None
