from __future__ import annotations

import pytest

from tests.proxies.recorder import Recorder


@pytest.fixture
def ctx(tmp_path) -> Recorder:
    return Recorder(tmp_path / "trial")
