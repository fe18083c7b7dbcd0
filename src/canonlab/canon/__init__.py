"""Canon layers on their own: `Canon` the module, `canon` the function. Needs PyTorch only; numba makes a CPU fast."""

from canonlab.canon.functional import BACKENDS, canon, choose_backend
from canonlab.canon.layer import Canon

__all__ = ["BACKENDS", "Canon", "canon", "choose_backend"]
