from __future__ import annotations

import fsspec
import pytest

from planner.proxies import _places
from tests.proxies.gpt_trials import CONTEXT
from tests.proxies.recorder import Recorder
from tests.proxies.toy_tokens import write_tokens


@pytest.fixture
def ctx(tmp_path) -> Recorder:
    return Recorder(tmp_path / "trial")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_tokens(tmp_path_factory.mktemp("tokens"))


@pytest.fixture
def proxy(data, tmp_path_factory, monkeypatch):
    """Return a gpt on toy tokens."""
    from planner.proxies.gpt import GptProxy

    monkeypatch.setenv("PLANNER_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    return GptProxy(data, context=CONTEXT, head_dim=8)


@pytest.fixture
def store(monkeypatch):
    """Return an empty store in memory, with no pauses between attempts."""
    monkeypatch.setattr(_places, "PAUSE_SECONDS", 0.0)
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    yield fs
    fs.store.clear()
