"""PyTorch's view of a task: which windows come, in which order, and what the targets are."""

import pickle
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader

from canonlab.datasets import IGNORED, WindowBatches, WindowDataset
from canonlab.errors import InputError
from canonlab.plugins import load_plugin
from canonlab.tasks.catalog import build_task

TASK = build_task("copy", {"N": 5, "context": 20})


def all_tokens(batches: WindowBatches, workers: int = 0) -> torch.Tensor:
    loader = DataLoader(
        batches, batch_size=None, num_workers=workers, multiprocessing_context="spawn" if workers else None
    )
    return torch.cat([item["tokens"] for item in loader])


def reference(start: int, count: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(TASK.windows(seed, start, count, "train").tokens).long()


def test_batches_are_the_windows_in_order() -> None:
    items = list(WindowBatches(TASK, batch=4, start=7, count=10))
    assert [len(item["tokens"]) for item in items] == [4, 4, 2]
    assert torch.equal(torch.cat([item["tokens"] for item in items]), reference(7, 10))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_order_is_the_same_for_any_number_of_workers(workers: int) -> None:
    assert torch.equal(all_tokens(WindowBatches(TASK, batch=2, start=3, count=11), workers), reference(3, 11))


@pytest.mark.parametrize("world", [1, 2, 3])
def test_ranks_share_each_batch(world: int) -> None:
    streams = [WindowBatches(TASK, batch=5, count=12, rank=rank, world=world) for rank in range(world)]
    steps = zip(*streams, strict=True)
    assert torch.equal(torch.cat([item["tokens"] for step in steps for item in step]), reference(0, 12))


def test_without_a_count_there_is_no_end_and_start_resumes() -> None:
    endless = iter(WindowBatches(TASK, batch=3, seed=2))
    seen = torch.cat([next(endless)["tokens"] for _ in range(20)])
    resumed = next(iter(WindowBatches(TASK, batch=3, seed=2, start=57)))["tokens"]
    assert torch.equal(seen, reference(0, 60, seed=2)) and torch.equal(resumed, seen[57:])


def test_targets_line_up_with_logits() -> None:
    item = next(iter(WindowBatches(TASK, batch=3, split="eval")))
    tokens, mask = TASK.windows(0, 0, 3, "eval")
    assert {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in item.items()} == {
        "tokens": (torch.int64, (3, 20)),
        "mask": (torch.bool, (3, 20)),
        "targets": (torch.int64, (3, 20)),
    }
    for row in range(3):
        marked = [int(tokens[row, t + 1]) if t < 19 and mask[row, t + 1] else IGNORED for t in range(20)]
        assert item["targets"][row].tolist() == marked
    logits = torch.randn(3, 20, len(TASK.vocabulary), generator=torch.Generator().manual_seed(0))
    loss = F.cross_entropy(logits.flatten(0, 1), item["targets"].flatten())
    expected = F.cross_entropy(logits[:, :-1][item["mask"][:, 1:]], item["tokens"][:, 1:][item["mask"][:, 1:]])
    assert torch.allclose(loss, expected)


def test_windows_by_index() -> None:
    windows = WindowDataset(TASK, 6, start=4)
    assert len(windows) == 6 and len(list(windows)) == 6
    stacked = torch.stack([windows[i]["tokens"] for i in range(6)])
    assert torch.equal(stacked, reference(4, 6)) and torch.equal(windows[-1]["tokens"], stacked[5])
    assert torch.equal(next(iter(DataLoader(windows, batch_size=3)))["tokens"], stacked[:3])
    for index in (6, -7):
        with pytest.raises(IndexError, match="of 6"):
            windows[index]


def test_a_users_own_task_reaches_another_process(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("from canonlab.tasks.copy import Copy\nclass Mine(Copy):\n    pass\n")
    task = load_plugin(f"{file}:Mine").cls(N=5, context=20)
    item = next(iter(pickle.loads(pickle.dumps(WindowBatches(task, batch=2)))))
    assert torch.equal(item["tokens"], next(iter(WindowBatches(task, batch=2)))["tokens"])
    loader = DataLoader(
        WindowBatches(task, batch=2, count=4), batch_size=None, num_workers=1, multiprocessing_context="spawn"
    )
    assert [len(item["tokens"]) for item in loader] == [2, 2], "a new process doesn't know the file's module"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch": 0}, "batch = 0"),
        ({"batch": 1, "rank": 2, "world": 2}, "rank = 2: must be an integer from 0 to 1"),
        ({"batch": 1, "count": -1}, "count = -1"),
        ({"batch": 1, "split": "test"}, "unknown split 'test'"),
    ],
)
def test_bad_arguments(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        WindowBatches(TASK, **arguments)
