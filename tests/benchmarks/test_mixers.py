"""The benchmark of the mixers, on lengths that take no time."""

import pytest

from canonlab.benchmarks import mixers


@pytest.mark.slow
def test_every_family_is_measured_and_the_reference_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixers, "LENGTHS", (8, 16))
    monkeypatch.setattr(mixers, "LINEAR", ("gla",))
    monkeypatch.setattr(mixers, "OTHERS", ())
    monkeypatch.setattr(mixers, "STATES", ((1, 3, 2, 2, 4),))
    families, growth, recurrences = mixers.bench_mixers(rounds=1).values()
    assert [key for key in recurrences[0] if key.endswith("loops")] == [
        f"{name}, loops" for name in ("gla", "gdn", "kda", "rwkv7", "mamba2")
    ]
    assert [(row["model"], row["canon"]) for row in families[:2]] == [("llama-rope", "original"), ("gla", "original")]
    assert families[0]["of llama-rope"] == 1.0 and all(row["tokens/s"] > 0 for row in families)
    assert [row["model"] for row in growth] == ["llama-rope", "gla"] and growth[1].keys() >= {"8 tokens", "16 tokens"}
