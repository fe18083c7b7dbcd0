import pytest
import torch

from canonlab.models.canon_points import NoCanon
from canonlab.models.mixers import gdn, gla, linear, mamba2, stepwise
from canonlab.models.mixers.stepwise import available, columns, fits, rows

B, T, H, K, V = 3, 9, 2, 3, 5


def _draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def _rows(time=T):
    keys = (B, time, H, K)
    shapes = keys, keys, (B, time, H, V), keys, keys, keys, (B, H, K, V)
    q, k, v, decay, read, erase, first = (_draw(*shape, seed=n) for n, shape in enumerate(shapes))
    return [x.requires_grad_() for x in (q, k, v, decay.sigmoid(), read, erase, first)]


def _with(reads, call=rows):
    """Rows, of whose reads and erased keys the first `reads` are given."""
    return lambda *x: call(*x[:4], *(x[4 + i] if i < reads else None for i in range(2)), x[6])


def _columns(time=T):
    shapes = (B, time, K), (B, time, K), (B, time, H * V), (B, time, H), (B, K, H * V)
    q, k, v, decay, first = (_draw(*shape, seed=n) for n, shape in enumerate(shapes))
    return [x.requires_grad_() for x in (q, k, v, decay.sigmoid(), first)]


def _cases():
    for reads in range(3):
        given = [x for i, x in enumerate(_rows()) if i not in range(4 + reads, 6)]
        yield pytest.param(
            lambda *x, reads=reads: rows(*x[:-1], *[None] * (2 - reads), x[-1]), given, id=f"rows, {reads} reads"
        )
    yield pytest.param(columns, _columns(), id="columns")


@pytest.mark.parametrize(("operator", "inputs"), list(_cases()))
def test_the_gradients_are_those_of_the_loops(operator, inputs):
    assert torch.autograd.gradcheck(operator, inputs)
    few = [x[:1, :3] if x.shape[1] == T else x[:1] for x in inputs]
    assert torch.autograd.gradgradcheck(operator, few)


@pytest.mark.parametrize("time", [1, 2, 9, 64])
@pytest.mark.parametrize("reads", range(3))
def test_rows_are_their_plain_twin(time, reads):
    inputs = _rows(time)
    for found, wanted in zip(_with(reads)(*inputs), _with(reads, rows.plain)(*inputs), strict=True):
        assert torch.allclose(found, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("time", [1, 2, 9, 64])
def test_columns_are_their_plain_twin(time):
    for found, wanted in zip(columns(*_columns(time)), columns.plain(*_columns(time)), strict=True):
        assert torch.allclose(found, wanted, rtol=0, atol=1e-12)


def _with_gradients(form, inputs, segment_ids):
    inputs = [x.detach().clone().requires_grad_() for x in inputs]
    *sequences, initial = inputs
    o, state = form(*sequences, initial, segment_ids)
    weights = _draw(*o.shape, seed=7), _draw(*state.shape, seed=8)
    loss = (o * weights[0]).sum() + (state * weights[1]).sum()
    return [o, state, *torch.autograd.grad(loss, inputs)]


def _mixer_inputs(name, time):
    q, k, v, beta, first = (
        _draw(*shape, seed=n)
        for n, shape in enumerate([(B, time, H, K), (B, time, H, K), (B, time, H, V), (B, time, H), (B, H, K, V)])
    )
    log_decay = -_draw(B, time, H, K, seed=9).exp()
    log_decay[:, time // 2] = -200.0
    if name == "gla":
        return [q, k, v, log_decay, first]
    if name == "gdn":
        return [q, k / k.norm(dim=-1, keepdim=True), v, beta.sigmoid(), log_decay[..., 0], first]
    return [q[:, :, 0], k[:, :, 0], v, log_decay[..., 0], first]


def _gla(form):
    return lambda q, k, v, g, first, ids: form(q, k, v, g, initial_BHKV=first, segment_ids=ids)


def _gdn(form):
    def run(q, k, v, beta, g, first, ids):
        return form(q, beta[..., None] * k, v, g, read_BTHK=k, initial_BHKV=first, segment_ids=ids)

    return run


FORMS = {
    "gla": [_gla(linear.recurrent), _gla(linear.stepped)],
    "gdn": [_gdn(linear.recurrent), _gdn(linear.stepped)],
    "mamba2": [mamba2.recurrent, mamba2.stepped],
}


@pytest.mark.parametrize("segmented", [False, True])
@pytest.mark.parametrize("time", [2, 17, 65])
@pytest.mark.parametrize("name", FORMS)
def test_the_stepped_form_of_a_mixer_is_its_definition(name, time, segmented):
    ids = (_draw(B, time, seed=11) > 1).cumsum(1) if segmented else None
    wanted, found = (_with_gradients(form, _mixer_inputs(name, time), ids) for form in FORMS[name])
    for one, other in zip(wanted, found, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-9)


MIXERS = {
    "gla": lambda: gla.GLA(gla.GLA.Config(8, heads=H), lambda _: NoCanon()),
    "gdn": lambda: gdn.GatedDeltaNet(gdn.GatedDeltaNet.Config(8, heads=H), lambda _: NoCanon()),
    "mamba2": lambda: mamba2.Mamba2(mamba2.Mamba2.Config(8, heads=4, state=4), lambda _: NoCanon()),
}


@pytest.mark.parametrize("name", MIXERS)
def test_a_mixer_takes_the_loops_where_it_is_told_to_and_gives_the_same(name, monkeypatch):
    torch.manual_seed(0)
    mixer, x, called = MIXERS[name](), torch.randn(2, 30, 8), []
    run = stepwise._run
    monkeypatch.setattr(stepwise, "_run", lambda *rest: (called.append(rest[0]), run(*rest)))
    results = []
    for mixer.implementation in ("torch", "numba"):
        called.clear()
        mixer.zero_grad()
        y, _ = mixer(x, None, None)
        y.square().sum().backward()
        state = mixer.init_state(2, 30, torch.float32, x.device)
        with torch.no_grad():
            parts = [mixer(part, None, state)[0] for part in x.split([11, 1, 18], 1)]
        results.append([y, torch.cat(parts, 1), state["S"], *(p.grad.clone() for p in mixer.parameters())])
    assert len(called) == 4  # forward, backward, and two of the parts: a single position is the definition's
    for wanted, found in zip(*results, strict=True):
        assert torch.allclose(wanted, found, atol=1e-5)
    called.clear()
    with torch.autocast("cpu", torch.bfloat16):
        mixer(x, None, None)
    torch.func.vmap(lambda x: mixer(x, None, None)[0])(x[None])
    assert called == []


def test_threads_change_no_bit(monkeypatch):
    monkeypatch.setattr(stepwise, "STATES_PER_THREAD", 1)
    inputs, before, results = _rows(40), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 7):
            torch.set_num_threads(threads)
            o, state = rows(*inputs)
            results.append([o, state, *torch.autograd.grad(o.square().sum() + state.sum(), inputs)])
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))


@pytest.mark.parametrize("name", FORMS)
def test_an_empty_batch_is_one(name):
    inputs = [x[:0] for x in _mixer_inputs(name, 5)]
    for found, wanted in zip(*(_with_gradients(form, inputs, None) for form in FORMS[name]), strict=True):
        assert found.shape == wanted.shape


def test_what_is_not_finite_stays_where_the_definition_has_it():
    q, k, v, log_decay, first = _mixer_inputs("gla", 9)
    v[0, 2], v[1, 4], log_decay[2, 3] = torch.inf, torch.nan, -torch.inf
    wanted, found = (form(q, k, v, log_decay, first, None) for form in FORMS["gla"])
    for one, other in zip(wanted, found, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-9, equal_nan=True)


def test_the_loops_are_for_small_states_on_a_cpu():
    v = torch.zeros(2, 512, 4, 64)
    assert fits(v, 64, 64) and not fits(v, 64, 65)
    assert not fits(v.bfloat16(), 1, 1)
    assert not fits(v.to("meta"), 1, 1)
    assert available("cpu") and not available("cuda")


def test_a_compiler_sees_one_node():
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph

    torch._dynamo.reset()
    call = torch.compile(rows, backend=backend, fullgraph=True)
    inputs = _rows()
    assert torch.equal(call(*inputs)[0], rows(*inputs)[0])
    assert len(graphs) == 1
