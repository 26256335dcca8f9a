"""How fast a device trains: tokens per second = devices x peak x MFU / FLOPs per token.

MFU (model FLOPs utilisation) counts the FLOPs of the law's C, attention in full, so that hours and
compute mean the same work.
"""

from __future__ import annotations

from planner.errors import UsageError
from planner.estimate import Estimate
from planner.plan.hardware import Device

USUAL_MFU = Estimate(0.40, 0.30, 0.50, method="assumed: published dense runs on A100 and H100")
"""Used when nobody states or measures one. Published: A100 39-64 %, H100 26-49 %, TPU 46-71 %."""


def mfu_of(stated: float | None) -> tuple[Estimate, str]:
    """Return the MFU to plan with and where it comes from. Raises UsageError outside (0, 1)."""
    if stated is None:
        return USUAL_MFU, "assumed"
    if not 0 < stated < 1:
        raise UsageError(f"--mfu {stated:g} is not a share between 0 and 1, such as .4")
    return Estimate.exactly(stated, "stated"), "stated"


def flops_per_second(device: Device, gpus: float, mfu: float) -> float:
    """Return useful FLOP/s of ``gpus`` devices."""
    return gpus * device.peak_flops * mfu
