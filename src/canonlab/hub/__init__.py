"""Models that others have published, as decoders: `load_published`, and a folder of canonlab's own to keep one in.

See docs/checkpoints.md for what can be loaded, and for what of it has been checked.
"""

from canonlab.hub.published import import_published, load_published

__all__ = ["import_published", "load_published"]
