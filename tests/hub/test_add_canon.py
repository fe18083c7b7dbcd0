"""Canon layers in transformers' models: what they leave alone, generation, padding, saving, adapters, export."""

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from canonlab.canon import FAMILIES as TABLES
from canonlab.canon import POINTS, Canon, add_canon, from_pretrained, prepare_cache, remove_canon

transformers = pytest.importorskip("transformers", reason="needs transformers 5.24: make test-hub")

COMMON = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": None,
    "initializer_range": 0.2,
}
GROUPED = {**COMMON, "num_key_value_heads": 2}
GPT2 = {"vocab_size": 61, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "initializer_range": 0.2}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama": ("LlamaForCausalLM", GROUPED),
    "Mistral": ("MistralForCausalLM", {**GROUPED, "sliding_window": 6}),
    "Qwen2": ("Qwen2ForCausalLM", GROUPED),
    "Qwen3": ("Qwen3ForCausalLM", {**GROUPED, "head_dim": 8}),
    "Gemma": ("GemmaForCausalLM", {**GROUPED, "head_dim": 8}),
    "Gemma2": ("Gemma2ForCausalLM", {**GROUPED, "head_dim": 8, "sliding_window": 6}),
    "Gemma3": ("Gemma3ForCausalLM", {**GROUPED, "head_dim": 8, "sliding_window": 6}),
    "GPT2": ("GPT2LMHeadModel", {**GPT2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": None}),
    "GPTNeoX": ("GPTNeoXForCausalLM", COMMON),
    "Olmo2": ("Olmo2ForCausalLM", GROUPED),
    "Phi3": ("Phi3ForCausalLM", GROUPED),
}
SETS = ("ABCDOM", "ACDKVOM")
every_family = pytest.mark.parametrize("family", FAMILIES)


def build(family: str, points: str = "", **options: Any) -> Any:
    """A tiny random model in eval mode, whose biases and norms are no zeros and ones."""
    name, settings = FAMILIES[family]
    cls = getattr(transformers, name)
    torch.manual_seed(1)
    model = cls(cls.config_class(**settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return add_canon(model, points, **options) if points else model


def tokens(batch: int, time: int, seed: int = 0) -> Tensor:
    return torch.randint(3, 61, (batch, time), generator=torch.Generator().manual_seed(seed))


def plainly(model: Any, ids: Tensor, **arguments: Any) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(ids, use_cache=False, **arguments).logits
    return logits


def assert_near(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-4)


@every_family
@pytest.mark.parametrize("points", SETS)
def test_identity_changes_no_bit_and_removal_restores(family: str, points: str) -> None:
    model, ids = build(family), tokens(3, 12)
    mask = torch.ones_like(ids)
    mask[1, :5] = 0
    before, keys = plainly(model, ids, attention_mask=mask), list(model.state_dict())
    generated = model.generate(ids, attention_mask=mask, max_new_tokens=6, do_sample=False)
    add_canon(model, points, init="identity")
    assert torch.equal(plainly(model, ids, attention_mask=mask), before)
    assert torch.equal(model.generate(ids, attention_mask=mask, max_new_tokens=6, do_sample=False), generated)
    remove_canon(model)
    assert list(model.state_dict()) == keys and "canon" not in model.config.to_dict()
    assert torch.equal(plainly(model, ids, attention_mask=mask), before)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in build_hooks(model))
    add_canon(model, points)
    assert not torch.allclose(plainly(model, ids, attention_mask=mask), before)
    assert torch.equal(plainly(remove_canon(model), ids, attention_mask=mask), before)


def build_hooks(model: nn.Module) -> list[nn.Module]:
    """The modules that Canon layers hang on: transformers has hooks of its own on some others."""
    return [m for m in model.modules() if type(m).__name__ in ("Linear", "Conv1D") or "Attention" in type(m).__name__]


@every_family
@pytest.mark.parametrize("points", SETS)
@pytest.mark.parametrize("how", [{}, {"num_beams": 3, "num_return_sequences": 2}], ids=["greedy", "beam"])
def test_generation_with_a_cache_is_generation_without(family: str, points: str, how: dict[str, Any]) -> None:
    model, ids = build(family, points), tokens(3, 9)
    mask = torch.ones_like(ids)
    mask[0, :4] = mask[2, :7] = 0
    how = {"max_new_tokens": 9, "do_sample": False, "attention_mask": mask, **how}
    cached = model.generate(ids, **how)
    assert torch.equal(cached, model.generate(ids, use_cache=False, **how))
    if "num_beams" not in how:
        assert torch.equal(cached, model.generate(ids, cache_implementation="static", **how))
        for row, skipped in ((0, 4), (1, 0), (2, 7)):
            alone = model.generate(ids[row : row + 1, skipped:], max_new_tokens=9, do_sample=False)
            assert torch.equal(cached[row : row + 1, skipped:], alone)


@every_family
@pytest.mark.parametrize("static", [False, True])
def test_several_forwards_are_one(family: str, static: bool) -> None:
    model, ids = build(family, "ACDKVOM"), tokens(2, 23)
    whole = plainly(model, ids)
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        cache = transformers.StaticCache(model.config, 32) if static else transformers.DynamicCache()
        if family in ("Mistral", "Gemma2", "Gemma3") and not static:
            cache = transformers.DynamicCache(config=model.config)
        parts, at = [], 0
        while at < 23:
            length = int(torch.randint(1, 6, (), generator=generator))
            with torch.no_grad():
                parts.append(model(ids[:, at : at + length], cache=cache).logits)
            at += length
        assert_near(torch.cat(parts, 1), whole)


@pytest.mark.parametrize("static", [False, True])
def test_several_forwards_are_one_under_padding(static: bool) -> None:
    model, ids = build("Llama", "ABCDOM"), tokens(2, 20)
    mask = torch.ones_like(ids)
    mask[0, :7] = 0
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    whole = plainly(model, ids, attention_mask=mask, position_ids=positions)
    cache = transformers.StaticCache(model.config, 24) if static else transformers.DynamicCache()
    parts = []
    for start, end in ((0, 2), (2, 5), (5, 6), (6, 9), (9, 10), (10, 20)):
        with torch.no_grad():
            part = model(
                ids[:, start:end], attention_mask=mask[:, :end], position_ids=positions[:, start:end], cache=cache
            )
        parts.append(part.logits)
    together = torch.cat(parts, 1)
    assert_near(together[0, 7:], whole[0, 7:])
    assert_near(together[1], whole[1])


@every_family
def test_padding_and_neighbours_change_nothing(family: str) -> None:
    model, ids = build(family, "ABCDOM"), tokens(2, 10)
    alone = plainly(model, ids[:1, 4:])
    mask = torch.ones_like(ids)
    mask[0, :4] = 0
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    left = plainly(model, ids, attention_mask=mask, position_ids=positions)
    assert_near(left[:1, 4:], alone)
    other = torch.cat([torch.cat([tokens(1, 4, seed=5), ids[:1, 4:]], 1), tokens(1, 10, seed=6)])
    assert_near(plainly(model, other, attention_mask=mask, position_ids=positions)[:1, 4:], alone)
    right = torch.cat([ids[:1, 4:], tokens(1, 4, seed=7)], 1)
    assert_near(plainly(model, right, attention_mask=torch.tensor([[1] * 6 + [0] * 4]))[:, :6], alone)


def test_texts_packed_into_a_row_do_not_see_each_other() -> None:
    model, first, second = build("Llama", "ABCDOM"), tokens(1, 6), tokens(1, 8, seed=1)
    positions = torch.cat([torch.arange(6), torch.arange(8)])[None]
    packed = plainly(model, torch.cat([first, second], 1), position_ids=positions)
    assert_near(packed, torch.cat([plainly(model, first), plainly(model, second)], 1))


@every_family
@pytest.mark.parametrize("points", SETS)
def test_saved_and_loaded_it_is_the_same(family: str, points: str, tmp_path: Path) -> None:
    options = {"kernel": 3, "scale": True, "layers": [1], "dynamic": True, "gate": True}
    model, ids = build(family, points, **options), tokens(2, 9)
    model.save_pretrained(tmp_path)
    loaded = from_pretrained(tmp_path).eval()
    assert type(loaded) is type(model) and torch.equal(plainly(loaded, ids), plainly(model, ids))
    copied = copy.deepcopy(loaded)
    for parameter in loaded.parameters():
        parameter.data.zero_()
    assert torch.equal(plainly(copied, ids), plainly(model, ids))
    remove_canon(copied)
    assert not any(isinstance(module, Canon) for module in copied.modules())
    assert any(isinstance(module, Canon) for module in loaded.modules())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_loaded_it_goes_by_its_table_and_dtype(dtype: torch.dtype, tmp_path: Path) -> None:
    build("Llama").save_pretrained(tmp_path / "plain")
    model = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "plain", dtype=dtype).eval()
    add_canon(model, "ABCDOM", table=dataclasses.replace(TABLES["LlamaModel"], layers="model.layers"))
    model.save_pretrained(tmp_path / "canon")
    loaded = from_pretrained(tmp_path / "canon", device_map={"": "cpu"}).eval()
    assert {p.dtype for p in loaded.parameters()} == {dtype}
    assert torch.equal(plainly(loaded, tokens(2, 9)), plainly(model, tokens(2, 9)))


def test_loading_says_what_is_missing(tmp_path: Path) -> None:
    build("Llama").save_pretrained(tmp_path / "none")
    with pytest.raises(ValueError, match=r"config.json tells of no Canon layers"):
        from_pretrained(tmp_path / "none")
    model = build("Llama", "AC")
    weights = {key: value for key, value in model.state_dict().items() if ".canon.C" not in key}
    model.save_pretrained(tmp_path / "part", state_dict=weights)
    with pytest.raises(ValueError, match=r"no weights of the Canon layer 'model.layers.0.canon.C.weight'"):
        from_pretrained(tmp_path / "part")
    with pytest.raises(ValueError, match=r"cls = .*AutoModelForCausalLM.*: must be the class of a model"):
        from_pretrained(tmp_path / "part", cls=transformers.AutoModelForCausalLM)


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"points": "A"}, "config.json tells of no Canon layer 'model.layers.0.canon.C.weight'"),
        ({"layers": [1]}, "config.json tells of no Canon layer 'model.layers.0.canon.A.weight'"),
        ({"points": 3}, "points = 3: must be text"),
        ({"layers": "01"}, "layers = '01': must be integers"),
        ({"kernel": 3.0}, "Canon kernel = 3.0: must be from 2 to 8, an integer"),
        ({"evil": 1}, "canon is not what add_canon writes"),
        ({"table": "x"}, "canon is not what add_canon writes"),
        ({"table": {"evil": 1}}, "canon is not what add_canon writes"),
    ],
)
def test_a_configuration_that_was_changed_is_refused(told: dict[str, Any], says: str, tmp_path: Path) -> None:
    model = build("Llama", "AC")
    model.config.canon.update(told)
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=says):
        from_pretrained(tmp_path)


def test_a_configuration_may_leave_out_what_add_canon_has_defaults_for(tmp_path: Path) -> None:
    model = build("Llama", "AC")
    model.config.canon = {"points": "AC"}
    model.save_pretrained(tmp_path)
    assert torch.equal(plainly(from_pretrained(tmp_path).eval(), tokens(2, 9)), plainly(model, tokens(2, 9)))


@every_family
def test_gradient_checkpointing_gives_the_same_gradients(family: str) -> None:
    model, ids = build(family, "ABCDOM").train(), tokens(2, 10)
    for dropout in (module for module in model.modules() if isinstance(module, nn.Dropout)):
        dropout.p = 0.0
    mask = torch.ones_like(ids)
    mask[0, :4] = 0

    def gradients() -> dict[str, Tensor]:
        model.zero_grad()
        # Two forwards before the gradients of either: each must remember its own mask.
        first = model(ids, attention_mask=mask, labels=ids, use_cache=False).loss
        second = model(ids, attention_mask=torch.ones_like(ids), labels=ids, use_cache=False).loss
        (first + 2 * second).backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    expected = gradients()
    model.activation_checkpointing_enable()
    got = gradients()
    assert got.keys() == expected.keys() and sum(".canon." in name for name in got) >= 12
    for name, gradient in got.items():
        torch.testing.assert_close(gradient, expected[name], msg=name)


@pytest.mark.parametrize("family", ["Llama", "GPT2"])
@pytest.mark.parametrize("first", ["canon", "adapter"])
def test_adapters_train_and_merge(family: str, first: str) -> None:
    peft = pytest.importorskip("peft")
    targets = ["c_attn"] if family == "GPT2" else ["q_proj", "v_proj"]
    model, ids = build(family), tokens(2, 12)
    lora = peft.LoraConfig(
        r=2, target_modules=targets, init_lora_weights=False, modules_to_save=["canon"] if first == "canon" else None
    )
    if first == "canon":
        add_canon(model, "ABCD", init="identity")
        adapted = peft.get_peft_model(model, lora)
    else:
        adapted = peft.get_peft_model(model, lora)
        add_canon(adapted, "ABCD", init="identity")
    trained = [p for p in adapted.parameters() if p.requires_grad]
    names = [name for name, p in adapted.named_parameters() if p.requires_grad]
    assert any("lora" in name for name in names) and any("canon" in name for name in names)
    optimizer, losses = torch.optim.Adam(trained, lr=0.02), []
    for _ in range(12):
        loss = adapted(ids, labels=ids).loss
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in trained)
    adapted.eval()
    logits = plainly(adapted, ids)
    merged = adapted.merge_and_unload()
    assert not any("lora" in name for name, _ in merged.named_parameters())
    assert_near(plainly(merged, ids), logits)
    how = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    assert torch.equal(merged.generate(ids, **how), merged.generate(ids, use_cache=False, **how))


@pytest.mark.parametrize("family", ["Llama", "GPT2", "GPTNeoX"])
def test_exported_it_is_the_same(family: str) -> None:
    model, ids = build(family, "ACDKVOM"), tokens(2, 9)

    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, ids: Tensor) -> Tensor:
            logits: Tensor = self.model(ids, use_cache=False).logits
            return logits

    program = torch.export.export(Logits(), (ids,))
    assert_near(program.module()(tokens(2, 9, seed=3)), plainly(model, tokens(2, 9, seed=3)))


def test_compiled_it_is_the_same_also_one_token_at_a_time() -> None:
    model, ids = build("Llama", "ABCDOM"), tokens(2, 9)
    whole = plainly(model, ids)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert_near(plainly(compiled, ids), whole)
    cache = transformers.StaticCache(model.config, 16)
    with torch.no_grad():
        parts = [model(ids[:, :4], cache=cache).logits]
        parts += [compiled(ids[:, at : at + 1], cache=cache).logits for at in range(4, 9)]
    assert_near(torch.cat(parts, 1), whole)


def test_a_prefill_in_pieces_and_a_conversation_go_on() -> None:
    model, ids, mask = build("Llama", "ABCDOM"), tokens(2, 9), torch.ones(2, 9, dtype=torch.int64)
    mask[0, :4] = 0
    how = {"max_new_tokens": 5, "do_sample": False}
    first = model.generate(ids, attention_mask=mask, prefill_chunk_size=4, return_dict_in_generate=True, **how)
    assert torch.equal(first.sequences, model.generate(ids, attention_mask=mask, use_cache=False, **how))
    ids, mask = torch.cat([first.sequences, tokens(2, 3, seed=1)], 1), F.pad(mask, (0, 8), value=1)
    second = model.generate(ids, attention_mask=mask, cache=first.cache, **how)
    assert torch.equal(second, model.generate(ids, attention_mask=mask, use_cache=False, **how))


def test_an_adapter_is_saved_with_its_canon_layers(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    ids, before = tokens(2, 9), plainly(build("Llama"), tokens(2, 9))
    lora = peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False, modules_to_save=["canon"])
    model = peft.get_peft_model(build("Llama", "ABCD", init="identity"), lora).eval()
    for name, parameter in model.named_parameters():
        if ".canon." in name and parameter.requires_grad:
            nn.init.normal_(parameter, std=0.2)
    with model.disable_adapter():
        assert torch.equal(plainly(model, ids), before)
    model.save_pretrained(tmp_path)
    loaded = peft.PeftModel.from_pretrained(build("Llama", "ABCD", init="identity"), tmp_path).eval()
    assert torch.equal(plainly(loaded, ids), plainly(model, ids))
    assert not torch.allclose(plainly(loaded, ids), before)


def test_positions_are_taken_back() -> None:
    model, ids = build("Llama", "ABCDOM"), tokens(2, 12)
    cache = prepare_cache(model, transformers.DynamicCache(config=model.config))
    cache.activate_past_recording()
    with torch.no_grad():
        model(ids[:, :4], cache=cache)
        model(tokens(2, 5, seed=4), cache=cache)
        cache.crop(-5)
        rest = model(ids[:, 4:], cache=cache).logits
    assert_near(rest, plainly(model, ids)[:, 4:])
    how = {"max_new_tokens": 8, "do_sample": False}
    prompt = tokens(1, 4).repeat(1, 3)
    cache = prepare_cache(model, transformers.DynamicCache(config=model.config))
    guessed = model.generate(prompt, prompt_lookup_num_tokens=2, cache=cache, **how)
    assert torch.equal(guessed, model.generate(prompt, use_cache=False, **how))


def test_a_reset_cache_begins_anew() -> None:
    model, ids = build("Llama", "ABCDOM"), tokens(2, 9)
    cache = transformers.DynamicCache(config=model.config)
    with torch.no_grad():
        first = model(ids, cache=cache).logits
        cache.reset()
        assert torch.equal(model(ids, cache=cache).logits, first)


def test_what_cannot_be_is_refused_by_name() -> None:
    cases: list[tuple[Callable[[], Any], str]] = [
        (lambda: build("Llama", "AX"), "unknown point 'X'"),
        (lambda: build("Llama", "BK"), "leave K and V out"),
        (lambda: build("Llama", "A", layers=[2]), "model.layers has no layer 2"),
        (lambda: build("Llama", "A", scale=True, init="identity"), "with scale"),
        (lambda: add_canon(build("Llama", "A"), "A"), "has Canon layers already"),
        (lambda: remove_canon(build("Llama")), "has no Canon layers"),
    ]
    for run, message in cases:
        with pytest.raises(ValueError, match=message):
            run()
    bert = transformers.BertModel(transformers.BertConfig(hidden_size=8, num_attention_heads=2, num_hidden_layers=1))
    with pytest.raises(ValueError, match="BertModel holds none of them of the families"):
        add_canon(bert, "A")


def test_a_cache_that_cannot_hold_the_state_is_refused_by_name() -> None:
    model, ids = build("Llama"), tokens(1, 5)
    filled = model(ids).cache
    add_canon(model, "A")
    with pytest.raises(ValueError, match=r"Canon in model.layers.0: the cache holds positions"):
        model(ids, cache=filled)
    away = transformers.DynamicCache(config=model.config, offloading=True)
    with pytest.raises(ValueError, match=r"Canon in model.layers.0: a cache that is offloaded"):
        model(ids, cache=away)
    two = transformers.EncoderDecoderCache(transformers.DynamicCache(), transformers.DynamicCache())
    with pytest.raises(ValueError, match=r"a EncoderDecoderCache cannot hold the state"):
        model.model.layers[0](torch.zeros(1, 2, 32), cache=two)


@pytest.mark.parametrize("points", ["ABCDOM", "ACDKVOM"])
def test_a_llama_written_out_gives_the_same(points: str) -> None:
    model, ids = build("Llama", points, kernel=3).double(), tokens(2, 11)
    weights = dict(model.named_parameters())

    def mix(x: Tensor, name: str) -> Tensor:
        weight = weights.get(f"{name}.weight")
        if weight is None:
            return x
        width = x.shape[-1]
        y = F.conv1d(x.mT, weight.flip(0).T[:, None], padding=2, groups=width)[..., : x.shape[1]]
        return x + y.mT

    def norm(x: Tensor, name: str) -> Tensor:
        return x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * weights[f"{name}.weight"]

    def heads(x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, 8)).transpose(1, 2)

    angle = torch.arange(11.0, dtype=torch.float64)[:, None] * 10000.0 ** (-torch.arange(4.0, dtype=torch.float64) / 4)
    cos, sin = angle.cos().repeat(1, 2), angle.sin().repeat(1, 2)

    def turn(x: Tensor) -> Tensor:
        return x * cos + torch.cat([-x[..., 4:], x[..., :4]], -1) * sin

    x = weights["model.embed_tokens.weight"][ids]
    for layer in ("model.layers.0", "model.layers.1"):
        h = mix(norm(x, f"{layer}.input_layernorm"), f"{layer}.canon.A")
        q, k, v = (h @ weights[f"{layer}.self_attn.{part}_proj.weight"].T for part in "qkv")
        q, k, v = (mix(h, f"{layer}.canon.B_{part}_proj") for h, part in zip((q, k, v), "qkv", strict=True))
        k, v = mix(k, f"{layer}.canon.K"), mix(v, f"{layer}.canon.V")
        q, k, v = turn(heads(q)), turn(heads(k)).repeat_interleave(2, 1), heads(v).repeat_interleave(2, 1)
        scores = (q @ k.mT / 8**0.5).masked_fill(torch.ones(11, 11).triu(1).bool(), -torch.inf)
        h = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2) @ weights[f"{layer}.self_attn.o_proj.weight"].T
        x = x + mix(h, f"{layer}.canon.O")
        h = mix(norm(x, f"{layer}.post_attention_layernorm"), f"{layer}.canon.C")
        gate, up = (
            mix(h @ weights[f"{layer}.mlp.{part}.weight"].T, f"{layer}.canon.D_{part}")
            for part in ("gate_proj", "up_proj")
        )
        h = (F.silu(gate) * up) @ weights[f"{layer}.mlp.down_proj.weight"].T
        x = x + mix(h, f"{layer}.canon.M")
    written = norm(x, "model.norm") @ weights["lm_head.weight"].T
    # transformers turns queries and keys, and normalises, in float32 whatever the model's dtype
    torch.testing.assert_close(plainly(model, ids), written, atol=1e-4, rtol=1e-4)
    assert sorted(set("".join(SETS))) == sorted(POINTS)


@pytest.mark.parametrize("family", ["GPT2", "GPTNeoX", "Phi3"])
def test_keys_and_values_of_one_projection_are_those_of_three(family: str) -> None:
    """Mixed at K and V is mixed at B with taps of queries that do nothing."""
    alone, ids = build(family, "KV"), tokens(2, 9)
    together = build(family, "B", init="identity")
    stack = {"GPT2": "transformer.h", "GPTNeoX": "gpt_neox.layers", "Phi3": "model.layers"}[family]
    for one, other in zip(alone.get_submodule(stack), together.get_submodule(stack), strict=True):
        k, v, b = one.canon.K.weight.data, one.canon.V.weight.data, one_of(other.canon).weight.data
        if family == "GPTNeoX":
            rows = b.view(4, 4, 3, 8)  # taps, heads, q k v, width of a head
            rows[:, :, 1], rows[:, :, 2] = k.view(4, 4, 8), v.view(4, 4, 8)
        else:
            b[:, 32 : 32 + k.shape[1]], b[:, 32 + k.shape[1] :] = k, v
    assert_near(plainly(alone, ids), plainly(together, ids))


def one_of(points: nn.Module) -> Canon:
    (canon,) = points.children()
    assert isinstance(canon, Canon)
    return canon
