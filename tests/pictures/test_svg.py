"""The canvas: numbers, escaping, wrapping."""

from xml.etree.ElementTree import fromstring

import pytest

from canonlab.pictures.svg import INK, STRIP_LINES, Canvas, Piece, document, number, wrap


def test_numbers() -> None:
    values = {1.0: "1", 1.004: "1", -0.001: "0", 12345.678: "12345.68", 1e6: "1000000", 0.1 + 0.2: "0.3"}
    assert [number(value) for value in values] == list(values.values())


def test_any_text_makes_valid_xml() -> None:
    nasty = "<b>&\"'\x00\x1b]]>\ud800"
    canvas = Canvas(10, 10)
    canvas.text(0, 0, nasty, 12)
    root = fromstring(document(canvas, nasty, nasty, nasty, [Piece(nasty, INK)]).encode())
    shown = [element.text for element in root.iter() if element.text]
    assert len(shown) == 7 and all("<b>&\"'" in text and "\x00" not in text for text in shown)
    assert "\N{REPLACEMENT CHARACTER}" in shown[0]


@pytest.mark.parametrize("count", [1, 9, 10, 11, 59, 60, 61, 1000])
def test_wrapping(count: int) -> None:
    words = [Piece(f"{i:03}", INK) for i in range(count)]
    lines = wrap(words, 39)
    flat = [word for line in lines for word in line]
    assert all(sum(len(word.text) + 1 for word in line) - 1 <= 39 for line in lines)
    if count <= 10 * STRIP_LINES:
        assert flat == words and len(lines) == -(-count // 10)
    else:
        gap = next(i for i, word in enumerate(flat) if word.text == "...")
        assert len(lines) == STRIP_LINES and gap == 10 * (STRIP_LINES // 2) and len(flat) >= 10 * STRIP_LINES - 2
        assert flat[:gap] == words[:gap] and flat[gap + 1 :] == words[-(len(flat) - gap - 1) :]


def test_a_gap_among_short_words_fits() -> None:
    lines = wrap([Piece("7", INK)] * 1000, 39)
    assert [sum(len(word.text) + 1 for word in line) - 1 for line in lines] == [39] * STRIP_LINES
