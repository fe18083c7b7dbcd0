"""Tasks as data sets for other trainers: PyTorch's, files, and Hugging Face's."""

from canonlab.datasets.files import export
from canonlab.datasets.hugging_face import to_hugging_face
from canonlab.datasets.windows import IGNORED, WindowBatches, WindowDataset

__all__ = ["IGNORED", "WindowBatches", "WindowDataset", "export", "to_hugging_face"]
