"""The command line: exit codes, sentences on stderr, machine output on stdout."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from errno import ENOSPC
from pathlib import Path

import numpy as np
import pytest

from tests.studies import TEXT, space_file

ROOT = Path(__file__).parent.parent


def planner(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "planner", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    done = planner("sweep", space_file(folder), "--out", folder / "study")
    assert done.returncode == 0, done.stderr
    assert "report.html" in done.stdout
    return folder / "study"


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    """Forty planted runs under somebody else's column names, some of them broken."""
    rng = np.random.default_rng(3)
    path = tmp_path_factory.mktemp("table") / "runs.csv"
    rows = ["Model Size,toks,val"]
    for n in np.geomspace(5e7, 4e9, 8):
        for d in np.geomspace(1e9, 8e10, 5):
            loss = 1.8 + 480 * n**-0.348 + 2085 * d**-0.366
            rows.append(f"{n:.0f},{d:.0f},{loss * np.exp(0.002 * rng.standard_normal()):.6f}")
    rows += ["1e8,1e9,nan", "1e8,,3.1", "1e8,1e9,crashed"]
    path.write_text("\n".join(rows) + "\n")
    return path


MAPS = ("--map", "Model Size=params", "--map", "toks=tokens", "--map", "val=loss")


def test_a_study_leaves_every_file_of_the_contract(study):
    for name in (
        *("space.yaml", "events.jsonl", "runs.jsonl", "fit.json", "plan.json", "prediction.json"),
        "schedule.json",
        *("report.html", "report.md", "env.json", "curves", "figures"),
    ):
        assert (study / name).exists(), name
    plan = json.loads((study / "plan.json").read_text())
    assert plan["verdict"] in {"GO", "GO WITH WARNINGS", "NO-GO"}
    assert plan["held_out"] is not None


def test_status_next_and_audit_of_a_finished_study(study):
    facts = json.loads(planner("status", study, "--audit", "--json").stdout)
    assert facts["spent_flops"] <= facts["budget_flops"]
    assert facts["audit"] == ["every stored decision is what today's policy would decide"]
    assert "held_out" in planner("status", study).stdout
    told = json.loads(planner("next", study, "--json").stdout)
    assert told["round"] is None
    assert all(one["saves_nats"] >= 0 and one["flops"] > 0 for one in told["worth"])


def test_planning_again_for_money_needs_no_sweep(study, tmp_path):
    done = planner("plan", study, "--usd", "1", "--gpu", "h100", "--out", tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["cost"]["usd"]["low"] <= 1 <= plan["cost"]["usd"]["high"]
    assert json.loads((tmp_path / "plan.json").read_text()) == plan


def test_the_report_can_be_written_elsewhere(study, tmp_path):
    done = planner("report", study, "--out", tmp_path / "again")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "again/report.html").is_file()


def test_fit_and_plan_of_somebody_elses_table(table, tmp_path):
    done = planner("fit", table, *MAPS, "--out", tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    fit = json.loads(done.stdout)
    assert fit["params"]["alpha"] == pytest.approx(0.348, abs=0.03)
    assert done.stderr.count("dropped") == 3
    point = planner("predict", tmp_path, "--params", "1B", "--tokens", "20B", "--json")
    (row,) = json.loads(point.stdout)["points"]
    assert row["low"] < 1.8 + 480 * 1e9**-0.348 + 2085 * 2e10**-0.366 < row["high"]
    assert planner("plan", tmp_path, "--flops", "1e22").returncode == 0
    assert planner("report", tmp_path).returncode == 0


def test_python_and_command_line_give_the_same_numbers(table, tmp_path):
    from planner.fit.engine import fit_loss
    from planner.table import read_runs

    shown = json.loads(planner("fit", table, *MAPS, "--json").stdout)
    rows = read_runs(table, MAPS[1::2]).observations
    assert shown["params"] == fit_loss(rows).params


def test_the_curves_of_a_sound_study_raise_no_doubt(study, tmp_path):
    done = planner("fit", study, "--curves", study / "curves", "--out", tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    fit, before = json.loads(done.stdout), json.loads((study / "fit.json").read_text())
    assert fit["findings"] == before["findings"]
    assert fit["params"] == before["params"]
    assert sum(law["weight"] for law in fit["schedule"]["members"]) == pytest.approx(1.0)
    assert fit["schedule"]["best"]["recommended"].keys() == {"fraction", "shape", "final_ratio"}


def test_curves_that_never_decayed_join_the_findings(table, tmp_path):
    curves = tmp_path / "curves.csv"
    lines = [f"row 7,{share * 1e10},{lr},3.0" for share, lr in ((0.1, 3e-4), (0.5, 3e-4))]
    curves.write_text("\n".join(["run,tokens,lr,loss", *lines]) + "\n")
    done = planner("fit", table, *MAPS, "--curves", curves, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "warning: All 1 runs whose learning rate is known" in done.stdout
    fit = json.loads((tmp_path / "fit.json").read_text())
    assert "curves-undecayed" in {finding["code"] for finding in fit["findings"]}
    again = planner("fit", tmp_path, "--curves", curves)
    assert again.returncode == 2
    assert "not a fit.json" in again.stderr


def test_points_from_a_csv_come_back_as_a_csv(study, tmp_path):
    points = tmp_path / "points.csv"
    points.write_text("params,tokens\n1e5,4e6\n200k,8M\n")
    done = planner("predict", study, "--points", points)
    header, *rows = done.stdout.split()
    assert header == "params,tokens,loss,low,high"
    assert len(rows) == 2


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["bogus"], 2, "No such command"),
        (["sweep", "none.yaml"], 2, "cannot be read"),
        (["fit", "none.csv"], 2, "does not exist"),
        (["predict", "."], 2, "`planner fit ... --out . ` writes it".replace(". `", ".`")),
        (["status", "."], 2, "is not a study folder"),
        (["plan", "none.json", "--flops", "1e21"], 2, "does not exist"),
        (["explain", "everything"], 2, "there is: batch_tokens"),
        (["init", "--proxy", "llama", "x.yaml"], 2, "there is no starter for 'llama'"),
    ],
)
def test_bad_input_gets_a_sentence_and_no_traceback(words, code, says, tmp_path):
    done = planner(*words, cwd=tmp_path)
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_table_too_small_for_a_law_is_exit_3(tmp_path):
    path = tmp_path / "few.csv"
    path.write_text("params,tokens,loss\n1e8,1e9,3.0\n2e8,1e9,2.9\n")
    done = planner("fit", path)
    assert done.returncode == 3
    assert "no loss law can be fitted" in done.stderr


def test_a_typo_names_file_line_and_nearest_key(tmp_path):
    path = space_file(tmp_path, TEXT.replace("batch_tokens:", "batch_token:"))
    done = planner("sweep", path)
    assert done.returncode == 2
    assert "line 7" in done.stderr
    assert "did you mean `batch_tokens`" in done.stderr


def test_a_budget_too_small_says_what_it_would_take(tmp_path):
    done = planner("sweep", space_file(tmp_path), "--budget", "1e10", "--out", tmp_path / "s")
    assert done.returncode == 4
    assert "cannot pay for the smallest ladder" in done.stderr
    assert not (tmp_path / "s/plan.json").exists()


def test_dry_run_prices_every_stage_and_writes_nothing(tmp_path):
    done = planner("sweep", space_file(tmp_path), "--dry-run", cwd=tmp_path)
    assert done.returncode == 0
    for stage in ("finder", "lr_batch", "seeds", "warmup", "ladder", "held_out", "sum"):
        assert stage in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["small.yaml"]


def test_init_writes_a_starter_once(tmp_path):
    line = "python train.py --lr {lr}"
    done = planner("init", "--from-command", line, "mine.yaml", cwd=tmp_path)
    assert "planner sweep mine.yaml --dry-run" in done.stderr
    again = planner("init", "--proxy", "gpt", "mine.yaml", cwd=tmp_path)
    assert again.returncode == 2
    assert "exists" in again.stderr
    assert "'python', 'train.py'" in (tmp_path / "mine.yaml").read_text()


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path):
    slow = tmp_path / "slow.py"
    slow.write_text(
        "import time\n"
        "from planner.proxies.synthetic import SyntheticProxy\n\n\n"
        "class Slow(SyntheticProxy):\n"
        "    def train(self, trial, ctx):\n"
        "        time.sleep(0.2)\n"
        "        return super().train(trial, ctx)\n"
    )
    words = ["sweep", space_file(tmp_path), "--out", tmp_path / "s", "--executor", "local"]
    process = subprocess.Popen(
        [sys.executable, "-m", "planner", *map(str, words), "--set", f"proxy.name={slow}:Slow"],
        stderr=subprocess.PIPE,
        text=True,
    )
    log = tmp_path / "s/events.jsonl"
    while not (log.exists() and '"ended"' in log.read_text()):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    assert "the same command goes on" in said


def test_the_wheel_ships_proxies_and_search_spaces(tmp_path):
    if shutil.which("git") is None:
        pytest.skip("git is not there")
    build = ("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
    done = subprocess.run(
        [sys.executable, *build, "-w", tmp_path, ROOT],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    import zipfile

    names = set(zipfile.ZipFile(wheel).namelist())
    for name in (
        *("planner/proxies/gpt.py", "planner/search_spaces/quickstart.yaml"),
        *("planner/plan/devices.csv", "planner/report/templates/report.html.j2"),
    ):
        assert name in names, name


def test_a_full_disk_gets_a_sentence(monkeypatch, capsys):
    from planner import cli

    def full():
        raise OSError(ENOSPC, "No space left on device", "results/mine/report.html")

    monkeypatch.setattr(cli, "app", full)
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 1
    assert "results/mine/report.html cannot be written, its disk is full" in capsys.readouterr().err
