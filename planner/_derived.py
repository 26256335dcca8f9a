"""Files of a study that follow from its log or stand beside it: runs.jsonl and the curves."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

from planner._log import encode_line, replace_file
from planner.run import Run


def restore_table(path: Path, runs: Collection[Run]) -> None:
    """Write runs.jsonl anew unless it is, line by line, what the log says."""
    if path.exists():
        with path.open("rb") as table:
            if all(a == b for a, b in zip_longest(_lines(runs), table)):
                return
    replace_file(path, _lines(runs))


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
