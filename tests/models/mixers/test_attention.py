"""Every kind of attention, by every implementation, against its definition written out, in float64."""

import functools
import math

import pytest
import torch
from torch import Tensor
from torch.nn.attention import flex_attention

from canonlab.canon import Canon
from canonlab.errors import InputError
from canonlab.models.canon_points import NoCanon
from canonlab.models.mixers import softmax
from canonlab.models.mixers.attention import Attention
from canonlab.models.mixers.softmax import BLOCK, Sight, attend, choose_implementation, flex
from canonlab.models.positions import POSITIONS, alibi_slopes, halibi_reach
from transforms import check_transforms, compiled_operators, exported

HEADS, HEAD_WIDTH = 4, 8
TOLERANCE = {"rtol": 1e-10, "atol": 1e-10}
LENGTHS = (1, 37, BLOCK, 2 * BLOCK + 45)

kinds = pytest.mark.parametrize("kind", ["plain", "alibi", "halibi"])
key_heads = pytest.mark.parametrize("kv_heads", [4, 2, 1])
packings = pytest.mark.parametrize("packed", [False, True])


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def segments_of(batch: int, time: int) -> Tensor:
    """Documents of about 20 tokens; the second row begins with padding."""
    new = torch.rand(batch, time, generator=torch.Generator().manual_seed(1)) < 0.05
    ids = new.long().cumsum(1)
    ids[1:, : time // 3] = -1
    return ids


def sight_of(kind: str, positions: Tensor, queries: Tensor | None, keys: Tensor | None) -> Sight:
    device = positions.device
    slopes = alibi_slopes(HEADS, torch.float64, device) if kind == "alibi" else None
    return Sight(positions, queries, keys, slopes, halibi_reach(HEADS, device) if kind == "halibi" else None)


def by_definition(q: Tensor, k: Tensor, v: Tensor, kind: str, start: int, own: Tensor, others: Tensor) -> Tensor:
    """One query and head at a time; `own` and `others` are the segments of queries and keys."""
    out = torch.zeros_like(q)
    batch, heads, queries, width = q.shape
    for b in range(batch):
        for h in range(heads):
            shared = h // (heads // k.shape[1])
            for t in range(queries):
                i = start + t
                visible = [j for j in range(i + 1) if others[b, j] == own[b, t]]
                if kind == "halibi" and h + 1 <= heads / 2:
                    visible = [j for j in visible if j > i - (h + 1)]
                scores = (k[b, shared, visible] @ q[b, h, t]) / math.sqrt(width)
                if kind == "alibi":
                    scores = scores - torch.tensor([abs(i - j) * 2 ** (-8 * (h + 1) / heads) for j in visible])
                out[b, h, t] = torch.softmax(scores, 0) @ v[b, shared, visible]
    return out


@functools.cache
def example(kind: str, kv_heads: int, packed: bool) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor]:
    """Queries, keys, values and segments, and what comes out by the definition, which is slow."""
    time = 37
    q = random(2, HEADS, time, HEAD_WIDTH)
    k, v = random(2, kv_heads, time, HEAD_WIDTH, seed=1), random(2, kv_heads, time, HEAD_WIDTH, seed=2)
    segments = segments_of(2, time) if packed else None
    same = torch.zeros(2, time) if segments is None else segments
    return q, k, v, segments, by_definition(q, k, v, kind, 0, same, same)


@kinds
@key_heads
@packings
@pytest.mark.parametrize("implementation", ["mask", "blocks", "flex"])
def test_implementations_are_the_definition(
    implementation: str, packed: bool, kv_heads: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(softmax, "BLOCK", 16)
    q, k, v, segments, expected = example(kind, kv_heads, packed)
    sight = sight_of(kind, torch.arange(q.shape[2])[None], segments, segments)
    # FlexAttention without a compiler is plain arithmetic, which runs on a CPU; as it is, it is traced on each call.
    monkeypatch.setattr(flex_attention, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
    out = (
        flex(q, k, v, sight)
        if implementation == "flex"
        else attend(q, k, v, sight, cached=False, implementation=implementation)
    )
    torch.testing.assert_close(out, expected, **TOLERANCE)


@kinds
@packings
@pytest.mark.parametrize("time", LENGTHS)
def test_blocks_and_mask_have_the_same_gradients(time: int, packed: bool, kind: str) -> None:
    segments = segments_of(2, time) if packed else None
    sight = sight_of(kind, torch.arange(time)[None], segments, segments)
    found = {}
    for implementation in ("mask", "blocks"):
        inputs = [random(2, h, time, HEAD_WIDTH, seed=h).requires_grad_() for h in (HEADS, 2, 1)]
        inputs[2].data = random(2, 2, time, HEAD_WIDTH, seed=9)
        out = attend(*inputs, sight, cached=False, implementation=implementation)  # type: ignore[arg-type]
        out.backward(random(*out.shape, seed=5))
        found[implementation] = [out.detach(), *[x.grad for x in inputs]]
    for a, b in zip(found["mask"], found["blocks"], strict=True):
        torch.testing.assert_close(a, b, **TOLERANCE)


@kinds
@packings
def test_long_chunks_into_a_cache(packed: bool, kind: str) -> None:
    """Blocks of queries against a cache with free slots behind, each row with its own start."""
    slots, start, queries = 400, 50, 2 * BLOCK + 3
    filled = start + queries
    q = random(2, HEADS, queries, HEAD_WIDTH)
    k, v = random(2, 2, slots, HEAD_WIDTH, seed=1), random(2, 2, slots, HEAD_WIDTH, seed=2)
    segments = torch.full((2, slots), -1)
    segments[:, :filled] = segments_of(2, filled) if packed else 0
    positions = torch.full((2, 1), start) + torch.arange(queries)
    sight = sight_of(kind, positions, segments[:, start:filled], segments)
    masked, blocks = (attend(q, k, v, sight, cached=True, implementation=b) for b in ("mask", "blocks"))
    torch.testing.assert_close(blocks, masked, **TOLERANCE)
    few = [0, 1, queries - 1]
    for t in few:
        one = by_definition(q[:, :, t : t + 1], k, v, kind, start + t, segments[:, start + t : start + t + 1], segments)
        torch.testing.assert_close(masked[:, :, t : t + 1], one, **TOLERANCE)


def test_blocks_pass_gradcheck_and_operator_checks() -> None:
    segments = segments_of(2, 7)
    sight = sight_of("alibi", torch.arange(7)[None], segments, segments)
    inputs = [random(2, h, 7, 4, seed=h).requires_grad_() for h in (HEADS, 2)]
    inputs.append(random(2, 2, 7, 4, seed=3).requires_grad_())
    assert torch.autograd.gradcheck(lambda *x: attend(*x, sight, cached=False, implementation="blocks"), inputs)
    torch.library.opcheck(softmax._blocks.node, (*inputs, None, *sight), test_utils=("test_schema", "test_faketensor"))


@pytest.mark.parametrize(
    ("implementation", "kind"),
    [("causal", "plain"), ("mask", "alibi"), ("blocks", "plain"), ("blocks", "alibi"), ("blocks", "halibi")],
)
def test_attention_under_transforms(implementation: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """But the framework's own kernel, which raises when a backward pass is gone through again."""
    monkeypatch.setattr(softmax, "BLOCK", 2)
    segments = None if implementation == "causal" else torch.tensor([[0, 1, 1]])
    sight = sight_of(kind, torch.arange(3)[None], segments, segments)
    inputs = [random(1, heads, 3, 2, seed=seed) for seed, heads in enumerate((HEADS, 2, 2))]

    def function(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attend(q, k, v, sight, cached=False, implementation=implementation)

    check_transforms(function, inputs, twice=implementation == "blocks")
    operators = ["attention_blocks", "attention_blocks_backward"] if implementation == "blocks" else []
    assert compiled_operators(function, inputs) == operators
    y, graph = exported(function, inputs)
    torch.testing.assert_close(y, function(*inputs), **TOLERANCE)
    assert "canonlab" not in graph


def test_alibi_and_reach_of_four_heads() -> None:
    sight = sight_of("alibi", torch.arange(3)[None], None, None)
    expected = [[[-s * (i - j) if j <= i else -math.inf for j in range(3)] for i in range(3)] for s in SLOPES]
    assert sight.mask(0, 3, torch.arange(3))[0].tolist() == expected
    sight = sight_of("halibi", torch.arange(4)[None], None, None)
    seen = sight.mask(0, 4, torch.arange(4))[0].sum(-1)
    assert seen.tolist() == [[1, 1, 1, 1], [1, 2, 2, 2], [1, 2, 3, 4], [1, 2, 3, 4]]


SLOPES = [2**-2, 2**-4, 2**-6, 2**-8]


def test_blocks_make_no_quadratic_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    make = Sight.mask

    def noted(self: Sight, first: int, stop: int, keys: Tensor) -> Tensor:
        mask = make(self, first, stop, keys)
        sizes.append(mask.shape[-2])
        return mask

    monkeypatch.setattr(Sight, "mask", noted)
    saved: list[int] = []
    q = random(1, HEADS, 3 * BLOCK, HEAD_WIDTH).requires_grad_()
    sight = sight_of("alibi", torch.arange(3 * BLOCK)[None], None, None)

    def remember(tensor: Tensor) -> Tensor:
        saved.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        attend(q, q, q, sight, cached=False).sum().backward()
    assert sizes == [BLOCK] * 6, "three blocks, made again in the backward pass"
    assert max(saved) <= q.numel()


def test_what_attends(monkeypatch: pytest.MonkeyPatch) -> None:
    def choice(device: str, queries: int = 512, width: int = 64, masked: bool = True, cached: bool = False) -> str:
        return choose_implementation(device, torch.float32, queries, width, masked=masked, cached=cached)

    monkeypatch.setattr(softmax, "HAS_TRITON", True)
    assert choice("cpu", masked=False) == choice("cuda", masked=False) == "causal"
    assert choice("cpu") == choice("cpu", cached=True) == choice("meta") == "blocks"
    assert choice("cpu", queries=1, cached=True) == choice("mps") == "mask"
    assert choice("cuda") == "flex"
    assert choice("cuda", cached=True) == choice("cuda", width=8) == "mask"
    monkeypatch.setattr(softmax, "HAS_TRITON", False)
    assert choice("cuda") == "mask"


def attention(**arguments: object) -> Attention:
    config = Attention.Config(width=HEADS * HEAD_WIDTH, heads=HEADS, **arguments)  # type: ignore[arg-type]
    torch.manual_seed(0)
    mixer = Attention(config, Canon).double()
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return mixer


VARIANTS = [
    *[{"position": position} for position in POSITIONS],
    {"kv_heads": 2, "position": "rope-quarter"},
    {"kv_heads": 1, "position": "alibi"},
    {"kv_heads": 2, "qk_norm": True, "bias": True},
    {"kv_heads": 2, "qk_norm": True, "position": "halibi"},
]


@pytest.mark.parametrize("arguments", VARIANTS, ids=str)
def test_decoding_equals_the_forward(arguments: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    """In chunks of every size, with padding on the left and Canon-B, across blocks."""
    monkeypatch.setattr(softmax, "BLOCK", 8)
    mixer = attention(**arguments)
    x = random(2, 31, HEADS * HEAD_WIDTH)
    segments = torch.zeros(2, 31, dtype=torch.int64)
    segments[1, :6] = -1
    full, _ = mixer(x, segments, None)
    state = mixer.init_state(2, 40, torch.float64, torch.device("cpu"))
    assert state["k"].shape == (2, 40, mixer.config.kv_heads or HEADS, HEAD_WIDTH)
    cuts = [13, 1, 1, 9, 2, 5]
    parts = [mixer(i, s, state)[0] for i, s in zip(x.split(cuts, 1), segments.split(cuts, 1), strict=True)]
    torch.testing.assert_close(torch.cat(parts, 1), full, **TOLERANCE)
    alone, _ = mixer(x[1:, 6:], None, None)
    torch.testing.assert_close(full[1:, 6:], alone, **TOLERANCE)


@pytest.mark.parametrize("arguments", VARIANTS, ids=str)
def test_no_token_changes_an_earlier_output(arguments: dict[str, object]) -> None:
    mixer = attention(**arguments)
    x = random(1, 9, HEADS * HEAD_WIDTH)
    before, _ = mixer(x, None, None)
    for changed in range(9):
        other = x.clone()
        other[0, changed] += 1
        after, _ = mixer(other, None, None)
        assert torch.equal(after[:, :changed], before[:, :changed])
        assert not torch.allclose(after[:, changed], before[:, changed])


@pytest.mark.parametrize("eps", [1e-6, 0.5])
def test_qk_norm_is_over_all_heads_before_canon_and_rotation(eps: float) -> None:
    mixer = attention(qk_norm=True, kv_heads=2, position="nope", norm_eps=eps)
    x = random(2, 5, HEADS * HEAD_WIDTH)
    q, k, v = mixer.qkv(x).split([32, 16, 16], dim=-1)
    assert mixer.q_norm is not None and mixer.k_norm is not None
    q, k = (
        y * (y.square().mean(-1, keepdim=True) + eps) ** -0.5 * norm.weight
        for y, norm in ((q, mixer.q_norm), (k, mixer.k_norm))
    )
    q, k, v = mixer.canon(torch.cat([q, k, v], -1)).split([32, 16, 16], dim=-1)
    q, k, v = (y.unflatten(-1, (-1, HEAD_WIDTH)).transpose(1, 2) for y in (q, k, v))
    none = torch.zeros(2, 5)
    expected = mixer.out(by_definition(q, k, v, "plain", 0, none, none).transpose(1, 2).flatten(2))
    torch.testing.assert_close(mixer(x, None, None)[0], expected, **TOLERANCE)


def test_parameters_by_hand() -> None:
    def count(**arguments: object) -> int:
        config = Attention.Config(width=32, heads=4, **arguments)  # type: ignore[arg-type]
        return sum(p.numel() for p in Attention(config, lambda _: NoCanon()).parameters())

    assert count() == 4 * 32 * 32
    assert count(kv_heads=1) == 2 * 32 * 32 + 2 * 32 * 8
    assert count(bias=True) == 4 * 32 * 32 + 4 * 32
    assert count(qk_norm=True, kv_heads=2) == 2 * 32 * 32 + 2 * 32 * 16 + 32 + 16


def test_canon_b_is_as_wide_as_q_k_and_v_together() -> None:
    asked: list[int] = []

    def canon(width: int) -> NoCanon:
        asked.append(width)
        return NoCanon()

    for kv_heads in (0, 2):
        Attention(Attention.Config(width=32, heads=4, kv_heads=kv_heads), canon)
    assert asked == [96, 64]


def test_initial_weights_have_the_published_spread() -> None:
    mixer = Attention(Attention.Config(width=256, heads=4, bias=True), lambda _: NoCanon())
    for layer in (mixer.qkv, mixer.out):
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.03)
        assert torch.equal(layer.bias, torch.zeros_like(layer.bias))


@pytest.mark.parametrize("position", ["rope", "alibi", "halibi"])
def test_bfloat16_stays_close_at_4096_tokens(position: str) -> None:
    q = random(1, HEADS, 4096, HEAD_WIDTH)
    sight = sight_of("plain" if position == "rope" else position, torch.arange(4096)[None], None, None)
    expected = attend(q, q, q, sight, cached=False)
    single = sight._replace(slopes_H=None if sight.slopes_H is None else sight.slopes_H.float())
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.bfloat16, 0.05)):
        out = attend(*[q.to(dtype)] * 3, single, cached=False)  # type: ignore[arg-type]
        assert out.dtype == dtype
        torch.testing.assert_close(out.double(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"heads": 3}, "heads = 3: must divide the width 32"),
        ({"heads": 4, "kv_heads": 3}, "kv_heads = 3: must divide the 4 heads"),
        ({"heads": 4, "kv_heads": -1}, "kv_heads = -1: must be an integer of at least 0"),
        ({"heads": 4, "position": "alibbi"}, "did you mean 'alibi'"),
        ({"heads": 1, "position": "halibi"}, "needs an even number of heads, not 1"),
        ({"heads": 4, "kv_heads": 1, "position": "rope-quarter"}, r"2 of 4 heads \(and 0.5 of 1 of keys\)"),
    ],
)
def test_bad_configurations(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Attention.Config(width=32, **arguments)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [{"position": "halibi"}, {"position": "alibi", "kv_heads": 2, "qk_norm": True}])
def test_a_compiler_sees_one_graph(arguments: dict[str, object]) -> None:
    """Traced with gradients, and without running a C++ compiler; across several blocks of queries."""
    mixer = attention(**arguments)
    x = random(2, 2 * BLOCK + 7, HEADS * HEAD_WIDTH)
    segments = segments_of(*x.shape[:2])
    outputs = []
    for run in (mixer, torch.compile(mixer, backend="aot_eager", fullgraph=True, dynamic=False)):
        y, _ = run(x, segments, None)
        y.square().sum().backward()
        outputs.append([y.detach(), *[p.grad for p in mixer.parameters()]])
        mixer.zero_grad()
    for a, b in zip(*outputs, strict=True):
        torch.testing.assert_close(a, b, **TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [{"position": "halibi"}, {"position": "alibi", "kv_heads": 2}])
def test_flex_attention_is_in_the_same_graph(arguments: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    """What a GPU compiles, traced here."""
    mixer, x, segments = attention(**arguments), random(2, 50, HEADS * HEAD_WIDTH), segments_of(2, 50)
    expected, _ = mixer(x, segments, None)
    monkeypatch.setattr(softmax, "choose_implementation", lambda *_, **__: "flex")
    with torch.no_grad():
        y, _ = torch.compile(mixer, backend="aot_eager", fullgraph=True, dynamic=False)(x, segments, None)
    torch.testing.assert_close(y, expected, **TOLERANCE)


def test_autocast_trains_in_bfloat16_and_stays_close() -> None:
    mixer = attention(position="alibi", qk_norm=True, kv_heads=2).float()
    x = random(2, 2 * BLOCK, HEADS * HEAD_WIDTH).float()
    found = []
    for enabled in (False, True):
        mixer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            y, _ = mixer(x, segments_of(2, 2 * BLOCK), None)
        assert y.dtype == (torch.bfloat16 if enabled else torch.float32)
        y.float().square().mean().backward()
        found.append([y.float(), mixer.qkv.weight.grad])
    for exact, half in zip(*found, strict=True):
        assert (half - exact).norm() < 0.02 * exact.norm()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@kinds
@packings
def test_flex_attention_equals_the_mask_on_a_gpu(packed: bool, kind: str) -> None:
    time = 300
    inputs = [random(2, h, time, 16, seed=h).float().cuda() for h in (HEADS, 2)]
    inputs.append(random(2, 2, time, 16, seed=3).float().cuda())
    segments = segments_of(2, time).cuda() if packed else None
    sight = sight_of(kind, torch.arange(time, device="cuda")[None], segments, segments)
    if sight.slopes_H is not None:
        sight = sight._replace(slopes_H=sight.slopes_H.float())
    found = []
    for implementation in ("flex", "mask"):
        leaves = [x.clone().requires_grad_() for x in inputs]
        out = attend(*leaves, sight, cached=False, implementation=implementation)  # type: ignore[arg-type]
        out.backward(torch.ones_like(out))
        found.append([out, *[x.grad for x in leaves]])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=2e-3, atol=2e-3)
