"""What all tests share: the same hypothesis cases in every run, and one finished study."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
from hypothesis import settings

from planner.campaign import run_campaign
from tests.ray_nodes import SETTINGS
from tests.studies import small_space

# Ray reads how it signs in when it is imported, by whichever test comes first.
os.environ.update({name: value for name, value in SETTINGS.items() if name.startswith("RAY_")})

# So that a green run stays green.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile("fixed")

# A run started in the background ignores Ctrl-C, and so would every process it starts, tests of
# Ctrl-C among them.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """Return the folder of the small study, swept, fitted and planned; not to be written to."""
    folder = tmp_path_factory.mktemp("finished")
    before = signal.getsignal(signal.SIGTERM)
    run_campaign(small_space(folder), folder / "study", report=False)
    signal.signal(signal.SIGTERM, before)
    return folder / "study"


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    """Return a copy of the finished study that a test may change."""
    return Path(shutil.copytree(finished, tmp_path / "study"))
