from __future__ import annotations

import pytest

from planner.errors import UsageError
from planner.space import load_space
from planner.starter import write_starter


@pytest.mark.parametrize("name", ["gpt", "gpt_mup", "quickstart", "synthetic", "command"])
def test_every_starter_is_a_search_space(tmp_path, name):
    write_starter(tmp_path / "mine.yaml", name, None)
    assert load_space(tmp_path / "mine.yaml").shapes


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("train --lr {lr}", ["train", "--lr", "{lr}"]),
        ("sh -c 'echo ok'", ["sh", "-c", "echo ok"]),
        ('train --note "it\'s [fine]"', ["train", "--note", "it's [fine]"]),
        ("train '#1' 'a: b' ''", ["train", "#1", "a: b", ""]),
    ],
)
def test_a_command_keeps_its_words(tmp_path, line, words):
    write_starter(tmp_path / "mine.yaml", "gpt", line)
    assert load_space(tmp_path / "mine.yaml").proxy.options["argv"] == words


def test_an_edited_file_is_never_overwritten(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("study: precious\n")
    with pytest.raises(UsageError, match="exists"):
        write_starter(path, "gpt", None)
    assert path.read_text() == "study: precious\n"


def test_an_unknown_starter_names_those_there_are(tmp_path):
    with pytest.raises(UsageError, match="there is: command, gpt, gpt_mup, quickstart, synthetic"):
        write_starter(tmp_path / "mine.yaml", "llama", None)
