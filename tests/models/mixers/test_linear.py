"""The linear recurrence for all mixers: its forms against the definition, and that against each mixer's own formula."""

import pytest
import torch

from canonlab.errors import InputError
from canonlab.models.mixers import stepwise
from canonlab.models.mixers.linear import chunked, linear_recurrence, recurrent, stepped

B, H, K, V = 2, 3, 5, 4
LENGTHS = (1, 2, 17, 63, 64, 65, 130)
EXACT = {"rtol": 1e-9, "atol": 1e-9}


def _draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _inputs(time, channels=True, reads=2, spread=2.0):
    """Sequences and the initial state, and by name what is read and erased."""
    shapes = [(B, time, H, K), (B, time, H, K), (B, time, H, V), (B, time, H, K)[: 4 if channels else 3], (B, H, K, V)]
    q, k, v, decay, initial = (_draw(*shape, seed=n) for n, shape in enumerate(shapes))
    sequences = [q, k / 3, v, -(spread * decay).exp(), initial]
    more = {"read_BTHK": _draw(B, time, H, K, seed=7) / 2, "erase_BTHK": _draw(B, time, H, K, seed=8) / 2}
    more = dict(list(more.items())[:reads])
    return [x.requires_grad_() for x in sequences], {name: x.requires_grad_() for name, x in more.items()}


def _ids(time):
    """Segments of all lengths; an id comes back."""
    return (_draw(B, time, seed=9) > 1).cumsum(1) % 3


def _results(form, inputs, more, ids=None):
    *sequences, initial = inputs
    o, state = form(*sequences, **more, initial_BHKV=initial, segment_ids=ids)
    loss = (o * _draw(*o.shape, seed=10)).sum() + (state * _draw(*state.shape, seed=11)).sum()
    return [o, state, *torch.autograd.grad(loss, [*inputs, *more.values()])]


every_kind = pytest.mark.parametrize(("channels", "reads"), [(c, r) for c in (False, True) for r in range(3)])


@pytest.mark.parametrize("segmented", [False, True])
@pytest.mark.parametrize("time", LENGTHS)
@every_kind
def test_all_forms_have_one_output_state_and_gradient(channels, reads, time, segmented):
    inputs, more = _inputs(time, channels, reads)
    ids = _ids(time) if segmented else None
    wanted = _results(recurrent, inputs, more, ids)
    for form in (chunked, stepped, linear_recurrence):
        for found, expected in zip(_results(form, inputs, more, ids), wanted, strict=True):
            torch.testing.assert_close(found, expected, **EXACT)


EXTREMES = {
    "nothing is left": lambda decay: torch.full_like(decay, -1e6),
    "all is left": lambda decay: torch.zeros_like(decay),
    "nothing or nearly all": lambda decay: torch.where(decay > 0, -1e6, -1e-4).double(),
}


@pytest.mark.parametrize("extreme", EXTREMES)
@every_kind
def test_extreme_decays_are_as_the_definition_has_them(channels, reads, extreme):
    inputs, more = _inputs(70, channels, reads)
    inputs[3] = EXTREMES[extreme](_draw(*inputs[3].shape, seed=12)).requires_grad_()
    # Keys of norm 1 and shares of at most 1, or the states themselves would explode.
    inputs[1] = (inputs[1] / inputs[1].norm(dim=-1, keepdim=True)).detach().requires_grad_()
    if reads:
        more["read_BTHK"] = inputs[1].detach().clone().requires_grad_()
    if reads > 1:
        more["erase_BTHK"] = (inputs[1] / 2).detach().requires_grad_()
    wanted = _results(recurrent, inputs, more, _ids(70))
    for form in (chunked, stepped):
        for found, expected in zip(_results(form, inputs, more, _ids(70)), wanted, strict=True):
            torch.testing.assert_close(found, expected, **EXACT)


@every_kind
def test_segments_and_calls_are_separate_sequences(channels, reads):
    inputs, more = _inputs(100, channels, reads)
    *sequences, initial = (x.detach()[:1] for x in inputs)
    more = {name: x.detach()[:1] for name, x in more.items()}
    lengths, state, parts = [5, 60, 1, 34], initial, []
    ids = torch.arange(4).repeat_interleave(torch.tensor(lengths))[None]
    packed, last = chunked(*sequences, **more, initial_BHKV=initial, segment_ids=ids)
    ends = torch.tensor(lengths).cumsum(0).tolist()
    for first, end in zip([0, *ends[:-1]], ends, strict=True):
        now = {name: x[:, first:end] for name, x in more.items()}
        o, final = chunked(*(x[:, first:end] for x in sequences), **now, initial_BHKV=initial if first == 0 else None)
        parts.append(o)
    torch.testing.assert_close(packed, torch.cat(parts, 1), **EXACT)
    torch.testing.assert_close(last, final, **EXACT)
    whole, last = chunked(*sequences, **more, initial_BHKV=initial)
    parts = []
    for first, end in zip([0, *ends[:-1]], ends, strict=True):
        now = {name: x[:, first:end] for name, x in more.items()}
        o, state = linear_recurrence(*(x[:, first:end] for x in sequences), **now, initial_BHKV=state)
        parts.append(o)
    torch.testing.assert_close(whole, torch.cat(parts, 1), **EXACT)
    torch.testing.assert_close(last, state, **EXACT)


@every_kind
@pytest.mark.parametrize("form", [chunked, recurrent, stepped])
def test_nothing_is_left_of_an_earlier_segment_however_large(form, channels, reads):
    inputs, more = _inputs(80, channels, reads, spread=0.3)
    ids = (torch.arange(80)[None] >= torch.tensor([[66], [70]])).long()
    found = []
    for huge in (1.0, 1e100):
        scale = 1 + (huge - 1) * (ids == 0).double()[..., None, None]
        q, k, v, decay, initial = (x.detach() for x in inputs)
        o, state = form(q, k, v * scale, decay, **more, initial_BHKV=initial * huge, segment_ids=ids)
        found.append([o[ids == 1], state])
    assert all(map(torch.equal, *found))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@every_kind
def test_precision_is_that_of_the_states(channels, reads, dtype):
    inputs, more = _inputs(200, channels, reads, spread=0.5)
    *sequences, initial = (x.detach() for x in inputs)
    with torch.no_grad():
        wanted = recurrent(*sequences, **more, initial_BHKV=initial)
        q, k, v, decay = (x.to(dtype) for x in sequences)
        found = chunked(q, k, v, decay.float(), **more, initial_BHKV=initial)
    assert found[0].dtype == dtype and found[1].dtype == torch.float32
    share = 1e-5 if dtype == torch.float32 else 3e-2
    for a, b in zip(found, wanted, strict=True):
        assert (a - b).norm() < share * b.norm()


def test_what_the_docstring_says_of_mixers():
    """Each by its authors' formula, for one head, S as K x V."""
    time = 12
    q, k, r = (_draw(1, time, 1, K, seed=n) for n in range(3))
    v, a = _draw(1, time, 1, V, seed=3), torch.rand(1, time, 1, K, generator=torch.Generator().manual_seed(4)).double()
    beta, w, u = a[..., :1], torch.sigmoid(r), k / k.norm(dim=-1, keepdim=True)
    eye = torch.eye(K, dtype=torch.float64)

    def outer(x, y):
        return x[0, :, 0, :, None] * y[0, :, 0, None]

    cases = {
        "kda": ([beta * u, v, a], {"read_BTHK": u}),
        "gdn2": ([u, v, a], {"read_BTHK": w * u}),
        "rwkv7": ([k, v, w], {"read_BTHK": u / w, "erase_BTHK": a * u}),
    }
    diagonal = {name: decay[0, :, 0].diag_embed() for name, ([*_, decay], _) in cases.items()}
    transitions = {
        "kda": (eye - beta[0, :, 0, :, None] * outer(u, u)) @ diagonal["kda"],
        "gdn2": (eye - outer(u, w * u)) @ diagonal["gdn2"],
        "rwkv7": diagonal["rwkv7"] - outer(a * u, u),
    }
    for name, ([keys, values, decay], more) in cases.items():
        S = torch.zeros(K, V, dtype=torch.float64)
        for transition, written in zip(transitions[name], outer(keys, v), strict=True):
            S = transition @ S + written
        found = linear_recurrence(q, keys, values, decay.log(), **more)[1]
        torch.testing.assert_close(found[0, 0], S, **EXACT)


def test_the_loops_are_used_where_they_are_asked_for_and_fit(monkeypatch):
    called = []
    run = stepwise._run
    monkeypatch.setattr(stepwise, "_run", lambda *rest: (called.append(rest[0]), run(*rest)))
    (*sequences, _), more = _inputs(9)
    linear_recurrence(*sequences, **more)
    linear_recurrence(*(x[:, :1] for x in sequences), implementation="numba")
    assert called == []
    linear_recurrence(*sequences, **more, implementation="numba")
    assert called == ["rows_forward"]


@pytest.mark.parametrize("reads", range(3))
def test_what_comes_in_other_dtypes_is_taken_as_it_is_and_a_half_precision_state_is_refused(reads):
    inputs, more = _inputs(9, reads=reads)
    (q, k, v, decay, initial), more = [x.detach() for x in inputs], {name: x.detach() for name, x in more.items()}
    wanted = recurrent(q, k, v, decay, **more, initial_BHKV=initial)
    for form in (chunked, stepped, recurrent):
        o, state = form(q.double(), k.float(), v.float(), decay, **more, initial_BHKV=initial)
        assert o.dtype == torch.float32 and state.dtype == torch.float64
        torch.testing.assert_close(state, wanted[1], rtol=1e-5, atol=1e-6)
    with pytest.raises(InputError, match="log_decay is torch.bfloat16: must be float32 or float64"):
        linear_recurrence(q, k, v, decay.bfloat16(), **more)
