from planner.fit.parametrization import transfer_prior, uncovered
from planner.fit.priors import Priors

PRIOR = Priors.published(2e7, 1e9)


def test_sp_changes_nothing():
    assert transfer_prior(PRIOR, "sp") == PRIOR
    assert transfer_prior(PRIOR, "unknown") == PRIOR
    assert uncovered("sp") == ()


def test_mup_holds_the_learning_rate_over_size_and_nothing_else():
    for name in ("mup", "completep"):
        found = transfer_prior(PRIOR, name)
        assert (found.size_slope.mean, found.size_slope.sd) == (0.0, 0.1)
        assert found.token_slope == PRIOR.token_slope
        assert found.noise_batch == PRIOR.noise_batch
        assert found.level.sd >= PRIOR.level.sd
        assert name in found.source


def test_what_is_not_covered_is_said():
    (mup,) = uncovered("mup")
    for word in ("depth", "tokens", "batch", "weight decay"):
        assert word in mup.what
    (complete,) = uncovered("completep")
    assert "width and depth" in complete.what
