"""A task's windows as PyTorch data sets: whole batches as a stream, or single windows by index."""

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from canonlab.data.batches import batch_indices
from canonlab.errors import require_integer, require_seed
from canonlab.plugins import Parcel
from canonlab.tasks.base import MAX_WINDOWS, Split, Task, Windows, require_split

IGNORED = -100
"""The target at positions that aren't scored: the index that PyTorch's cross entropy ignores."""


class _TaskData:
    """The task and which of its windows; pickled so that a worker process loads a user's own task file by itself."""

    def __init__(self, task: Task, seed: int, split: Split, start: int, count: int | None) -> None:
        require_seed(seed)
        require_integer("start", start, 0, MAX_WINDOWS)
        if count is not None:
            require_integer("count", count, 0, MAX_WINDOWS - start)
        self.task, self.seed, self.split, self.start, self.count = task, seed, require_split(split), start, count

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "task": Parcel.pack(self.task)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state | {"task": state["task"].unpack()})


class WindowBatches(_TaskData, IterableDataset[dict[str, Tensor]]):
    """Batches of consecutive windows, as a stream that ends after `count` windows or never.

        loader = DataLoader(WindowBatches(task, batch=32), batch_size=None, num_workers=4)

    Each item is one rank's share of a batch: `tokens` int64, `mask` bool and `targets` int64, all (windows, context).
    targets[i, t] is the token that the logits at t should predict, or IGNORED where that isn't scored. Batch s covers
    the windows start + s * batch and following, the last one what is left; ranks take contiguous parts of it.

    With `batch_size=None`, as above, the order is that of the indices for any number of workers, since a loader asks
    its workers in turn (as long as it isn't told `in_order=False`) and worker w of W makes the batches w, w + W, ...
    To resume, pass as `start` how many windows all ranks have used.

    Args:
        task: whose windows.
        seed: of the stream.
        split: train or eval.
        batch: windows per batch, over all ranks.
        start: index of the first window.
        count: how many windows in all; None for no end.
        rank: of this process, in 0..world-1.
        world: how many processes share each batch.
    """

    def __init__(
        self,
        task: Task,
        *,
        batch: int,
        seed: int = 0,
        split: Split = "train",
        start: int = 0,
        count: int | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        super().__init__(task, seed, split, start, count)
        self.batch, self.world = require_integer("batch", batch, 1), require_integer("world", world, 1)
        self.rank = require_integer("rank", rank, 0, world - 1)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        worker = get_worker_info()
        first, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        for step in itertools.count(first, stride):
            begin = step * self.batch
            size = self.batch if self.count is None else min(self.batch, self.count - begin)
            if size <= 0:
                return
            skipped, share = batch_indices(0, size, self.rank, self.world)
            yield as_tensors(self.task.windows(self.seed, self.start + begin + skipped, share, self.split))


class WindowDataset(_TaskData, Dataset[dict[str, Tensor]]):
    """`count` windows by index: item i is window start + i, as in `WindowBatches` but of shape (context,).

    Works with any sampler, so shuffling and distribution are the loader's business.
    """

    count: int

    def __init__(self, task: Task, count: int, *, seed: int = 0, split: Split = "train", start: int = 0) -> None:
        super().__init__(task, seed, split, start, count)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if not -self.count <= index < self.count:
            raise IndexError(f"window {index} of {self.count}")
        window = self.task.windows(self.seed, self.start + int(index) % self.count, 1, self.split)
        return {name: tensor[0] for name, tensor in as_tensors(window).items()}


def as_tensors(windows: Windows) -> dict[str, Tensor]:
    """`tokens` int64, `mask` bool and `targets` int64 of some windows, all (count, context)."""
    tokens, mask = torch.from_numpy(windows.tokens).long(), torch.from_numpy(windows.mask).bool()
    targets = torch.full_like(tokens, IGNORED)
    targets[:, :-1] = tokens[:, 1:].masked_fill(~mask[:, 1:], IGNORED)
    return {"tokens": tokens, "mask": mask, "targets": targets}
