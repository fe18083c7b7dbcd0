"""What the kernels of flash-linear-attention are given and what becomes of their results, with plain loops for kernels.

The loops have the kernels' argument names, shapes and refusals; where the package can be imported, that these names are
its own is checked too. The kernels themselves run on a GPU only.
"""

import importlib
import inspect
import itertools
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F

from canonlab.errors import InputError
from canonlab.models.canon_points import NoCanon
from canonlab.models.mixers import fla
from canonlab.models.mixers.gla import GLA
from canonlab.models.mixers.linear import recurrent

B, T, H, K, V = 3, 20, 2, 4, 6
KERNELS = {
    "gla": ("fla.ops.gla", "chunk_gla"),
    "simple_gla": ("fla.ops.simple_gla", "chunk_simple_gla"),
    "gated_delta": ("fla.ops.gated_delta_rule", "chunk_gated_delta_rule"),
    "general": ("fla.ops.generalized_delta_rule", "chunk_dplr_delta_rule"),
}


def call(name, q, k, v, *rest, initial=None, segment_ids=None):
    """The function behind that kernel; what `_arguments` draws for it."""
    if name == "gated_delta":
        return fla.gated_delta(q, k, v, *rest, initial, segment_ids)
    *beta, log_decay = rest
    more = {"read_BTHK": k, "erase_BTHK": beta[0][..., None] * k} if beta else {}
    k = beta[0][..., None] * k if beta else k
    return fla.linear(q, k, v, log_decay, **more, initial_BHKV=initial, segment_ids=segment_ids)


SEGMENTS = torch.tensor([[0] * 20, [-1] * 3 + [0] * 17, [4] * 9 + [5] * 1 + [4] * 10])
every_kernel = pytest.mark.parametrize("name", KERNELS)


def _kernel(seen):
    """One plain loop for all: the delta rule where there is a beta, decays per head or per key channel."""

    def kernel(q, k, v, g, beta=None, scale=None, initial_state=None, output_final_state=False, cu_seqlens=None):
        seen.append({"q": q, "initial_state": initial_state, "cu_seqlens": cu_seqlens, "g": g})
        assert output_final_state and q.dtype == k.dtype == v.dtype and g.dtype == torch.float32
        batch, time, heads, keys = q.shape
        rows = [(row, 0, time) for row in range(batch)]
        if cu_seqlens is not None:
            assert batch == 1 and cu_seqlens.dtype == torch.int64
            rows = [(0, first, last) for first, last in itertools.pairwise(cu_seqlens.tolist())]
        if initial_state is not None:
            assert initial_state.shape == (len(rows), heads, keys, v.shape[-1])
            assert initial_state.dtype == torch.float32
        o, finals = torch.zeros_like(v), []
        for sequence, (row, first, last) in enumerate(rows):
            S = torch.zeros(heads, keys, v.shape[-1]) if initial_state is None else initial_state[sequence]
            for t in range(first, last):
                S = g[row, t].exp().view(heads, -1, 1) * S
                new = v[row, t]
                if beta is not None:
                    new = beta[row, t][:, None] * (new - torch.einsum("hkv,hk->hv", S, k[row, t]))
                S = S + k[row, t][..., None] * new[:, None]
                o[row, t] = scale * torch.einsum("hkv,hk->hv", S, q[row, t].to(S.dtype))
            finals.append(S)
        return o, torch.stack(finals)

    return kernel


def _general(seen):
    """The kernel for general transitions, by its own formula: S_t = diag(e^gk) S + k v^T + b (S^T a)^T."""

    def kernel(q, k, v, a, b, gk, scale=None, initial_state=None, output_final_state=False, cu_seqlens=None):
        seen.append({"q": q, "initial_state": initial_state, "cu_seqlens": cu_seqlens, "g": gk})
        rows = [(0, *pair) for pair in itertools.pairwise(cu_seqlens.tolist())] if cu_seqlens is not None else None
        o, finals = torch.zeros_like(v), []
        for sequence, (row, first, last) in enumerate(rows or [(row, 0, q.shape[1]) for row in range(len(q))]):
            S = torch.zeros(H, q.shape[-1], v.shape[-1]) if initial_state is None else initial_state[sequence]
            for t in range(first, last):
                read = torch.einsum("hkv,hk->hv", S, a[row, t])
                S = gk[row, t].exp()[..., None] * S + k[row, t][..., None] * v[row, t][:, None]
                S = S + b[row, t][..., None] * read[:, None]
                o[row, t] = scale * torch.einsum("hkv,hk->hv", S, q[row, t])
            finals.append(S)
        return o, torch.stack(finals)

    return kernel


@pytest.fixture
def seen(monkeypatch):
    """The arguments of the kernels' calls; the package is one of plain loops, and any device will do."""
    calls = []
    monkeypatch.setattr(fla, "require", lambda device: None)
    for name, (module, function) in KERNELS.items():
        fake = ModuleType(module)
        setattr(fake, function, (_general if name == "general" else _kernel)(calls))
        monkeypatch.setitem(sys.modules, module, fake)
    for package in ("fla", "fla.ops"):
        monkeypatch.setitem(sys.modules, package, ModuleType(package))
    return calls


CHANNELS = ("gla", "general")


def _arguments(name, batch=B, time=T, device="cpu", keys=K, values=V, seed=0):
    """q, k, v, (beta,) log decay and initial state for the function of that name."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(shape, generator=generator).to(device)

    q, k, v = draw(batch, time, H, keys), draw(batch, time, H, keys), draw(batch, time, H, values)
    log_decay = F.logsigmoid(draw(batch, time, H, keys) if name in CHANNELS else draw(batch, time, H))
    between = [draw(batch, time, H).sigmoid()] if name in ("gated_delta", "general") else []
    return [q, F.normalize(k, dim=-1), v, *between, log_decay], draw(batch, H, keys, values)


def _by_definition(name, sequences, initial, segment_ids):
    """Row by row and token by token, in float64."""
    q, k, v, *beta, g = (x.double() for x in sequences)
    g = g if name in CHANNELS else g[..., None].expand_as(q)
    o, final = torch.zeros_like(v), initial.double().clone()
    for row in range(len(q)):
        S = final[row].clone()
        for t in range(q.shape[1]):
            if segment_ids is not None and t and segment_ids[row, t] != segment_ids[row, t - 1]:
                S = torch.zeros_like(S)
            S = g[row, t].exp()[..., None] * S
            new = v[row, t] - (torch.einsum("hkv,hk->hv", S, k[row, t]) if beta else 0)
            S = S + k[row, t][..., None] * (beta[0][row, t][:, None] * new if beta else new)[:, None]
            o[row, t] = torch.einsum("hkv,hk->hv", S, q[row, t])
        final[row] = S
    return o.float(), final.float()


@every_kernel
@pytest.mark.parametrize("segment_ids", [None, SEGMENTS])
@pytest.mark.parametrize("with_state", [False, True])
def test_each_function_is_its_recurrence(name, segment_ids, with_state, seen):
    sequences, initial = _arguments(name)
    found = call(name, *sequences, initial=initial if with_state else None, segment_ids=segment_ids)
    wanted = _by_definition(name, sequences, initial if with_state else 0 * initial, segment_ids)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@every_kernel
def test_segments_are_sequences_of_one_flat_row_and_a_plain_batch_stays_one(name, seen):
    sequences, initial = _arguments(name)
    call(name, *sequences, initial=initial)
    assert seen[0]["cu_seqlens"] is None and len(seen[0]["q"]) == B
    call(name, *sequences, initial=initial, segment_ids=SEGMENTS)
    assert seen[1]["cu_seqlens"].tolist() == [0, 20, 23, 40, 49, 50, 60]
    states = seen[1]["initial_state"]
    assert torch.equal(states[[0, 1, 3]], initial) and not states[[2, 4, 5]].any()


@every_kernel
def test_transforms_are_refused(name, seen):
    sequences, _ = _arguments(name)
    with pytest.raises(InputError, match="'fla': its kernels take no transforms of torch.func"):
        torch.func.grad(lambda q: call(name, q, *sequences[1:])[0].sum())(sequences[0])
    with torch.autograd.forward_ad.dual_level(), pytest.raises(InputError, match="nor forward-mode derivatives"):
        call(name, *sequences)
    assert seen == []


def test_half_precision_products_keep_precise_decays(seen):
    (q, k, v, log_decay), initial = _arguments("gla")
    o, final = fla.linear(q, k, v.bfloat16(), log_decay, initial_BHKV=initial)
    assert seen[0]["q"].dtype == o.dtype == torch.bfloat16 and seen[0]["g"].dtype == final.dtype == torch.float32


def test_double_precision_is_refused(seen):
    (q, k, v, log_decay), _ = _arguments("gla")
    with pytest.raises(InputError, match=r"float64 \(allowed: float32, bfloat16, float16\)"):
        fla.linear(q, k, v.double(), log_decay)


def test_what_is_missing_is_said(monkeypatch):
    assert not fla.available("cpu")
    with pytest.raises(InputError, match="needs a CUDA device and is to run on 'cpu' \\(allowed: torch, numba, fla\\)"):
        fla.require("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None if package == "fla" else package)
    assert not fla.available("cuda")
    with pytest.raises(InputError, match="not installed: pip install 'fla-core>=0.6' \\("):
        fla.require("cuda")


@pytest.mark.parametrize("version", ["0.6.0", "0.6", "0.10.1", "1.0.0rc1", "2"])
def test_a_new_enough_package_will_do(version, monkeypatch):
    _install(version, monkeypatch)
    assert fla.available("cuda:1")
    fla.require("cuda:1")


@pytest.mark.parametrize("version", ["0.5.9", "0.5", "0.4.2.dev3", None])
def test_a_package_that_is_too_old_is_said_with_the_version_needed(version, monkeypatch):
    _install(version, monkeypatch)
    assert not fla.available("cuda")
    problem = f"fla-core is {version}, too old" if version else "not installed"
    with pytest.raises(InputError, match=rf"{problem}: pip install 'fla-core>=0\.6' \("):
        fla.require("cuda")


def _install(version, monkeypatch):
    """A CUDA device and all packages, fla-core in that version; None is a package `fla` of another name."""

    def installed(package):
        assert package == "fla-core"
        if version is None:
            raise metadata.PackageNotFoundError(package)
        return version

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: package)
    monkeypatch.setattr(metadata, "version", installed)


def test_what_the_package_asks_for_is_what_the_kernels_need():
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    needed = f"fla-core>={'.'.join(map(str, fla.OLDEST))}"
    assert needed in project["project"]["optional-dependencies"]["fla"]
    assert needed in project["dependency-groups"]["references"]


def test_a_layer_gives_the_same_with_either_implementation(seen):
    torch.manual_seed(0)
    layer, x = GLA(GLA.Config(8, heads=H), lambda _: NoCanon()), torch.randn(B, T, 8)
    layer.decay[1].bias.data.normal_(std=3)
    results = []
    for layer.implementation in ("torch", "fla"):
        state = layer.init_state(B, T, torch.float32, x.device)
        plain, _ = layer(x, None, None)
        packed, _ = layer(x, SEGMENTS, None)
        cuts = [11, 1, 8]
        parts = [
            layer(part, ids, state)[0] for part, ids in zip(x.split(cuts, 1), SEGMENTS.split(cuts, 1), strict=True)
        ]
        results.append([plain, packed, torch.cat(parts, 1), state["S"]])
    assert len(seen) == 4  # a single token takes the plain step
    for torch_, fla_ in zip(*results, strict=True):
        torch.testing.assert_close(fla_, torch_, rtol=1e-5, atol=1e-6)


def test_a_compiled_layer_leaves_the_kernels_as_they_are(seen):
    """Between two graphs: the compiler can't look into the package's own kernels."""
    torch.manual_seed(0)
    layer, x = GLA(GLA.Config(8, heads=H), lambda _: NoCanon()), torch.randn(B, T, 8)
    layer.implementation = "fla"
    eager, _ = layer(x, None, None)
    torch._dynamo.reset()
    compiled, _ = torch.compile(layer, backend="eager")(x, None, None)
    assert len(seen) == 2 and type(seen[1]["q"]) is torch.Tensor
    torch.testing.assert_close(compiled, eager)


@every_kernel
def test_the_package_has_these_arguments(name):
    module, function = KERNELS[name]
    pytest.importorskip(
        module, reason="flash-linear-attention is not installed: pip install fla-core", exc_type=ImportError
    )
    real = inspect.signature(getattr(importlib.import_module(module), function)).parameters
    ours = (_general if name == "general" else _kernel)([])
    asked = set(inspect.signature(ours).parameters) - ({"beta"} if name != "gated_delta" else set())
    assert asked <= set(real)


@pytest.mark.gpu
@every_kernel
@pytest.mark.parametrize("segmented", [False, True])
def test_the_kernels_are_the_recurrence(name, segmented):
    if not fla.available("cuda"):
        pytest.skip("needs a CUDA device and fla-core")
    time = 130
    segment_ids = (
        (torch.rand(B, time, generator=torch.Generator().manual_seed(0)) < 0.05).cumsum(1) if segmented else None
    )
    sequences, initial = _arguments(name, time=time, keys=32, values=64)
    wanted = _by_definition(name, sequences, initial, segment_ids)
    moved = [x.cuda() for x in sequences]
    ids = None if segment_ids is None else segment_ids.cuda()
    found = call(name, *moved, initial=initial.cuda(), segment_ids=ids)
    for a, b in zip(found, wanted, strict=True):
        assert (a.cpu() - b).abs().max() < 5e-3 * b.abs().max()  # the kernels multiply in TensorFloat-32


def test_the_plain_loop_of_these_tests_is_the_mixers_definition():
    sequences, initial = _arguments("gla")
    wanted = recurrent(*sequences, initial_BHKV=initial, segment_ids=SEGMENTS)
    for a, b in zip(_by_definition("gla", sequences, initial, SEGMENTS), wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
