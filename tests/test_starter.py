from __future__ import annotations

import pytest

from planner.errors import SpaceError, UsageError
from planner.proxy import ProxySpec, load_proxy
from planner.space import load_space
from planner.starter import write_starter


@pytest.mark.parametrize(
    "name", ["gpt", "gpt_mup", "quickstart", "synthetic", "command", "litgpt", "transformers"]
)
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
    with pytest.raises(UsageError, match=r"there is: command, gpt, gpt_mup,.* quickstart"):
        write_starter(tmp_path / "mine.yaml", "llama", None)


def drafted(tmp_path, line):
    file = tmp_path / "mine.yaml"
    write_starter(file, "gpt", line)
    return load_space(file), file.read_text()


def test_the_flags_of_a_command_become_placeholders(tmp_path):
    line = (
        "OMP_NUM_THREADS=4 python train.py --lr 3e-4 --train.max-tokens 1G --global_batch_size 64 "
        "--block_size=1024 --n_embd 768 --n_layer 12 --n_head 12 --seed 7 --warmup_iters 700 "
        "--weight_decay .1 --out_dir out --micro_batch_size 8 --compile --name try-1"
    )
    space, text = drafted(tmp_path, line)
    options = space.proxy.options
    assert options["argv"] == [
        "python",
        "train.py",
        "--lr",
        "{lr}",
        "--train.max-tokens",
        "{tokens}",
        "--global_batch_size",
        "{batch_seqs}",
        "--block_size={context}",
        "--n_embd",
        "{width}",
        "--n_layer",
        "{depth}",
        "--n_head",
        "12",
        "--seed",
        "{seed}",
        "--warmup_iters",
        "{warmup_steps}",
        "--weight_decay",
        "{weight_decay}",
        "--out_dir",
        "{out}",
        "--micro_batch_size",
        "8",
        "--compile",
        "--name",
        "try-1",
    ]
    assert (options["context"], options["env"]) == (1024, {"OMP_NUM_THREADS": "4"})
    assert [shape["width"] for shape in space.shapes] == [96, 192, 384, 768]
    assert (space.lr.low, space.batch_tokens.low) == (7.5e-5, 16384)
    assert space.horizons.tokens_per_run[-1] == 2.5e8
    for said in ("--lr 3e-4 -> {lr}", "--n_head 12 stays; it must divide", "beta2"):
        assert said in text


def test_a_draft_is_no_search_space_before_its_sizes_are_counted(tmp_path):
    space, text = drafted(tmp_path, "torchrun t.py --lr 1e-3 --max_steps 100 --d_model 64")
    proxy = load_proxy(ProxySpec("command", {}, space.proxy.options))
    with pytest.raises(SpaceError, match="states no number of parameters"):
        proxy.size(space.shapes[0])
    assert proxy.size({**space.shapes[0], "params": 1e6}).params_matmul == 1e6
    for todo in ("STILL TO DO", "params of every size", "for the batch", "for the folder"):
        assert todo in text


def test_a_port_of_the_command_becomes_one_of_the_trial(tmp_path):
    space, _ = drafted(tmp_path, "accelerate launch --main_process_port 29500 t.py --lr 1e-3")
    assert space.proxy.options["argv"][3] == "{port}"


def test_a_batch_in_sequences_of_unknown_length_is_not_guessed(tmp_path):
    space, text = drafted(tmp_path, "t --lr 1e-3 --max_steps 10 --batch_size 8 --lr_max x --seed s")
    assert space.proxy.options["argv"][5:7] == ["--batch_size", "8"]
    assert "--batch_size counts sequences" in " ".join(text.split())
    assert "is no number, so it is not taken for {seed}" in " ".join(text.split())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("cd x && python t.py", "for a shell"),
        ("t > log", "for a shell"),
        ("", "is empty"),
        ("t 'open", "cannot be split"),
    ],
)
def test_what_is_no_single_command_is_refused(tmp_path, line, said):
    with pytest.raises(UsageError, match=said):
        write_starter(tmp_path / "mine.yaml", "gpt", line)
    assert not (tmp_path / "mine.yaml").exists()
