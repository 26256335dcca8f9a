"""Planted secrets: not in any file of a study, nor in what is printed; nothing listens."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from planner._secrets import HIDDEN, hide, hide_data
from planner.errors import SpaceError
from planner.run import Trial
from planner.space import load_space
from tests.studies import TEXT

ENVIRONMENT = {
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/planted",
    "HF_TOKEN": "planted-hugging-face",
    "WANDB_API_KEY": "0123planted4567weights",
    "DATABASE_PASSWORD": "planted pass word",
}
OPTION = "live-planted-option-77"
SHAPED = "hf_" + "Zq7" * 10
URL = "https://someone:planted-url-pw@host/path"

LEAKY = f"""
import os
from planner.proxies.synthetic import SyntheticProxy


def listening():
    held = set()
    for process in (os.getpid(), os.getppid()):
        for entry in os.scandir(f"/proc/{{process}}/fd"):
            try:
                held.add(os.readlink(entry.path))
            except OSError:
                pass
    found = 0
    for table in ("tcp", "tcp6"):
        for line in open(f"/proc/net/{{table}}").readlines()[1:]:
            fields = line.split()
            found += fields[3] == "0A" and f"socket:[{{fields[9]}}]" in held
    return found


class Leaky(SyntheticProxy):
    def __init__(self, data, *, api_key, url):
        super().__init__(data)
        self.api_key, self.url = api_key, url

    def recipe(self):
        return super().recipe() | {{"login": self.api_key, "from": self.url}}

    def train(self, trial, ctx):
        assert not listening(), "something listens"
        if trial.stage == "seeds" and trial.seed == 2:
            raise ValueError(f"{{self.api_key}} {{self.url}} {SHAPED} {{dict(os.environ)}}")
        return super().train(trial, ctx)
"""


def test_secrets_are_in_no_file_of_a_finished_study_nor_in_what_is_printed(tmp_path):
    (tmp_path / "leaky.py").write_text(LEAKY)
    text = TEXT.replace("{name: synthetic, options: {noise: 0.004}}", "{name: NAME, options: OPT}")
    text = text.replace("NAME", f"'{tmp_path}/leaky.py:Leaky'")
    text = text.replace("OPT", f"{{api_key: {OPTION}, url: '{URL}'}}").replace("inline", "local")
    (tmp_path / "space.yaml").write_text(text)
    command = [sys.executable, "-m", "planner", "sweep", "space.yaml", "--out", "study"]
    for _ in range(2):  # the second time it goes on: what is hidden on disk is no other space
        done = subprocess.run(
            command,
            env=os.environ | ENVIRONMENT,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        said = [done.stdout.encode(), done.stderr.encode()]
        files = [path.read_bytes() for path in (tmp_path / "study").rglob("*") if path.is_file()]
        planted = [*ENVIRONMENT.values(), OPTION, SHAPED, "planted-url-pw"]
        for secret in planted:
            assert not any(secret.encode() in content for content in (*said, *files)), secret
    log = (tmp_path / "study" / "events.jsonl").read_text()
    assert f"ValueError: {HIDDEN}" in log
    assert "something listens" not in log


def test_a_command_s_tokens_stay_out_of_its_recipe_its_note_and_its_log(tmp_path, monkeypatch):
    from planner.proxies.command import CommandProxy
    from planner.proxy import ProxySpec
    from planner.sweep.events import Job
    from planner.sweep.worker import run_job

    monkeypatch.setenv("HF_TOKEN", ENVIRONMENT["HF_TOKEN"])
    script = "import os, sys; sys.exit(f'no access with {sys.argv} {os.environ[\"HF_TOKEN\"]}')"
    argv = [
        sys.executable,
        "-c",
        script,
        "--api-key",
        OPTION,
        f"--token={OPTION}x",
        "--tokens",
        "1",
    ]
    trial = Trial("ladder", {"params": 10}, 1000, 10, 0.1, 100)
    job = Job("key", trial, 1, ProxySpec("command", {}, {"argv": argv}), str(tmp_path))
    ended = run_job(job, lambda _: None)
    log = (tmp_path / "stderr.log").read_text()
    assert "no access" in ended.outcome.note
    for text in (ended.outcome.note, log, repr(hide_data(CommandProxy({}, argv=argv).recipe()))):
        assert OPTION not in text
        assert ENVIRONMENT["HF_TOKEN"] not in text
        assert HIDDEN in text


def test_words_that_only_sound_secret_stay():
    data = {
        "eos_token": "<|endoftext|>",
        "pad_token": "padding-token",
        "tokens_per_run": "300M tokens",
        "tokenizer": "bytes-and-more.json",
        "argv": ["train.py", "--tokens", "{tokens}", "--token", "{lr}", "--keys", "abcdefghij"],
    }
    assert hide_data(data) == data


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("postgresql://me:hunter22@db/x", f"postgresql://me:{HIDDEN}@db/x"),
        (f"login {SHAPED} failed", f"login {HIDDEN} failed"),
        ("key AKIAABCDEFGHIJKLMNOP", f"key {HIDDEN}"),
    ],
)
def test_urls_and_well_known_tokens_are_hidden_without_being_named(text, hidden):
    assert hide(text) == hidden


def test_short_values_of_the_environment_are_left_alone(monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "false")
    assert hide("false is not a token") == "false is not a token"


def test_yaml_runs_no_code(tmp_path):
    path = tmp_path / "space.yaml"
    for tag in ("!!python/object/apply:os.system ['touch ran']", "!!python/name:os.system"):
        path.write_text(f"{TEXT}\ndata: {tag}\n")
        with pytest.raises(SpaceError, match="not valid YAML"):
            load_space(path)
    assert not Path("ran").exists()
