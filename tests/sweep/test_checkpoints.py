"""States stay as long as something may need them, on the disk and at a URL."""

from __future__ import annotations

import fsspec
import pytest

from planner.errors import SpaceError
from planner.ledger import Ledger
from planner.run import Round
from planner.shape import size_from_mapping
from planner.sweep.checkpoints import Checkpoints, needed_states
from planner.sweep.inline import InlineExecutor
from planner.sweep.loop import prepare, run_sweep
from planner.sweep.remote import RemoteFolder
from tests.studies import Silence, small_space
from tests.test_ledger import run, trial

SIZE = size_from_mapping({"params": 10})


def test_a_trunks_states_go_when_the_round_after_its_forks_begins(tmp_path):
    trunk = trial(keep_at=(500,))
    fork, later = trial(parent=trunk.key({}), fork_at=500), trial(7)
    rounds = [Round(1, "a", (trunk,), ""), Round(2, "a", (fork,), ""), Round(3, "b", (later,), "")]
    needed = []
    with Ledger.open(tmp_path / "study") as ledger:
        for step in rounds:
            ledger.decided(step, "1")
            keys = [each.key({}) for each in step.trials]
            needed.append(needed_states(ledger, step, keys))
            for each in step.trials:
                ledger.ended(run(each))
    assert needed == [
        {trunk.key({})},
        {trunk.key({}), fork.key({})},
        {later.key({})},
    ]


def test_a_trunk_no_round_has_forked_yet_is_kept(tmp_path):
    trunk, other = trial(keep_at=(500,)), trial(7)
    with Ledger.open(tmp_path / "study") as ledger:
        for number, each in enumerate((trunk, other), start=1):
            ledger.decided(Round(number, "a", (each,), ""), "1")
            ledger.ended(run(each))
        assert trunk.key({}) in needed_states(ledger, ledger.rounds[-1], [other.key({})])


@pytest.fixture
def kept(tmp_path):
    """Return states of two trials in a folder and at a URL."""
    states = Checkpoints(tmp_path / "here", "memory://study")
    fsspec.filesystem("memory").store.clear()
    for key in ("a", "b"):
        place = tmp_path / "here" / key
        place.mkdir(parents=True)
        (place / "state").write_text("x")
        RemoteFolder(place, states.remote(key)).store()
    return states


def present(states):
    return {p.name for p in states.folder.iterdir()}, set(
        RemoteFolder(states.folder, states.url).names()
    )


def test_only_what_is_needed_stays(kept):
    kept.keep_only({"b", "c"})
    assert present(kept) == ({"b"}, {"b"})
    kept.release("b")
    assert present(kept) == (set(), set())


def test_what_a_proxy_without_states_writes_is_its_own(kept):
    own = Checkpoints(kept.folder, kept.url, managed=False)
    own.keep_only(())
    own.release("a")
    assert present(own) == ({"a", "b"}, {"a", "b"})


def test_a_url_is_tried_before_anything_is_spent(tmp_path, monkeypatch):
    monkeypatch.setattr("planner.sweep.remote.PAUSE_SECONDS", 0.0)
    Checkpoints(tmp_path / "here", f"file://{tmp_path}/store").probe()
    assert not list((tmp_path / "store").iterdir())
    (tmp_path / "file").touch()
    for url, says in [
        ("bucket/folder", "is no URL"),
        ("nowhere://bucket", "nowhere://bucket.*Mend the address"),
        (f"file://{tmp_path}/file", "cannot be kept at"),
    ]:
        with pytest.raises(SpaceError, match=says):
            Checkpoints(tmp_path / "here", url).probe()


@pytest.mark.parametrize("url", [None, "memory://bucket"])
def test_a_finished_sweep_leaves_no_states(tmp_path, url):
    fsspec.filesystem("memory").store.clear()
    more = () if url is None else (f"checkpoints={url}",)
    setup = prepare(small_space(tmp_path, *more))
    with Ledger.open(tmp_path / "study") as ledger:
        run_sweep(setup, ledger, InlineExecutor, Silence())
        assert any(run.trial.parent for run in ledger.runs.values())
        assert all(run.done for run in ledger.runs.values() if run.trial.parent)
    assert not list((tmp_path / "study" / "checkpoints").iterdir())
    assert not fsspec.filesystem("memory").store
