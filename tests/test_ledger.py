"""The log of a study: round trips, crashes, damage, locks, a full disk, spend and fencing."""

import errno
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner._log import SEAL_BYTES, seal
from planner._spend import Held
from planner.errors import LedgerError, StudyLockedError
from planner.ledger import Ledger
from planner.run import Round, Run, Status, Trial, content_hash
from planner.shape import size_from_mapping

SIZE = size_from_mapping({"params": 10})
COST = 60.0 * 1000
HOLDER = """
import sys, time
from planner.ledger import Ledger
with Ledger.open(sys.argv[1]):
    print("locked", flush=True)
    time.sleep(600)
"""

CRAMPED = """
import resource, sys
from planner.errors import LedgerError
from planner.ledger import Ledger
ledger = Ledger.open(sys.argv[1])
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    ledger.predicted({"note": "x" * 10_000})
except LedgerError as error:
    print(error)
"""


def trial(seed=0, stage="seeds", **more):
    return Trial(stage, {"params": 10}, 1000, 10, 0.1, 100, seed=seed, **more)


def run(of, attempt=1, loss=3.0, **more):
    status = Status.DONE if math.isfinite(loss) else Status.DIVERGED
    return Run(of, of.key({}), status, loss, 0.01, SIZE, 1000, COST, attempt=attempt, **more)


def start(ledger, of, attempt=1):
    ledger.started(of.key({}), attempt, "here", of, SIZE)


def state(ledger):
    """Everything a ledger knows; nan equals nan in its text."""
    known = (ledger.rounds, ledger.runs, ledger.prediction, ledger.spent_flops, ledger.hash())
    return repr(known)


@pytest.fixture
def study(tmp_path):
    return tmp_path / "study"


@pytest.fixture
def finished(study):
    """Return the folder of a study with a round of two trials, both recorded."""
    trials = (trial(0), trial(1))
    with Ledger.open(study) as ledger:
        ledger.decided(Round(1, "seeds", trials, "how noisy is it"), "1")
        for each in trials:
            start(ledger, each)
            ledger.progress(each.key({}), 1, 500)
            ledger.ended(run(each))
    return study


def test_a_study_reads_back_as_it_was(finished):
    with Ledger.open(finished) as ledger:
        assert [run.loss for run in ledger.runs.values()] == [3.0, 3.0]
        assert [r.why for r in ledger.rounds] == ["how noisy is it"]
        assert ledger.attempts(trial(0).key({})) == 1
        assert ledger.attempts("never seen") == 0
        assert ledger.repaired == ""
        assert state(ledger) == state(Ledger.read(finished))


numbers = st.floats(allow_nan=True, allow_infinity=True)
trials = st.builds(trial, st.integers(0, 3), st.sampled_from(["seeds", "ladder"]))
facts = st.tuples(
    st.sampled_from(["decided", "started", "progress", "ended", "lost", "predicted"]),
    trials,
    st.integers(1, 3),
    numbers,
    st.text(max_size=20),
)


def tell(ledger, fact):
    """Tell the ledger a fact, if it can be one by now."""
    kind, of, attempt, number, text = fact
    key = of.key({})
    begun = attempt <= ledger.attempts(key)
    match kind:
        case "decided":
            ledger.decided(Round(len(ledger.rounds) + 1, of.stage, (of,), text), text)
        case "started":
            start(ledger, of, ledger.attempts(key) + 1)
        case "progress" if begun:
            ledger.progress(key, attempt, attempt * 250)
        case "lost" if begun:
            ledger.lost(key, attempt, text)
        case "ended" if begun:
            ledger.ended(run(of, attempt, number, note=text, metrics={text: number}))
        case "predicted":
            ledger.predicted({text: [attempt, text]})


def refuse(constant):
    raise AssertionError(f"{constant} is not JSON")


@settings(max_examples=40, deadline=None)
@given(st.lists(facts, max_size=25))
def test_whatever_is_told_reads_back_and_is_valid_json(told):
    with tempfile.TemporaryDirectory() as folder, Ledger.open(Path(folder)) as ledger:
        for fact in told:
            tell(ledger, fact)
        again = Ledger.read(Path(folder))
        assert repr((ledger.runs, ledger.rounds)) == repr((again.runs, again.rounds))
        assert (ledger.prediction, ledger.hash()) == (again.prediction, again.hash())
        assert ledger.spent_flops <= again.spent_flops
        for name in ("events.jsonl", "runs.jsonl"):
            for line in (Path(folder) / name).read_text().splitlines():
                json.loads(line, parse_constant=refuse)


@settings(max_examples=25, deadline=None)
@given(st.floats(0, 1))
def test_a_last_line_cut_anywhere_is_repaired_and_the_sweep_goes_on(share):
    with tempfile.TemporaryDirectory() as folder:
        with Ledger.open(Path(folder)) as ledger:
            ledger.decided(Round(1, "seeds", (trial(),), "why"), "1")
            start(ledger, trial())
        before = state(Ledger.read(Path(folder)))
        log = Path(folder) / "events.jsonl"
        whole = log.stat().st_size
        with Ledger.open(Path(folder)) as ledger:
            ledger.ended(run(trial()))
        left = whole + 1 + round(share * (log.stat().st_size - whole - 2))
        os.truncate(log, left)
        assert "cut" in Ledger.read(Path(folder)).repaired
        with Ledger.open(Path(folder)) as ledger:
            assert "line 4 was cut by a crash" in ledger.repaired
            assert state(ledger) == before
            assert (Path(folder) / "runs.jsonl").read_text() == ""
            assert ledger.ended(run(trial()))
        assert (Path(folder) / "events.cut").stat().st_size == left - whole + 1
        assert Ledger.read(Path(folder)).repaired == ""


def test_a_log_whose_very_first_line_was_cut_begins_again(study):
    Ledger.open(study).close()
    os.truncate(study / "events.jsonl", 5)
    with Ledger.open(study) as ledger:
        assert ledger.repaired
        ledger.decided(Round(1, "seeds", (trial(),), "why"), "1")
    assert len(Ledger.read(study).rounds) == 1


def garble(line):
    return line[: len(line) // 2]


def resealed(line, old, new):
    """Return a line that says something else, under a checksum that holds."""
    body = line[:-SEAL_BYTES].replace(old, new)
    return seal(body + "}").rstrip("\n")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (garble, "it is not JSON"),
        (lambda line: "", "it is not JSON"),
        (lambda line: "[1, 2]", "it is not an event"),
        (lambda line: line.replace('"n":3', '"n":4'), "numbered 4"),
        (lambda line: line.replace('"tokens":1000', '"tokens":1001'), "checksum"),
        (lambda line: line[:-SEAL_BYTES] + "}", "it carries no checksum"),
        (lambda line: resealed(line, "started", "stirred"), "there is no event 'stirred'"),
        (lambda line: resealed(line, '"fork_at"', '"spoon_at"'), "started event cannot be read"),
        (lambda line: resealed(line, '"attempt":1', '"attempt":"1"'), "`attempt` is '1', no int"),
        (lambda line: resealed(line, '"tokens":1000', '"tokens":1e999'), "event cannot be read"),
        (lambda line: resealed(line, "1000", "NaN"), "it is not JSON"),
        (lambda line: "[" * 100_000, "it is not JSON"),
    ],
)
def test_any_other_damage_is_refused_with_file_and_line(finished, damage, says):
    log = finished / "events.jsonl"
    lines = log.read_text().split("\n")
    lines[2] = damage(lines[2])
    log.write_text("\n".join(lines))
    for look in (Ledger.open, Ledger.read):
        with pytest.raises(LedgerError, match=r"events\.jsonl, line 3 is damaged") as error:
            look(finished)
        assert says in str(error.value)
    assert log.read_text() == "\n".join(lines)


def test_a_log_of_an_older_planner_without_checksums_reads_and_goes_on(finished):
    log = finished / "events.jsonl"
    before = state(Ledger.read(finished))
    lines = log.read_text().splitlines()
    log.write_text("".join(line[:-SEAL_BYTES] + "}\n" for line in lines))
    with Ledger.open(finished) as ledger:
        assert state(ledger) == before
        ledger.predicted({})
    assert Ledger.read(finished).prediction == {}


def test_a_missing_line_is_damage(finished):
    log = finished / "events.jsonl"
    lines = log.read_text().split("\n")
    log.write_text("\n".join(lines[:3] + lines[4:]))
    with pytest.raises(LedgerError, match=r"line 4 .* lines are missing"):
        Ledger.open(finished)


def test_a_newer_format_is_refused(study):
    Ledger.open(study).close()
    log = study / "events.jsonl"
    text = log.read_text().rstrip("\n")
    log.write_text(resealed(text, '"schema_version":1', '"schema_version":2') + "\n")
    with pytest.raises(LedgerError, match=r"newer planner .*update planner"):
        Ledger.open(study)


def test_a_folder_that_is_no_study_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(LedgerError, match="not a study"):
        Ledger.open(tmp_path)
    with pytest.raises(LedgerError, match=r"no events\.jsonl"):
        Ledger.read(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "study").touch()
    with pytest.raises(LedgerError, match="cannot be written"):
        Ledger.open(tmp_path / "study")


def test_reading_neither_locks_nor_writes(finished):
    with Ledger.open(finished):
        before = {path: path.read_bytes() for path in finished.iterdir()}
        with pytest.raises(LedgerError, match="reading only"):
            Ledger.read(finished).lost(trial().key({}), 1, "")
        assert before == {path: path.read_bytes() for path in finished.iterdir()}


def test_the_runs_table_follows_the_log(finished):
    table = finished / "runs.jsonl"
    right = table.read_text()
    assert [json.loads(line)["loss"] for line in right.splitlines()] == [3.0, 3.0]
    table.write_text(right[:-20])
    Ledger.open(finished).close()
    assert table.read_text() == right


def hold(study):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(study)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "locked\n"
    return holder


def test_a_second_sweep_is_refused_until_the_first_is_gone_even_by_kill(study):
    with hold(study) as holder:
        with pytest.raises(StudyLockedError, match=f"pid {holder.pid} "):
            Ledger.open(study)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        Ledger.open(study).close()


def test_a_damaged_study_is_not_left_locked(finished):
    (finished / "events.jsonl").write_text("nonsense\n")
    for _ in range(2):
        with pytest.raises(LedgerError, match="line 1"):
            Ledger.open(finished)


def test_an_attempt_killed_in_the_middle_is_paid_to_its_next_progress(study):
    with Ledger.open(study) as ledger:
        start(ledger, trial())
        ledger.progress(trial().key({}), 1, 300)
        assert ledger.spent_flops == 0
    with Ledger.open(study) as ledger:
        assert ledger.spent_flops == pytest.approx(0.4 * COST)
        start(ledger, trial(), 2)
        ledger.ended(run(trial(), 2))
        assert ledger.spent_flops == pytest.approx(1.4 * COST)
        assert ledger.runs[trial().key({})].spent_flops == pytest.approx(1.4 * COST)


def test_a_lost_fork_is_paid_for_its_branch_and_never_more(study):
    fork = trial(parent="trunk", fork_at=800)
    with Ledger.open(study) as ledger:
        start(ledger, fork)
        ledger.progress(fork.key({}), 1, 995)
        ledger.lost(fork.key({}), 1, "killed")
        assert ledger.spent_flops == pytest.approx(0.2 * COST)


def test_only_every_tenth_of_a_trial_is_stored(study):
    with Ledger.open(study) as ledger:
        start(ledger, trial())
        for tokens in range(0, 1001, 5):
            ledger.progress(trial().key({}), 1, tokens)
    lines = (study / "events.jsonl").read_text().splitlines()
    stored = [event["tokens"] for line in lines if "tokens" in (event := json.loads(line))]
    assert stored == [1000] + [100 * k for k in range(1, 11)]


def test_giving_a_trial_up_keeps_what_its_lost_attempts_cost(study):
    with Ledger.open(study) as ledger:
        start(ledger, trial())
        ledger.progress(trial().key({}), 1, 500)
        ledger.lost(trial().key({}), 1, "killed")
        ledger.ended(replace(run(trial()), status=Status.FAILED, spent_flops=0.0))
        assert ledger.spent_flops == pytest.approx(0.6 * COST)


def test_a_late_result_of_an_older_attempt_is_discarded_but_paid(study):
    with Ledger.open(study) as ledger:
        start(ledger, trial(), 1)
        start(ledger, trial(), 2)
        assert not ledger.ended(run(trial(), 1, loss=9.0))
        assert not ledger.runs
        assert ledger.ended(run(trial(), 2))
        assert not ledger.ended(run(trial(), 1, loss=9.0))
        (recorded,) = ledger.runs.values()
        assert (recorded.loss, recorded.attempt) == (3.0, 2)
        assert ledger.spent_flops == 2 * COST
        assert state(Ledger.read(study)) == state(ledger)


def study_hash(folder, *runs, host="a"):
    trials = tuple(trial(seed) for seed in range(2))
    with Ledger.open(folder) as ledger:
        ledger.decided(Round(1, "seeds", trials, "why"), "1")
        for each in runs:
            ledger.started(each.key, each.attempt, host, each.trial, SIZE)
            ledger.ended(each)
        return ledger.hash()


def test_the_hash_knows_results_and_not_circumstances(tmp_path):
    here = study_hash(tmp_path / "1", run(trial(0)), run(trial(1)))
    slow = {"seconds": 9.0, "device": "cuda:0", "metrics": {"tokens_per_s": 2.0}}
    there = study_hash(tmp_path / "2", run(trial(1), 2, **slow), run(trial(0)), host="b")
    assert here == there
    assert here != study_hash(tmp_path / "3", run(trial(0)), run(trial(1), loss=3.1))
    assert here != study_hash(tmp_path / "4", run(trial(0)))


def test_the_hash_told_trial_by_trial_is_the_one_of_the_whole(study):
    with Ledger.open(study) as ledger:
        assert ledger.hash() == content_hash({"rounds": [], "runs": {}})
        for number, why in enumerate(("plain", 'a "word", \u00e9 {and} \\'), start=1):
            ledger.decided(Round(number, "seeds", (trial(0), trial(number)), why), "1")
        for each in (run(trial(0)), run(trial(2), loss=math.nan), run(trial(1), note="a note")):
            start(ledger, each.trial)
            ledger.ended(each)
        found = {
            key: [one.trial.to_json(), asdict(SIZE), one.status, one.loss, one.loss_se, one.tokens]
            for key, one in ledger.runs.items()
        }
        rounds = [entry.to_json() for entry in ledger.rounds]
        assert ledger.hash() == content_hash({"rounds": rounds, "runs": found})


def test_the_hash_of_the_kept_example_is_the_one_in_its_plan():
    example = Path(__file__).parent.parent / "results" / "example"
    plan = json.loads((example / "plan.json").read_text())["provenance"]
    assert Ledger.read(example).hash() == plan["ledger_hash"]


def test_a_run_two_stages_asked_for_belongs_to_both(study):
    shared, own = trial(0), trial(1, "ladder")
    with Ledger.open(study) as ledger:
        ledger.decided(Round(1, "seeds", (shared,), "why"), "1")
        ledger.decided(Round(2, "ladder", (own, replace(shared, stage="ladder")), "why"), "1")
        ledger.ended(run(shared))
        assert ledger.stage_keys("seeds") == (shared.key({}),)
        assert ledger.stage_keys("ladder") == (shared.key({}),)
        ledger.ended(run(own))
        assert ledger.stage_keys("ladder") == (own.key({}), shared.key({}))


def test_a_curve_is_a_parquet_file_with_its_gaps(study):
    with Ledger.open(study) as ledger:
        ledger.save_curve("abc", {"tokens": [10.0, 20.0], "grad_norm": [math.nan, 1.5]})
    table = pq.read_table(study / "curves" / "abc.parquet").to_pydict()
    assert table["tokens"] == [10.0, 20.0]
    assert math.isnan(table["grad_norm"][0])


def test_a_write_that_stops_half_way_is_a_sentence_and_leaves_no_trace(finished):
    """The kernel cuts the write short at a limit, as a disk does that fills up."""
    before = (finished / "events.jsonl").read_bytes()
    told = subprocess.run(
        [sys.executable, "-c", CRAMPED, str(finished), str(len(before) + 100)],
        capture_output=True,
        text=True,
    )
    assert "Nothing half written counts" in told.stdout
    assert (finished / "events.jsonl").read_bytes() == before
    assert Ledger.read(finished).repaired == ""


@pytest.fixture
def tiny_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a file system of its own cannot be mounted here; the write limit covers it")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def decide_at_length(ledger, seed):
    ledger.decided(Round(seed, "seeds", (trial(seed),), "why" * 1000), "1")


def test_a_full_disk_is_a_sentence_and_the_study_goes_on_with_room(tiny_disk):
    study, filler = tiny_disk / "study", tiny_disk / "filler"
    with Ledger.open(study) as ledger:
        filler.write_bytes(b"x" * 40_000)
        with pytest.raises(LedgerError, match=r"No space left .*Nothing half written counts"):
            list(map(partial(decide_at_length, ledger), range(100)))
        with pytest.raises(LedgerError, match="No space left"):
            ledger.save_curve("abc", {"tokens": [seed / 7 for seed in range(5000)]})
        assert 0 < len(ledger.rounds) < 100
        assert state(ledger) == state(Ledger.read(study))
        filler.unlink()
        ledger.ended(run(trial()))
    assert len(Ledger.read(study).runs) == 1


def test_lost_attempts_seconds_count(tmp_path, monkeypatch):
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr("planner.ledger.time.monotonic", lambda: float(next(clock)))
    one, size = trial(seed=1), SIZE
    with Ledger.open(tmp_path / "study") as ledger:
        ledger.started("a", 1, "here", one, size, Held(devices=2))  # at 0 s
        assert ledger.running == 1
        ledger.lost("a", 1, "its node went")  # at 10 s
        assert ledger.device_seconds == 20
        ledger.started("a", 2, "here", one, size)  # at 20 s
        ledger.progress("a", 2, one.tokens // 2)  # at 30 s: 10 s for a half
        assert ledger.device_seconds == 20, "what runs is not over"
    again = Ledger.read(tmp_path / "study")
    assert again.device_seconds == pytest.approx(20 + 10 * 0.6 / 0.5), "up to its next tenth"


def test_a_log_without_seconds_is_read_and_priced_at_the_pace_seen(tmp_path):
    one = trial(seed=1)
    with Ledger.open(tmp_path / "study") as ledger:
        ledger.started("a", 1, "here", one, SIZE)
        ledger.lost("a", 1, "its worker died")
        ledger.started("b", 1, "here", one, SIZE)
        ledger.ended(replace(run(one), key="b", seconds=50.0))
    path = tmp_path / "study" / "events.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    old = [{k: v for k, v in line.items() if k not in ("seconds", "devices")} for line in lines]
    path.write_text("".join(json.dumps(line) + "\n" for line in old))
    assert Ledger.read(tmp_path / "study").device_seconds == pytest.approx(50 + 0.1 * 50)


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_locks_is_refused_with_what_to_do(study, monkeypatch, code):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("planner._log.fcntl.flock", refuse)
    with pytest.raises(LedgerError, match=r"without locks.*--out on a disk of this machine"):
        Ledger.open(study)


@pytest.mark.parametrize(
    ("call", "code", "says"),
    [
        ("fsync", errno.ESTALE, "mount it again"),
        ("open", errno.EROFS, "Read-only file system"),
        ("write", errno.EIO, "Input/output error"),
    ],
)
def test_a_disk_that_goes_away_is_a_sentence_and_nothing_is_lost(
    finished, monkeypatch, call, code, says
):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    with Ledger.open(finished) as ledger:
        before = state(ledger)
        with monkeypatch.context() as patch:
            patch.setattr(f"planner._log.os.{call}", fail)
            with pytest.raises(LedgerError, match=says):
                ledger.predicted({})
        assert state(ledger) == before == state(Ledger.read(finished))
        ledger.predicted({})


def test_a_read_only_study_is_a_sentence(finished, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("planner._log.os.open", refuse)
    with pytest.raises(LedgerError, match="Read-only file system"):
        Ledger.open(finished)


def test_a_resumed_attempt_pays_from_where_it_resumed(study):
    with Ledger.open(study) as ledger:
        start(ledger, trial())
        ledger.progress(trial().key({}), 1, 500)
        ledger.lost(trial().key({}), 1, "asked to leave", 550, counts=False)
        assert ledger.spent_flops == pytest.approx(0.55 * COST)
        start(ledger, trial(), 2)
        ledger.progress(trial().key({}), 2, 550, resumed=True)
        ledger.progress(trial().key({}), 2, 700)
        ledger.lost(trial().key({}), 2, "killed")
        assert ledger.spent_flops == pytest.approx((0.55 + 0.25) * COST)
        assert ledger.spent_flops == pytest.approx(Ledger.read(study).spent_flops)
