"""Lano's parse tree, a row a level: nodes and lines for a short sentence, boxes over the tokens for a long one."""

from canonlab.pictures.svg import AMBER, INK, PINK, SKY, SOFT, WHITE, Canvas, text_width
from canonlab.tasks.base import Example
from canonlab.tasks.lano import Lano
from canonlab.tasks.lano.trees import Tree

SHORT = 40
"""So many tokens make a tree with lines."""

WIDEST, COLUMN, ROW, HIGH, SIZE = 1560, 40, 64, 34, 14
TINTS = (SKY, AMBER, PINK, "#5fc9a8", "#f0a878", "#b9c4cc")
"""Okabe and Ito's colours again, light enough for dark text."""


def draw(task: Lano, question: Example) -> Canvas:
    """The most likely parse tree; the symbols of a level have colours of their own."""
    tree = task.parser.best_parse(question.answer)
    assert tree is not None, "the sentences of a window parse"
    levels = [[tree]]
    while below := [child for node in levels[-1] for child in node.children]:
        levels.append(below)
    tints = {
        symbol: TINTS[i % len(TINTS)] for symbols in task.definition.levels for i, symbol in enumerate(sorted(symbols))
    }
    canvas = _nodes(levels, tints) if tree.end <= SHORT else _boxes(levels, tints)
    if (trees := task.parser.count(question.answer)) > 1:
        canvas.note = f"the most likely of its {trees} parse trees"
    return canvas


def _nodes(levels: list[list[Tree]], tints: dict[int, str]) -> Canvas:
    """A tree with lines, each node in the middle of its children."""
    canvas = Canvas(COLUMN * levels[0][0].end, ROW * (len(levels) - 1) + 50)
    middle: dict[tuple[int, Tree], tuple[float, float]] = {}
    for depth, level in reversed(list(enumerate(levels))):
        for node in level:
            ends = [middle[depth + 1, child][0] for child in node.children[:: max(1, len(node.children) - 1)]]
            x = sum(ends) / len(ends) if ends else COLUMN * (node.start + 0.5)
            middle[depth, node] = x, 26.0 + ROW * depth
            for child in node.children:
                canvas.line(x, 26 + ROW * depth, *middle[depth + 1, child], SOFT, 1.5)
    for (depth, node), (x, y) in middle.items():
        wide = max(30.0, text_width(str(node.symbol), SIZE) + 12)
        corner = 15 if node.children else 5
        canvas.box(
            x - wide / 2, y - 15, wide, 30, tints[node.symbol] if depth + 1 < len(levels) else WHITE, INK, corner
        )
        canvas.text(x, y, str(node.symbol), SIZE, INK, bold=not node.children)
    return canvas


def _boxes(levels: list[list[Tree]], tints: dict[int, str]) -> Canvas:
    """A row of boxes for each level, each box as wide as the tokens that it derives."""
    tokens = levels[0][0].end
    column = min(COLUMN, WIDEST / tokens)
    gap = min(1.5, column / 5)
    canvas = Canvas(column * tokens, HIGH * len(levels))
    for depth, level in enumerate(levels):
        for node in level:
            x, y, wide = column * node.start, float(HIGH * depth), column * (node.end - node.start)
            canvas.box(x + gap / 2, y, wide - gap, HIGH - 3, tints[node.symbol], "none", min(4, wide / 5))
            size = min(SIZE, (wide - gap) / text_width(str(node.symbol), 1.1))
            canvas.text(x + wide / 2, y + (HIGH - 3) / 2, str(node.symbol), size, INK)
    return canvas
