"""What other people call our columns, and which of those names may be taken without asking.

A foreign name is compared in one spelling: ``Training FLOP`` is ``training_flop`` and
``optimizer.learningRate`` is ``learning_rate`` inside a container. A container says where a value
comes from: what was *set* (config, params, optimizer ...) or what was *measured* (summary, metrics,
throughput ...). A learning rate that was measured is that of the last step, and a loss that was set
is the name of one, so neither is ever taken. ``SURE`` names mean one thing everywhere; ``MAYBE``
names are only suggested.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

N_COLUMNS = ("params_matmul", "params_non_embedding", "params_total", "params")
NEEDED = (*N_COLUMNS, "tokens", "flops", "loss")
STRICT = (*NEEDED, "lr", "batch_tokens", "batch_seqs", "seq_len")
"""Two foreign columns that disagree on one of these are never chosen between."""
NUMBERS = (
    *NEEDED,
    *("unique_tokens", "epochs", "loss_se", "lr", "batch_tokens", "batch_seqs", "seq_len"),
    *("warmup_tokens", "decay_ratio", "final_lr_ratio", "weight_decay", "beta2", "width"),
    *("depth", "heads", "vocab", "context", "seed", "seconds"),
    *("steps", "planned_steps", "warmup_steps"),
)
ORDER = (
    *("key", "run", "study", "stage", "status"),
    *NEEDED,
    *("n_convention", "flops_convention", "unique_tokens", "epochs", "loss_se", "lr"),
    *("batch_tokens", "batch_seqs", "seq_len", "steps", "planned_steps", "warmup_tokens"),
    *("warmup_steps", "schedule", "decay_ratio", "final_lr_ratio", "weight_decay", "beta2"),
    *("width", "depth", "heads", "vocab", "context", "seed", "parent", "seconds", "device"),
    *("proxy", "data_hash", "git_sha"),
)
"""Every column a table may hold (contracts.md section 5), as written tables order them."""
KNOWN = frozenset(ORDER)

SURE: Mapping[str, tuple[str, ...]] = {
    "params": (
        *("n_params", "num_params", "n_parameters", "num_parameters", "parameter_count"),
        *("param_count", "params_count", "parameters", "model_size", "model_params"),
    ),
    "params_non_embedding": (
        *("non_embedding_params", "n_params_non_embedding", "num_non_embedding_params"),
        *("params_no_embed", "non_embedding_param_size", "num_params_non_embedding"),
        *("non_embedding_parameters", "num_parameters_non_embedding", "params_nonemb"),
    ),
    "params_total": ("total_params", "total_parameters", "num_total_params"),
    "tokens": (
        *("tokens_seen", "n_tokens_seen", "num_tokens_seen", "total_tokens_seen"),
        *("n_tokens", "num_tokens", "total_tokens", "train_tokens", "training_tokens"),
        *("consumed_tokens", "tokens_consumed", "trained_tokens", "tokens_processed"),
        *("num_input_tokens_seen", "train/tokens", "train/tokens_seen", "train/total_tokens"),
        *("train/n_tokens", "train/num_tokens", "train/consumed_tokens"),
    ),
    "flops": (
        *("total_flops", "train_flops", "training_flop", "training_flops", "total_flos"),
        *("total_training_flops", "train/flops", "train/total_flops"),
    ),
    "loss": (
        *("val_loss", "valid_loss", "validation_loss", "eval_loss", "val/loss", "valid/loss"),
        *("validation/loss", "eval/loss", "loss/val", "loss/validation", "loss/eval"),
        *("val/lm_loss", "eval/lm_loss", "final_val_loss", "final_eval_loss"),
        *("val_ce_loss", "val/ce_loss", "val/cross_entropy", "eval/cross_entropy"),
    ),
    "loss_se": ("val_loss_se", "val_loss_stderr", "eval_loss_stderr", "loss_stderr", "loss_sem"),
    "lr": ("learning_rate", "max_lr", "peak_lr", "lr_peak", "max_learning_rate", "base_lr"),
    "batch_tokens": (
        *("tokens_per_batch", "tokens_per_step", "tokens_per_iter", "global_batch_tokens"),
        *("batch_size_tokens", "batch_size_in_tokens", "total_batch_size_tokens"),
    ),
    "batch_seqs": ("global_batch_size", "global_bs", "batch_size_seqs", "global_train_batch_size"),
    "seq_len": (
        *("sequence_length", "seq_length", "max_seq_len", "max_seq_length", "max_sequence_length"),
        *("context_length", "block_size", "n_ctx", "train_seq_len", "seqlen"),
    ),
    "steps": (
        *("global_step", "train/global_step", "optimizer_steps", "update_step", "step"),
        *("iteration", "iter", "iterations", "n_steps", "num_steps"),
    ),
    "planned_steps": (
        *("max_steps", "num_train_steps", "total_steps", "train_steps", "max_train_steps"),
        *("max_iters", "train_iters", "num_iterations", "training_steps"),
    ),
    "warmup_steps": ("num_warmup_steps", "lr_warmup_steps", "warmup_iters", "lr_warmup_iters"),
    "weight_decay": ("wd",),
    "beta2": ("adam_beta2", "beta_2", "b2"),
    "width": ("d_model", "hidden_size", "hidden_dim", "n_embd", "model_dim", "d_embd"),
    "depth": ("n_layer", "n_layers", "num_layers", "num_hidden_layers", "layers"),
    "heads": ("n_head", "n_heads", "num_heads", "num_attention_heads"),
    "vocab": ("vocab_size", "n_vocab"),
    "context": (),
    "seed": ("random_seed", "rng_seed"),
    "epochs": ("num_epochs", "num_train_epochs", "n_epochs", "max_epochs"),
    "unique_tokens": ("n_unique_tokens", "num_unique_tokens", "tokens_unique"),
    "schedule": ("lr_scheduler_type", "lr_scheduler", "lr_schedule", "lr_decay_style"),
    "final_lr_ratio": ("min_lr_ratio", "lr_min_frac", "final_lr_frac"),
    "decay_ratio": ("cooldown_ratio", "warmdown_ratio", "cooldown_frac", "decay_frac"),
    "seconds": ("_runtime", "runtime", "time_total_s", "train_runtime"),
    "device": ("gpu_type", "gpu_name", "gpu"),
    "git_sha": ("git_commit", "commit_sha", "git_hash", "mlflow/source/git/commit"),
    "status": ("state", "run_status", "run_state"),
    "run": ("run_id", "runid", "trial_id", "id"),
    "key": ("name", "run_name", "display_name", "trial_name", "mlflow/run_name", "exp_name"),
}
"""Names that mean one thing everywhere; each is taken, and a note says so."""
FACTORS: Mapping[str, tuple[str, float]] = {
    "total_gflops": ("flops", 1e9),
    "total_tflops": ("flops", 1e12),
    "total_pflops": ("flops", 1e15),
}
MAYBE: Mapping[str, tuple[str, ...]] = {
    "params": ("n", "size", "model", "non_vocab_parameters"),
    "tokens": ("d", "data_size", "dataset_size", "train_size", "num_samples", "samples"),
    "flops": ("c", "compute", "flop", "budget"),
    "loss": ("final_loss", "smooth_loss", "lm_loss", "test_loss", "train_loss", "train/loss"),
}
"""Names that mean different things in different places: suggested, never taken."""

SET = frozenset(
    {"config", "cfg", "params", "param", "hparams", "hparam", "hyperparameters", "hyperparams"}
    | {"args", "training_args", "model", "optimizer", "optim", "trainer", "tags", "data"}
)
MEASURED = frozenset({"summary", "metrics", "metric", "throughput", "perf"})
OUTCOMES = frozenset({"loss", "loss_se", "tokens", "flops", "steps", "seconds"})
"""Ours that are measured rather than set."""
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z][a-z])")
_UNITS = ((re.compile(r"million|(?<![a-z])m$"), "1e6"), (re.compile(r"billion|_b$"), "1e9"))


@lru_cache(maxsize=4096)
def spelled(name: str) -> tuple[str, str]:
    """Return a name in the common spelling without its containers, and "set"/"measured"/""."""
    parts = [
        re.sub(r"[\s\-]+", "_", part).lower()
        for part in re.split(r"[./:|]+", _CAMEL.sub("_", name.strip()))
        if part.strip()
    ]
    origin = ""
    while len(parts) > 1 and parts[0] in SET | MEASURED:
        origin = "measured" if parts[0] in MEASURED or origin == "measured" else "set"
        parts = parts[1:]
    return "/".join(parts), origin


_MEANING = {alias: ours for ours, aliases in SURE.items() for alias in (ours, *aliases)} | {
    alias: ours for alias, (ours, _) in FACTORS.items()
}
_RANK = {alias: rank for aliases in SURE.values() for rank, alias in enumerate(aliases, start=1)}


def meaning(name: str) -> str:
    """Return which column of ours a foreign name surely means, "" when none."""
    common, origin = spelled(name)
    ours = _MEANING.get(common, common if common in KNOWN else "")
    if ours == "loss" and (origin == "set" or (origin and common == "loss")):
        return ""
    if origin == "measured" and ours not in OUTCOMES | {*N_COLUMNS, "epochs"}:
        return ""
    return ours


def rank(name: str) -> tuple[bool, int]:
    """Return the order among names of one meaning: measured before planned, then as listed."""
    common, origin = spelled(name)
    return origin == "set" and meaning(name) in OUTCOMES, _RANK.get(common, 0)


def factor_of(name: str) -> float:
    """Return what a foreign column is multiplied with to be in our unit."""
    return FACTORS.get(spelled(name)[0], ("", 1.0))[1]


def nearest(name: str, names: Iterable[object]) -> str:
    """Say which names come nearest, or what there is."""
    lower = {str(known).lower(): str(known) for known in names}
    close = difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.5)
    shown = [lower[c] for c in close] or list(lower.values())[:12]
    return f"; {'nearest' if close else 'there are'}: {', '.join(shown)}"


def suggestion(lacking: Iterable[str], columns: Iterable[object]) -> str:
    """Say which --map would supply columns of ours, or which columns there are."""
    names = [str(column) for column in columns]
    hints = [hint for ours in lacking if (hint := _hint(ours, names))]
    return "; ".join(["", *hints]) if hints else f"; there are: {', '.join(names[:20])}"


def _hint(ours: str, names: list[str]) -> str:
    maybe = [*SURE.get(ours, ()), *MAYBE.get(ours, ())]
    found = [name for name in names if spelled(name)[0] in maybe]
    found += [name for name in names if ours in spelled(name)[0] and name not in found]
    if not found:
        return ""
    first = f"add --map '{found[0]}{_unit(found[0])}={ours}'"
    if len(found) == 1:
        return f"if `{found[0]}` is it, {first}"
    return f"if it is one of {', '.join(f'`{name}`' for name in found[:9])}, say which: {first}"


def _unit(name: str) -> str:
    """Return the factor a name spells out: params_millions holds 1e6 in each of its ones."""
    return next((f"*{factor}" for unit, factor in _UNITS if unit.search(name.lower())), "")
