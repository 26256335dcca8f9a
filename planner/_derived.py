"""What follows from a study's log or stands beside it: its hash, runs.jsonl and the curves."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import Any

from planner._log import encode_line, replace_file
from planner.errors import LedgerError
from planner.run import Round, Run, canonical


def study_hash(rounds: Sequence[Round], runs: Mapping[str, Run]) -> str:
    """Hash the rounds of a study, and what each recorded run found.

    That is its trial, size, status, loss, loss_se and tokens. It is the ``content_hash`` of
    ``{"rounds": [...], "runs": {key: [...]}}``, told trial by trial: as one text, what 100,000 runs
    found takes more memory than all else the driver holds.
    """
    digest = hashlib.sha256()
    for part in _what_counts(rounds, runs):
        digest.update(part.encode())
    return digest.hexdigest()[:16]


def _what_counts(rounds: Sequence[Round], runs: Mapping[str, Run]) -> Iterator[str]:
    """Return the canonical JSON of what the hash of a study covers, in parts."""
    yield '{"rounds":['
    for place, entry in enumerate(rounds):
        number, stage, why = map(canonical, (entry.number, entry.stage, entry.why))
        yield f'{"," * (place > 0)}{{"number":{number},"stage":{stage},"trials":['
        for nth, trial in enumerate(entry.trials):
            yield "," * (nth > 0) + canonical(trial.to_json())
        yield f'],"why":{why}}}'
    yield '],"runs":{'
    for place, key in enumerate(sorted(runs)):
        run = runs[key]
        found = [run.status, run.loss, run.loss_se, run.tokens]
        told = canonical([run.trial.to_json(), asdict(run.size), *found])
        yield f"{',' * (place > 0)}{canonical(key)}:{told}"
    yield "}}"


def restore_table(path: Path, runs: Collection[Run]) -> None:
    """Write runs.jsonl anew unless it is, line by line, what the log says."""
    if path.exists():
        with path.open("rb") as table:
            if all(a == b for a, b in zip_longest(_lines(runs), table)):
                return
    replace_file(path, _lines(runs))


def noted_standings(folder: Path) -> dict[int, dict[str, Any]]:
    """Read progress.jsonl: what each round left in doubt. A line that cannot be read is nothing.

    Nothing is decided by it, so damage costs a cell of a table and no more.
    """
    path, found = folder / "progress.jsonl", {}
    for line in path.read_text(errors="replace").splitlines() if path.is_file() else ():
        with suppress(ValueError, TypeError, KeyError):
            told = json.loads(line)
            told["regret_nats"] = float(told["regret_nats"])
            if told["loss"]:
                told["loss"] |= {end: float(told["loss"][end]) for end in ("low", "high")}
            found[int(told["round"])] = told
    return found


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a JSON object that was written beside the log. Raises LedgerError when it is damaged."""
    try:
        told = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise LedgerError(
            f"{path} cannot be read ({error}): remove it, or put it back from a copy; running the "
            "sweep again writes it anew"
        ) from None
    return told if isinstance(told, dict) else {}


def curve_file(curve: Mapping[str, Sequence[float]]) -> bytes:
    """Return a curve as Parquet, one float column per name."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({name: pa.array(list(curve[name]), pa.float64()) for name in curve})
    content = io.BytesIO()
    pq.write_table(table, content)
    return content.getvalue()


def _lines(runs: Collection[Run]) -> Iterator[bytes]:
    return (encode_line(run.to_json()).encode() for run in runs)
