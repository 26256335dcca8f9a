"""Bad ledgers, study folders, search spaces and checkpoints: an error in a sentence, or a repair.

Every case damages something that was good, in a way drawn from its seed, and looks at what the
planner makes of it. A case passes when the answer is an error of the tree in planner/errors.py, a
repair (the state of an earlier moment, bit for bit), or an answer that is not wrong. A traceback,
a changed loss that nobody noticed, code that ran, and a minute of silence fail it.

Run it with ``python -m tests.benchmarks.fuzz [CASES] [FAMILY]`` (``make fuzz``); a failing case
prints the seed that makes it again.
"""

from __future__ import annotations

import io
import random
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

from planner.errors import PlannerError
from tests.benchmarks.fuzz_checkpoints import checkpoint_case
from tests.benchmarks.fuzz_spaces import space_bytes_case, space_values_case
from tests.benchmarks.fuzz_studies import Sample, folder_case, log_bytes_case, log_values_case

CASES = 12_000
SECONDS = 60
"""A case that takes longer hangs."""

Case = Callable[[random.Random, Path], str]
"""Damages something in an empty folder and returns what became of it; AssertionError if wrong."""


def families(sample: Sample) -> dict[str, tuple[Case, float]]:
    """Return each family of cases with its share of them."""
    return {
        "log, bytes": (lambda draw, folder: log_bytes_case(sample, draw, folder), 0.35),
        "log, values": (lambda draw, folder: log_values_case(sample, draw, folder), 0.1),
        "study folder": (lambda draw, folder: folder_case(sample, draw, folder), 0.03),
        "YAML, bytes": (space_bytes_case, 0.2),
        "YAML, values": (space_values_case, 0.22),
        "checkpoint": (checkpoint_case, 0.1),
    }


def judge(case: Case, seed: int) -> tuple[str, str]:
    """Run one case; return what became of it, and what is wrong with that (or nothing)."""
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch warns of odd pickles before it refuses them
                return case(draw, Path(folder)), ""
        except PlannerError as error:
            said = str(error)
            return "refused", "" if len(said.split()) > 3 else f"says only {said!r}"
        except BaseException:
            return "failed", traceback.format_exc()


def _hangs(*_: object) -> None:
    raise TimeoutError(f"silent for {SECONDS} s")


def main() -> None:
    cases = int(sys.argv[1]) if len(sys.argv) > 1 else CASES
    only = sys.argv[2] if len(sys.argv) > 2 else ""
    signal.signal(signal.SIGALRM, _hangs)
    failures: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for family, (case, share) in families(Sample.make(Path(folder))).items():
            if only not in family:
                continue
            found, began = Counter[str](), time.process_time()
            for seed in range(round(cases * share)):
                signal.alarm(SECONDS)
                outcome, problem = judge(case, seed)
                signal.alarm(0)
                found[outcome] += 1
                if problem:
                    failures[problem.strip().splitlines()[-1][:100]] += 1
                    print(f"{family}, seed {seed}:\n{problem}")
            told = ", ".join(f"{count} {outcome}" for outcome, count in found.most_common())
            print(
                f"{family:14s} {found.total():6d} cases: {told} "
                f"({time.process_time() - began:.0f} s CPU)"
            )
    for problem, count in failures.most_common():
        print(f"{count:6d} x {problem}")
    print(f"{sum(failures.values())} failures")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
