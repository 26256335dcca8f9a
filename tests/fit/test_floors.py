import numpy as np

from planner.fit.floors import DRIFT, SCATTER, tied
from planner.fit.surface import Surface
from planner.fit.unknowns import Unknowns
from tests.fit.surface_world import PRIOR, World, grid

TARGET = (4e8, 3e10)
CELLS = np.array([[1e8, 2e9], [1e8, 8e9], [4e8, 2e9], [4e8, 8e9], TARGET])


def floor_sds(cells, runs_of):
    """The sds of the floors, and of the target's once a law ties them, runs in ``runs_of``."""
    runs = grid(runs_of)
    loss = World().loss(runs, np.random.default_rng(0))
    surface = Surface.believed(PRIOR, cells, sigma=0.002).given(runs, loss)
    sd = np.sqrt(np.diag(tied(surface, *TARGET)))
    return surface.floors()[1], sd[Unknowns(len(cells)).floor(np.arange(len(cells)))]


def test_a_law_tells_of_the_target_s_floor_what_free_floors_cannot():
    free, held = floor_sds(CELLS, CELLS[:4])
    assert free[-1] > 0.25
    assert held[-1] < 0.12


def test_no_law_tells_more_than_its_error_at_the_nearest_cell():
    _, held = floor_sds(CELLS, CELLS[:4])
    decades = np.log10(TARGET[1] / 8e9)
    assert held[-1] > np.hypot(SCATTER, DRIFT * decades) / 2


def test_nearer_cells_tell_more():
    _, far = floor_sds(CELLS, CELLS[:2])
    _, near = floor_sds(CELLS, CELLS[2:4])
    assert near[-1] < far[-1]
