"""Which rows an architecture means, and which of them may be compared."""

from typing import Any

import pytest

from canonlab.claims.architecture import Architecture


def settings(**changed: Any) -> dict[str, Any]:
    given = {"model": "llama-rope", "canon": "ABCD", "size": "8L512D", "canon_residual": True, **changed}
    return {f"model.{key}": value for key, value in given.items()}


ROPE = Architecture("llama-rope", "ABCD")


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({}, True),
        ({"size": "2L64D"}, True),
        ({"exact_intermediate": True}, True),
        ({"canon": "ABC"}, False),
        ({"model": "llama-nope"}, False),
        ({"canon_residual": False}, False),
        ({"canon_kernel": 3}, False),
        ({"mixer.qk_norm": True}, False),
        ({"mlp": "none"}, False),
    ],
)
def test_a_row_is_of_an_architecture_when_nothing_else_is_changed(changed: dict[str, Any], same: bool) -> None:
    assert ROPE.fits(settings(**changed)) is same


def test_settings_and_layers_restrict() -> None:
    frozen = Architecture("llama-rope", "ABCD", layers=1, settings=(("canon_frozen", True),))
    assert frozen.fits(settings(canon_frozen=True, size="1L32D2H"))
    assert not frozen.fits(settings(size="1L32D2H")) and not frozen.fits(settings(canon_frozen=True))
    assert not frozen.fits(settings(canon_frozen=True, size="12L32D"))
    mimetic = Architecture("mamba2-mlp", "b", settings=(("mixer.init", "mimetic"),))
    given = settings(model="mamba2-mlp", canon="b")
    assert mimetic.fits({**given, "model.mixer.init": "mimetic"}) and not mimetic.fits(given)
    hybrid = Architecture("gla,gla,gla,llama-rope", "AbCD")
    assert hybrid.fits(settings(model="gla, gla, gla, llama-rope", canon="AbCD"))


def test_places_are_sizes_or_where_layers_are_given_widths() -> None:
    assert ROPE.shared(settings()) == Architecture("llama-nope").shared(settings(model="llama-nope", canon=""))
    assert ROPE.shared(settings()) != ROPE.shared(settings(size="12L512D"))
    assert ROPE.shared(settings()) != ROPE.shared(settings(exact_intermediate=True))
    one, two = Architecture("llama-rope", layers=1), Architecture("llama-rope", layers=2)
    assert one.shared(settings(size="1L32D2H")) == two.shared(settings(size="2L32D2H"))
    assert one.shared(settings(size="1L32D2H")) != two.shared(settings(size="2L64D2H"))


def test_names_for_people() -> None:
    assert str(ROPE) == "llama-rope + Canon-ABCD"
    assert str(Architecture("gdn", "b")) == "gdn + conv1d"
    frozen = Architecture("llama-rope", "ABCD", layers=1, settings=(("canon_frozen", True),))
    assert str(frozen) == "llama-rope + Canon-ABCD, 1 layer, frozen"
    assert str(Architecture("mamba2-mlp", "b", settings=(("mixer.init", "mimetic"),))).endswith(", init mimetic")
