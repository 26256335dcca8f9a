"""Hours, days and money of C FLOPs, with the bands of MFU and price.

    GPU-hours = C / (peak x MFU) / 3600     days = GPU-hours / GPUs / 24     USD = GPU-hours x price

The bands are independent factors, so their logs add in quadrature. Pure training time: restarts,
evaluation and checkpoints come on top, and the plan says so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.estimate import Estimate
from planner.plan.hardware import Device
from planner.plan.plan import Cost
from planner.plan.throughput import flops_per_second


@dataclass(frozen=True, slots=True)
class Machine:
    """What the run is to be trained on, and where each figure comes from."""

    device: Device
    mfu: Estimate
    mfu_source: str
    price: Estimate | None
    price_source: str
    gpus: float | None = None

    def flops(self, gpu_hours: float) -> float:
        """Return the FLOPs that ``gpu_hours`` buy at the central MFU."""
        return gpu_hours * 3600.0 * flops_per_second(self.device, 1.0, self.mfu.value)


def cost_of(flops: float, machine: Machine) -> Cost:
    """Return what ``flops`` take on a machine."""
    hours = flops / machine.flops(1.0)
    slower = Estimate(
        hours,
        hours * machine.mfu.value / machine.mfu.high,
        hours * machine.mfu.value / machine.mfu.low,
        method=f"MFU {machine.mfu_source}",
    )
    usd = _product(slower, machine.price) if machine.price else None
    return Cost(
        gpu=machine.device.name,
        gpus=machine.gpus,
        gpu_hours=slower,
        days=slower.scaled(1 / 24 / machine.gpus) if machine.gpus else None,
        usd=usd,
        mfu=machine.mfu,
        mfu_source=machine.mfu_source,
        price_usd_per_gpu_hour=machine.price,
        price_source=machine.price_source,
    )


def _product(a: Estimate, b: Estimate) -> Estimate:
    """Multiply two independent positive estimates."""
    value = a.value * b.value
    down = np.hypot(np.log(a.value / a.low), np.log(b.value / b.low))
    up = np.hypot(np.log(a.high / a.value), np.log(b.high / b.value))
    low, high = float(value * np.exp(-down)), float(value * np.exp(up))
    return Estimate(value, low, high, method="bands of MFU and price, in quadrature of logs")
