"""What the CPU kernels promise beyond being right: threads, memory, rounding."""

import multiprocessing
from pathlib import Path

import numba
import pytest
import torch
from numba.core.caching import CacheImpl, IndexDataCacheFile
from torch import Tensor

from canonlab.canon import canon, cpu


def gradients(x: Tensor, weight: Tensor, g: Tensor, ids: Tensor | None = None) -> tuple[Tensor, ...]:
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    y = canon(x, weight, segment_ids=ids, implementation="numba")
    return (y.detach(), *torch.autograd.grad(y, (x, weight), g))


def draw(shape: tuple[int, int, int], dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    x, g = (torch.randn(shape, generator=random).to(dtype) for _ in range(2))
    return x, torch.randn(4, shape[2], generator=random), g


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_threads_and_pieces_change_no_bit(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight, g = draw((2, 50, 333), dtype)
    ids = torch.arange(50).expand(2, 50) // 11
    monkeypatch.setattr(cpu, "ELEMENTS_PER_THREAD", 1)
    before = torch.get_num_threads()
    results = []
    try:
        for threads, piece in ((1, 4096), (2, 4096), (3, 4096), (5, 4096), (1, 64), (2, 100)):
            torch.set_num_threads(threads)
            monkeypatch.setattr(cpu, "CHANNELS_PER_PIECE", piece)
            results.append(gradients(x, weight, g, ids))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            assert torch.equal(one, two)


def test_every_output_is_written() -> None:
    torch.use_deterministic_algorithms(True)  # fills uninitialised memory with NaN
    try:
        assert torch.empty(3).isnan().all()
        for shape in ((2, 1, 5), (3, 4, 16), (2, 37, 70)):
            assert all(tensor.isfinite().all() for tensor in gradients(*draw(shape)))
    finally:
        torch.use_deterministic_algorithms(False)


def test_strides_do_not_matter() -> None:
    x, weight, g = draw((3, 20, 24))
    expected = gradients(x, weight, g)
    odd = [tensor.transpose(0, -1).contiguous().transpose(0, -1) for tensor in (x, weight, g)]
    assert not any(tensor.is_contiguous() for tensor in odd)
    for one, two in zip(expected, gradients(*odd), strict=True):
        assert torch.equal(one, two)
    ones = torch.ones(())
    for one, two in zip(gradients(x, weight, torch.ones_like(x)), gradients(x, weight, ones.expand_as(x)), strict=True):
        assert torch.equal(one, two)


def test_bfloat16_rounds_as_torch_does() -> None:
    bits = torch.arange(1 << 16, dtype=torch.int32).to(torch.uint16).view(torch.bfloat16)
    x = bits.reshape(1, -1, 128)  # every bfloat16 number, infinities and NaNs among them
    weight = torch.tensor([1 / 3, 2 / 3])[:, None].expand(2, 128)
    results = [
        canon(x, weight, residual=False, implementation=implementation).float()
        for implementation in ("numba", "reference")
    ]
    torch.testing.assert_close(*results, rtol=0, atol=0, equal_nan=True)
    assert results[0].isnan().any() and results[0].isinf().any()
    loud = torch.tensor(0x7FFFFFFF, dtype=torch.int32).view(torch.float32)  # rounding up its bits would give -0.0
    assert canon(torch.ones_like(x), loud.expand(2, 128), implementation="numba").isnan().all()


def test_long_sums_stay_accurate() -> None:
    """A float32 sum over 64 x 1000 positions: one sequence after another, so the error does not grow with the batch."""
    x, weight, g = draw((64, 1000, 8))
    _, _, dweight = gradients(x, weight, g)
    _, _, exact = gradients(x.double(), weight.double(), g.double())
    torch.testing.assert_close(dweight.double(), exact, rtol=0, atol=2e-3)
    assert (dweight.double() - exact).abs().max() < 1e-5 * exact.abs().max() + 1e-4


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
def test_a_forked_child_has_threads_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "ELEMENTS_PER_THREAD", 1)
    x, weight, _ = draw((2, 8, 1024))
    context = multiprocessing.get_context("fork")
    queue = context.Queue()

    def put() -> None:
        queue.put(float(cpu.forward(x, weight, None).numpy().sum()))  # NumPy: PyTorch's own threads do not survive

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        put()
        child = context.Process(target=put, daemon=True)
        child.start()
        assert queue.get(timeout=30) == queue.get(timeout=30)
        child.join(timeout=30)
        assert child.exitcode == 0
    finally:
        torch.set_num_threads(before)


def add_one(x: int) -> int:
    return x + 1


def test_a_cache_that_cannot_be_used_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    assert [cpu._compiled(add_one)(1) for _ in range(2)] == [2, 2]
    (code,) = tmp_path.rglob("*.nbc")
    code.write_bytes(code.read_bytes()[:20])
    assert cpu._compiled(add_one)(1) == 2

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(IndexDataCacheFile, "save", full)
    code.unlink()
    with pytest.warns(RuntimeWarning, match="no space left"):
        assert cpu._compiled(add_one)(1) == 2
    monkeypatch.setattr(CacheImpl, "_locator_classes", [])
    with pytest.warns(RuntimeWarning, match="set NUMBA_CACHE_DIR"):
        assert cpu._compiled(add_one)(1) == 2


def test_without_a_compiler_there_is_a_clear_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "njit", lambda **_: lambda function: function)
    with pytest.raises(RuntimeError, match="told not to compile"):
        cpu._compiled(add_one)


def test_code_of_one_signature_lies_in_files_of_its_own() -> None:
    """So that two processes that compile at once can't take one number in numba's cache for two signatures."""
    files = set()
    for taps in (2, 4):
        for dtype in (torch.float32, torch.bfloat16):
            cpu.forward(torch.ones(1, 3, 5, dtype=dtype), torch.ones(taps, 5), None)
            forward, _ = cpu.kernels(taps, dtype)
            files.add(forward._cache._cache_file._index_path)  # type: ignore[attr-defined]
            assert len(forward.signatures) == 1  # type: ignore[attr-defined]
    assert len(files) == 4
