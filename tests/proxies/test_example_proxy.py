"""The README's example of a proxy: short, whole, and it keeps what a sweep builds on."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from planner.cli import app

EXAMPLE = Path(__file__).with_name("example_proxy.py")
README = Path(__file__).parents[2] / "README.md"
LINES = 40


def test_the_example_keeps_its_promises():
    words = ["check", "--proxy", f"{EXAMPLE}:Mine", "--set", "sizes.width=8"]
    result = CliRunner().invoke(app, words)
    assert result.stdout.startswith("GO"), result.stdout
    assert "does not read trial.weight_decay, trial.beta2:" in result.stdout
    assert result.exit_code == 0


def test_the_readme_shows_it_as_it_is():
    text = EXAMPLE.read_text()
    assert len(text.splitlines()) < LINES
    assert f"```python\n{text}```" in README.read_text()
