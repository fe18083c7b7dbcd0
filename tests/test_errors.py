"""What messages show of values."""

import unicodedata

import pytest

from canonlab.errors import visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b]0;title\x07", r"\x1b[31mred\x1b]0;title\x07"),
        ("a\rb\nc\td\x7f\x9b1m", r"a\rb\nc\td\x7f\x9b1m"),
        ("\u202eknil\u2066x\u2069\u200f", r"\u202eknil\u2066x\u2069\u200f"),
        ("a\u2028b\udcff", r"a\u2028b\udcff"),
    ],
)
def test_what_a_terminal_would_act_on_is_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_all_other_text_is_as_it_is() -> None:
    text = "Größe = 3, α/β – “表” 👩‍🔬 نص \\x1b \u00a0"
    assert visible(text) == text


def test_no_control_character_is_forgotten() -> None:
    letters = map(chr, range(0x110000))
    left = [letter for letter in letters if unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp")]
    assert not any(visible(letter) == letter for letter in left)
    turns = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    assert not any(visible(c) == c for c in map(chr, range(0x3000)) if unicodedata.bidirectional(c) in turns)
