from __future__ import annotations

import pytest

from planner.decide.decision import Decision
from planner.estimate import Estimate
from planner.finding import Finding, Severity
from planner.words import in_unit, optimizer_of, retold, unit_of


def test_sentences_speak_of_images_and_keys_of_tokens():
    said = "Tokens a run saw: 5M tokens: one token at a time; nats per token, batch_tokens"
    assert in_unit(said, "images") == (
        "Images a run saw: 5M images: one image at a time; nats per image, batch_tokens"
    )
    for key in (
        "--unique-tokens 5M",
        "tokens_per_run",
        "`tokens: path`",
        "{tokens: train.bin}",
        "tokenizer",
    ):
        assert in_unit(key, "images") == key
    assert in_unit(said, "tokens") == said
    assert in_unit("every matrix a token meets", "images") == "every matrix an image meets"


def test_a_record_is_retold_but_for_its_names():
    doubt = Finding("lr-tokens", Severity.INFO, "few tokens", "more tokens")
    decision = Decision("tokens", Estimate.exactly(1.0, "tokens"), "tokens", "all tokens", ("a",))
    told = retold((doubt, decision), "images")
    assert (told[0].code, told[0].what, told[0].remedy) == (
        "lr-tokens",
        "few images",
        "more images",
    )
    assert told[0].severity is Severity.INFO
    assert (told[1].name, told[1].unit, told[1].reason) == ("tokens", "images", "all images")
    assert retold(decision, "tokens") is decision


def test_a_study_counts_tokens_unless_its_recipe_says_otherwise():
    assert unit_of({}) == "tokens"
    assert unit_of({"unit": "images"}) == "images"


@pytest.mark.parametrize(
    ("said", "name"),
    [("adamw eps 1e-08, x", "adamw"), ("SGD", "SGD"), ("sgd, decay", "sgd"), (None, ""), ("", "")],
)
def test_the_optimizer_is_the_first_word_a_recipe_says_of_it(said, name):
    assert optimizer_of({} if said is None else {"optimizer": said}) == name
