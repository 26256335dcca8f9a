"""What a trial occupies, and how many of them machines have room for."""

import pytest

from planner.errors import SpaceError
from planner.means import ExecutorChoice
from planner.run import Trial
from planner.sweep.events import Resources
from planner.sweep.resources import fits, resources_of, room, too_large
from tests.sweep.toy_proxy import Toy

GPUS = ExecutorChoice(name="ray", gpus_per_trial=0.25)


def trial(params=1e6):
    return Trial("seeds", {"params": params}, 1000, 10, 0.1, 100)


def test_the_yaml_says_what_a_trial_takes_and_its_size_the_memory():
    small, large = (resources_of(GPUS, Toy({}), trial(params)) for params in (1e6, 1e9))
    assert (small.cpus, small.gpus, small.nodes) == (1, 0.25, 1)
    assert small.memory == 1 << 29
    assert 16e9 < large.memory <= 32 << 30


def test_a_proxy_knows_better():
    class Wide(Toy):
        capabilities = frozenset({"distributed"})

        def resources(self, trial):
            return {"gpus": 8, "nodes": trial.shape["params"] // 1e9}

    assert resources_of(GPUS, Wide({}), trial(2e9)).nodes == 2
    assert resources_of(GPUS, Wide({}), trial(2e9)).gpus == 8


def test_an_answer_that_makes_no_sense_is_refused():
    class Wrong(Toy):
        def resources(self, trial):
            return {"gpu": 1}

    with pytest.raises(SpaceError, match="says gpu = 1; it may say cpus, gpus, nodes, memory"):
        resources_of(GPUS, Wrong({}), trial())
    nodes = ExecutorChoice(name="ray", nodes_per_trial=2)
    with pytest.raises(SpaceError, match='capability "distributed"'):
        resources_of(nodes, Toy({}), trial())


def test_shares_of_a_gpu_never_span_two():
    node = {"CPU": 64.0, "GPU": 2.0}
    assert fits(node, Resources(gpus=0.25)) == 8
    assert fits(node, Resources(gpus=0.4)) == 4
    assert fits(node, Resources(gpus=2)) == 1
    assert fits(node, Resources(gpus=4)) == 0
    assert fits({"CPU": 4.0, "memory": 3e9}, Resources(memory=1 << 30)) == 2


def test_a_trial_on_several_nodes_has_each_to_itself():
    nodes = [{"CPU": 4.0}, {"CPU": 2.0}, {"CPU": 1.0}]
    assert room(nodes, Resources()) == 7
    assert room(nodes, Resources(nodes=2)) == 3
    assert room(nodes, Resources(nodes=3)) == 1
    assert room(nodes, Resources(nodes=4)) == 0


def test_what_no_node_holds_is_told_with_what_there_is():
    told = too_large(Resources(cpus=8, nodes=2), [{"CPU": 4.0}, {"CPU": 2.0}])
    assert "8 CPUs, 0 GPUs, 0 MB on 2 node(s)" in told
    assert "the largest of 2 has 4 CPUs" in told
