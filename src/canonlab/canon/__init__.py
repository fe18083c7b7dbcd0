"""Canon layers on their own: `Canon` the module, `canon` the function; and `add_canon`, which puts them into a model.

Needs PyTorch only; numba makes a CPU fast. transformers is loaded where one of its models or caches is at hand.
"""

from canonlab.canon.add import add_canon, prepare_cache, remove_canon
from canonlab.canon.functional import IMPLEMENTATIONS, canon, choose_implementation
from canonlab.canon.layer import Canon
from canonlab.canon.saved import from_pretrained
from canonlab.canon.table import FAMILIES, POINTS, Table

__all__ = [
    "FAMILIES",
    "IMPLEMENTATIONS",
    "POINTS",
    "Canon",
    "Table",
    "add_canon",
    "canon",
    "choose_implementation",
    "from_pretrained",
    "prepare_cache",
    "remove_canon",
]
