"""Models that others have published, as decoders (`load_published`), and decoders as models of transformers (`export`).

See docs/checkpoints.md for what can be loaded, and docs/hub.md for what others can load.
"""

from canonlab.hub.export import export, to_transformers
from canonlab.hub.published import import_published, load_published

__all__ = ["export", "import_published", "load_published", "to_transformers"]
