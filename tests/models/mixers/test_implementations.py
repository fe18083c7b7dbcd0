import torch

from canonlab.models.mixers import fla, stepwise
from canonlab.models.mixers.implementations import available


def test_the_fastest_that_can_run_is_the_last(monkeypatch):
    assert available("cpu") == ["torch", "numba"]
    monkeypatch.setattr(stepwise, "HAS_NUMBA", False)
    assert available(torch.device("cpu")) == ["torch"]
    monkeypatch.setattr(fla, "available", lambda device: True)
    assert available("cuda") == ["torch", "fla"]
