"""A proxy is found by name, module or file, and a wrong name or option gets a sentence."""

from __future__ import annotations

import pytest

from planner.errors import SpaceError, UsageError
from planner.proxy import ProxySpec, load_proxy

FILE = """
from planner.proxy import Outcome
from planner.run import Status
from planner.shape import size_from_mapping


class Mine:
    capabilities = frozenset()

    def __init__(self, data, *, slope=1.0):
        self.slope = slope

    def size(self, shape):
        return size_from_mapping(shape)

    def recipe(self):
        return {"slope": self.slope}

    def train(self, trial, ctx):
        return Outcome(Status.DONE, 1.0, 0.0, trial.tokens)
"""


def test_a_file_of_the_users(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    proxy = load_proxy(ProxySpec(f"{path}:Mine", options={"slope": 2.0}))
    assert proxy.recipe() == {"slope": 2.0}


def test_an_unknown_option_lists_the_known_ones(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    with pytest.raises(SpaceError, match=r"slop.*the options it knows are: slope"):
        load_proxy(ProxySpec(f"{path}:Mine", options={"slop": 2.0}))


def test_an_unknown_name_lists_the_shipped_proxies():
    with pytest.raises(UsageError, match="command, gpt, image, synthetic"):
        load_proxy(ProxySpec("gtp"))


def test_an_object_is_no_class(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(f"{FILE}\n\nmine = Mine({{}})\n")
    with pytest.raises(UsageError, match="name the class itself"):
        load_proxy(ProxySpec(f"{path}:mine"))


def test_an_installed_package_offers_a_proxy_by_its_entry_point(tmp_path, monkeypatch):
    (tmp_path / "their_proxies.py").write_text(FILE)
    about = tmp_path / "their_proxies-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: their-proxies\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[planner.proxies]\ntheirs = their_proxies:Mine\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert load_proxy(ProxySpec("theirs", options={"slope": 3.0})).recipe() == {"slope": 3.0}


def test_missing_files_modules_and_objects(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    for name, says in [
        (f"{tmp_path}/none.py:Mine", "does not exist"),
        ("no_such_module_here:Mine", "cannot be imported"),
        (f"{path}:Other", "has no `Other`"),
    ]:
        with pytest.raises(UsageError, match=says):
            load_proxy(ProxySpec(name))
