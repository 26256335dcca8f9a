"""Decides which documents repeat what is already there.

A document is an exact duplicate when its text equals an earlier one after lower-casing (ASCII) and
collapsing white space. It is a near duplicate when at least ``NEAR`` of its shingles occur in the
documents admitted before it: containment |S(new) & S(seen)| / |S(new)|, which also catches a file
stitched together from several others. Shingles are runs of 64 bytes, about the 13 words used to
find contamination (Brown et al. 2020, appendix C); one in ``SAMPLING`` is kept, chosen by its hash,
so the same passage is chosen wherever it stands. Validation documents are admitted first and
protected: a training document goes when a tenth of it stands in them, or it holds a tenth of one.
"""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np

NEAR = 0.8
"""Containment from which a document counts as a repeat (MinHash practice: Jaccard .7 to .8)."""

LEAK = 0.1
"""Share of a training or of a validation document from which a common text is a leak."""

SAMPLING = 32
"""One shingle in this many is compared: 2 to 3 bytes of memory a byte of text."""

FEWEST_MARKS = 8
"""With fewer sampled shingles than this (about 320 bytes) only exact duplicates are judged."""

_DOUBLINGS = (1, 2, 4, 8, 16, 32)
_MULTIPLIER = 0x9E3779B97F4A7C15
"""2^64 / golden ratio, odd: Fibonacci hashing (Knuth, TAOCP 3, section 6.4)."""


def fingerprint(text: bytes) -> list[int]:
    """Return the distinct sampled shingle hashes of a text; none when it is under 64 bytes.

    The polynomial hash of 2k bytes comes from two of k bytes, h_2k(i) = h_k(i) m^k + h_k(i + k).
    """
    hashes = np.frombuffer(text, dtype=np.uint8).astype(np.uint64)
    if len(hashes) < 2 * _DOUBLINGS[-1]:
        return []
    for k in _DOUBLINGS:
        hashes = hashes[:-k] * np.uint64(pow(_MULTIPLIER, k, 2**64)) + hashes[k:]
    hashes ^= hashes >> np.uint64(31)
    hashes *= np.uint64(_MULTIPLIER)
    sampled: list[int] = np.unique(hashes[hashes < np.uint64(2**64 // SAMPLING)]).tolist()
    return sampled


class Deduplicator:
    """Admits documents one after the other; the same order gives the same answers."""

    def __init__(self) -> None:
        self.exact = 0
        """Documents refused as exact duplicates so far."""
        self.near = 0
        """Documents refused as near duplicates so far."""
        self._texts: set[bytes] = set()
        self._marks: set[int] = set()
        self._owner: dict[int, int] = {}
        self._owned: Counter[int] = Counter()
        self._leaked: set[int] = set()

    def admit(self, text: bytes, *, protect: bool = False) -> bool:
        """Say whether a document is new, and remember it if so; ``protect`` marks validation."""
        normal = b" ".join(text.lower().split())
        digest = hashlib.sha256(normal).digest()
        if digest in self._texts:
            self.exact += 1
            return False
        marks = fingerprint(normal)
        if self._repeats(marks) or (not protect and self._leaks(marks)):
            self.near += 1
            return False
        self._texts.add(digest)
        if protect:
            self._protect(marks)
        else:
            self._leaked.update(mark for mark in marks if mark in self._owner)
        self._marks.update(marks)
        return True

    def leaks(self, text: bytes) -> bool:
        """Say whether a training document repeats validation; it is counted, not remembered.

        For data of any size: the memory is that of the documents admitted, nothing else.
        """
        normal = b" ".join(text.lower().split())
        if hashlib.sha256(normal).digest() in self._texts:
            self.exact += 1
            return True
        if self._leaks(fingerprint(normal)):
            self.near += 1
            return True
        return False

    @property
    def protected(self) -> str:
        """A hash of the documents admitted so far."""
        return hashlib.sha256(b"".join(sorted(self._texts))).hexdigest()[:16]

    @property
    def overlap(self) -> float:
        """Share of the validation text's shingles that also stand in admitted training text."""
        return len(self._leaked) / max(1, len(self._owner))

    def _repeats(self, marks: list[int]) -> bool:
        seen = sum(mark in self._marks for mark in marks)
        return len(marks) >= FEWEST_MARKS and seen >= NEAR * len(marks)

    def _leaks(self, marks: list[int]) -> bool:
        """Say whether a training document shares too much with the validation documents."""
        shared = Counter(self._owner[mark] for mark in marks if mark in self._owner)
        return shared.total() >= max(FEWEST_MARKS, LEAK * len(marks)) or any(
            count >= max(FEWEST_MARKS, LEAK * self._owned[owner]) for owner, count in shared.items()
        )

    def _protect(self, marks: list[int]) -> None:
        owner = len(self._owned)
        new = [mark for mark in marks if mark not in self._owner]
        self._owner.update(dict.fromkeys(new, owner))
        self._owned[owner] = len(new)
