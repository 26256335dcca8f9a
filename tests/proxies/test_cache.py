"""One folder for all that is prepared once, by the variables people know."""

from pathlib import Path

import pytest

from planner.proxies._cache import cache_folder


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"PLANNER_CACHE": "/own", "XDG_CACHE_HOME": "/user"}, "/own"),
        ({"PLANNER_CACHE": "", "XDG_CACHE_HOME": "/user"}, "/user/scaling-planner"),
        ({"HOME": "/home/me"}, "/home/me/.cache/scaling-planner"),
    ],
)
def test_the_own_variable_wins_over_the_users_cache(monkeypatch, given, expected):
    for name in ("PLANNER_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(expected)
