"""Canon layers on their own: `Canon` the module, `canon` the function. Needs PyTorch only; numba makes a CPU fast."""

from canonlab.canon.functional import IMPLEMENTATIONS, canon, choose_implementation
from canonlab.canon.layer import Canon

__all__ = ["IMPLEMENTATIONS", "Canon", "canon", "choose_implementation"]
