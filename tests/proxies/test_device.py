"""A device's memory and how busy it was; what cannot be known is absent."""

import pytest
import torch

from planner.proxies._device import DeviceMeter


@pytest.fixture
def cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 123)
    monkeypatch.setattr("planner.proxies._device.LOOK_SECONDS", 0.0)


def test_a_cpu_tells_nothing():
    meter = DeviceMeter("cpu")
    meter.look()
    assert meter.metrics() == {}


def test_a_gpu_tells_its_peak_and_its_mean_utilisation(cuda, monkeypatch):
    shares = iter([100, 50])
    monkeypatch.setattr(torch.cuda, "utilization", lambda device: next(shares))
    meter = DeviceMeter("cuda:0")
    meter.look()
    meter.look()
    assert meter.metrics() == {"peak_device_memory_bytes": 123.0, "device_utilisation": 0.75}


def test_without_the_drivers_library_utilisation_is_absent_and_not_asked_again(cuda, monkeypatch):
    asked = []

    def missing(device):
        asked.append(device)
        raise ModuleNotFoundError("pynvml")

    monkeypatch.setattr(torch.cuda, "utilization", missing)
    meter = DeviceMeter("cuda:0")
    meter.look()
    meter.look()
    assert meter.metrics() == {"peak_device_memory_bytes": 123.0}
    assert len(asked) == 1
