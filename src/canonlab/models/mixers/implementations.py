"""Who computes a linear mixer, where there is a choice (`fla.IMPLEMENTATIONS`)."""

import torch

from canonlab.models.mixers import fla, stepwise


def available(device: torch.device | str) -> list[str]:
    """Those that can run on the device, the fastest last."""
    there = {"torch": True, "numba": stepwise.available(device), "fla": fla.available(device)}
    return [name for name in fla.IMPLEMENTATIONS if there[name]]
