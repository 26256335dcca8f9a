from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.proxies._dedup import SAMPLING, Deduplicator, fingerprint


def prose(words: int, seed: int) -> list[str]:
    drawn = np.random.default_rng(seed).integers(0, 36**5, words)
    return [np.base_repr(word, 36) for word in drawn]


def text(words: list[str]) -> bytes:
    return " ".join(words).encode()


def edited(words: list[str], share: float, seed: int) -> list[str]:
    """Replace the last ``share`` of the words."""
    cut = int(len(words) * (1 - share))
    return words[:cut] + prose(len(words) - cut, seed)


@given(st.binary(max_size=2000), st.binary(min_size=64, max_size=300), st.binary(max_size=300))
def test_a_passage_has_the_same_marks_wherever_it_stands(
    before: bytes, passage: bytes, after: bytes
) -> None:
    assert set(fingerprint(passage)) <= set(fingerprint(before + passage + after))


def test_about_the_stated_share_of_shingles_is_compared() -> None:
    document = text(prose(50_000, seed=0))
    assert len(fingerprint(document)) == pytest.approx(len(document) / SAMPLING, rel=0.03)


def test_case_and_white_space_do_not_hide_an_exact_duplicate() -> None:
    filter_ = Deduplicator()
    assert filter_.admit(b"A short\ttext")
    assert not filter_.admit(b"a short text\r\n")
    assert filter_.admit(b"another short text")
    assert (filter_.exact, filter_.near) == (1, 0)


@pytest.mark.parametrize(("share", "new"), [(0.05, False), (0.1, False), (0.3, True), (0.9, True)])
def test_near_duplicates_go_and_partly_new_texts_stay(share: float, new: bool) -> None:
    filter_ = Deduplicator()
    for seed in range(50):
        words = prose(1500, seed)
        assert filter_.admit(text(words))
        assert filter_.admit(text(edited(words, share, seed + 1000))) == new


def test_a_patchwork_of_earlier_texts_is_a_near_duplicate() -> None:
    filter_ = Deduplicator()
    sources = [prose(300, seed) for seed in range(4)]
    assert all(filter_.admit(text(words)) for words in sources)
    assert not filter_.admit(text([word for words in sources for word in words[100:250]]))


def test_different_texts_are_all_admitted() -> None:
    filter_ = Deduplicator()
    assert all(filter_.admit(text(prose(100, seed))) for seed in range(300))


def test_training_text_that_shares_passages_with_validation_is_dropped() -> None:
    filter_ = Deduplicator()
    held_out = prose(600, seed=0)
    assert filter_.admit(text(held_out), protect=True)
    assert not filter_.admit(text(prose(3000, seed=1) + held_out[:300] + prose(3000, seed=2)))
    assert not filter_.admit(text(prose(400, seed=3) + held_out[:100]))
    assert (filter_.near, filter_.overlap) == (2, 0)
    assert filter_.admit(text(prose(3000, seed=4) + held_out[:40]))
    assert 0 < filter_.overlap < 0.1
