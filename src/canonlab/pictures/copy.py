"""Copy's two rows, one below the other, in bands when they are long."""

from canonlab.pictures.svg import FAINT, GREEN, INK, SOFT, WHITE, Canvas, text_width
from canonlab.tasks.base import Example
from canonlab.tasks.copy import FIRST_NUMBER, Copy

BAND = 25
"""The most numbers in a band."""

SIZE, HIGH, BETWEEN = 13, 30, 16
LIGHT, DARK = (0xE8, 0xF3, 0xFA), (0x00, 0x4C, 0x78)


def draw(task: Copy, question: Example) -> Canvas:
    """Above the numbers given, below their copy; the larger a number, the darker its box."""
    given, copied = question.prompt[1:-1], question.answer
    wide = max(32.0, text_width(str(task.N), SIZE) + 12)
    left, step = 64.0, 2 * HIGH + BETWEEN + 22
    bands = -(-task.N // BAND)
    canvas = Canvas(left + wide * min(task.N, BAND), step * bands - 22)
    for i, (above, below) in enumerate(zip(given, copied, strict=True)):
        x, y = left + wide * (i % BAND), float(step * (i // BAND))
        canvas.line(x + wide / 2, y + HIGH, x + wide / 2, y + HIGH + BETWEEN - 5, SOFT)
        canvas.arrow(x + wide / 2, y + HIGH + BETWEEN, 0, 1, 6, SOFT)
        for row, token in enumerate((above, below)):
            value = token - FIRST_NUMBER + 1
            share = (value - 1) / (task.N - 1)
            top = y + row * (HIGH + BETWEEN)
            canvas.box(x + 1.5, top, wide - 3, HIGH, _shade(share), GREEN if row else FAINT, 5, 2 if row else 1)
            canvas.text(x + wide / 2, top + HIGH / 2, str(value), SIZE, WHITE if share > 0.65 else INK)
    for band in range(bands):
        canvas.text(0, step * band + HIGH / 2, "given", SIZE, SOFT, "start")
        canvas.text(0, step * band + 1.5 * HIGH + BETWEEN, "copied", SIZE, GREEN, "start", bold=True)
    return canvas


def _shade(share: float) -> str:
    """From LIGHT at 0 to DARK at 1."""
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in zip(LIGHT, DARK, strict=True))
