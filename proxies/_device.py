"""What a trial asks of its device: the most memory it held, and how busy it was.

    device_utilisation = mean share of time with a kernel running, looked at once a second at most

Both are CUDA's; on other devices, and where the driver's management library is not installed, they
are absent rather than guessed.
"""

from __future__ import annotations

import time

import torch

LOOK_SECONDS = 1.0
"""A look costs about a millisecond."""


class DeviceMeter:
    """Watches one device from now on; ``look`` at it now and then, ask for ``metrics`` at the end.

    Memory is this process's share of the device.
    """

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)
        self._looks: list[float] = []
        self._next = time.monotonic()
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)

    def look(self) -> None:
        """Take in how busy the device is."""
        if self._device.type != "cuda" or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + LOOK_SECONDS
        try:
            self._looks.append(torch.cuda.utilization(self._device) / 100)
        except (ImportError, RuntimeError):
            self._next = float("inf")

    def metrics(self) -> dict[str, float]:
        """Return what is known by now: peak_device_memory_bytes, device_utilisation."""
        if self._device.type != "cuda":
            return {}
        told = {"peak_device_memory_bytes": float(torch.cuda.max_memory_allocated(self._device))}
        if self._looks:
            told["device_utilisation"] = sum(self._looks) / len(self._looks)
        return told
