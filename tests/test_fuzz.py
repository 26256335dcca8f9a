"""A few hundred cases of the fuzzer (tests/benchmarks/fuzz.py) in every run of the tests."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.benchmarks.fuzz import families, judge
from tests.benchmarks.fuzz_studies import Sample

ORDINARY = {"log, bytes": 150, "log, values": 40, "study folder": 15, "YAML, bytes": 60}
ORDINARY |= {"YAML, values": 80, "checkpoint": 60}


@pytest.fixture(scope="module")
def sample(finished):
    return Sample.of(finished)


@pytest.mark.parametrize("family", ORDINARY)
def test_damage_is_refused_in_a_sentence_or_repaired(sample, family):
    case, _ = families(sample)[family]

    @settings(max_examples=ORDINARY[family])
    @given(st.integers(0, 2**32))
    def holds(seed):
        outcome, problem = judge(case, seed)
        assert not problem, f"{outcome}: {problem}"

    holds()


@pytest.mark.parametrize(("family", "seed"), [("log, values", 527), ("YAML, values", 610)])
def test_what_the_long_run_once_found_stays_mended(sample, family, seed):
    outcome, problem = judge(families(sample)[family][0], seed)
    assert not problem, f"{outcome}: {problem}"
