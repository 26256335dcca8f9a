"""``planner check``: a verdict on stdout, check.json in the study's folder."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from planner.cli import app
from planner.errors import SpaceError, UsageError
from planner.ledger import Ledger
from tests.proxies.image_trials import save
from tests.proxies.toy_tokens import write_tokens
from tests.studies import space_file

SPACE = """
study: toy
proxy: {{name: gpt, options: {{context: 16, head_dim: 8, parametrization: {name}}}}}
data: {data}
sizes: {{width: [32, 64, 128], depth: 1}}
lr: {{log: [2.0e-3, 3.2e-2], factor: 2}}
batch_tokens: {{log: [64, 256], factor: 4}}
budget: {{flops: 1e13}}
"""


@pytest.fixture
def check(tmp_path, monkeypatch):
    monkeypatch.setenv("PLANNER_CACHE", str(tmp_path / "cache"))
    data = json.dumps(write_tokens(tmp_path))

    def run(name, *words):
        path = tmp_path / "toy.yaml"
        path.write_text(SPACE.format(name=name, data=data))
        out = ["--out", str(tmp_path / "study")]
        return CliRunner().invoke(app, ["check", str(path), *out, *words])

    return run


def written(result, folder: Path):
    assert result.exit_code == 0, result.output
    data = json.loads((folder / "study" / "check.json").read_text())
    assert data["schema_version"] == 1
    return data


def test_mup_goes_and_sp_is_warned_of(check, tmp_path):
    mup = written(check("mup", "--coordinate"), tmp_path)
    assert mup["verdict"] == "GO"
    assert [axis["axis"] for axis in mup["coordinate"]] == ["width"]
    result = check("sp", "--coordinate")
    sp = written(result, tmp_path)
    assert sp["verdict"] == "WARN"
    assert result.stdout.startswith("WARN")
    assert "logits" in sp["findings"][0]["what"]


def test_completep_says_that_one_depth_tells_nothing(check, tmp_path):
    found = written(check("completep", "--coordinate"), tmp_path)["findings"]
    assert any("depth could not be checked" in finding["what"] for finding in found)


def test_without_a_study_the_transfer_check_names_a_price(check, tmp_path):
    result = check("mup", "--transfer", "--json")
    found = json.loads(result.stdout)["findings"]
    assert found == written(result, tmp_path)["findings"]
    assert found[0]["code"] == "lr-transfer"
    assert found[0]["cost_flops"] > 0


def test_a_proxy_without_activations_is_refused_in_a_sentence(tmp_path):
    words = ["check", str(space_file(tmp_path)), "--coordinate", "--out", str(tmp_path / "study")]
    with pytest.raises(UsageError, match="no capability `coordinates`"):
        CliRunner().invoke(app, words, catch_exceptions=False)


def test_images_are_called_images_and_no_more_are_asked_for_than_there_are(tmp_path):
    data = json.dumps(save(tmp_path / "set.npz"))
    proxy = "proxy: {{name: 'planner.proxies.image:ImageProxy'}}"
    text = SPACE.replace(SPACE.splitlines()[2], proxy).format(data=data)
    words = ["check", str(tmp_path / "toy.yaml"), "--out", str(tmp_path / "study")]
    (tmp_path / "toy.yaml").write_text(text + "horizons: {tokens_per_run: [4096], unique: [90]}\n")
    told = CliRunner().invoke(app, words, catch_exceptions=False).stdout
    assert "the same images and batch" in told
    assert "tokens" not in told
    (tmp_path / "toy.yaml").write_text(text + "horizons: {tokens_per_run: [4096], unique: [900]}\n")
    with pytest.raises(SpaceError, match="cannot know 900 different images"):
        CliRunner().invoke(app, words, catch_exceptions=False)


def test_a_checked_folder_is_still_free_for_the_study(tmp_path):
    words = ["check", str(space_file(tmp_path)), "--out", str(tmp_path / "study")]
    assert CliRunner().invoke(app, words).exit_code == 0
    with Ledger.open(tmp_path / "study") as ledger:
        assert not ledger.runs
