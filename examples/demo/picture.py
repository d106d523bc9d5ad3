"""`make demo-picture`: runs the demo and draws what it prints, for the README.

The first trace and the metrics are left out: three screens are too many for a picture.
"""

import html
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

HERE = Path(__file__).resolve().parent
PICTURE = HERE / "demo.svg"
WIDTH = 110
RULE = re.compile(r"\n\n[^\n]*─{60,}[^\n]*\n\n")
LEFT_OUT = "\033[2m  ⋮\033[0m"
FOREGROUND, BACKGROUND = (208, 213, 222), (17, 20, 26)
COLORS = [
    (60, 66, 78),
    (240, 98, 104),
    (126, 200, 110),
    (226, 178, 84),
    (98, 164, 240),
    (196, 136, 230),
    (82, 196, 200),
    FOREGROUND,
]
FONTS = "ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono"
TEXT = re.compile(
    r'<text class="(demo-r\d+)" x="([\d.]+)" y="([\d.]+)" textLength="[\d.]+" clip-path="[^"]+">([^<]*)</text>'
)
CLIP = re.compile(r'\s*<clipPath id="demo-line-\d+">.*?</clipPath>', re.DOTALL)
FONT_FACE = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)
GAP = re.compile(r"\xa0{2,}|(?<=[│├└─])\xa0|^\xa0|\xa0$")
CHARACTER = 12.2  # the width of a column in Rich's pictures


def main() -> int:
    """Draw the picture, unless the demo failed."""
    demo = [sys.executable, HERE, "--color", "always", "--width", str(WIDTH)]
    ran = subprocess.run(demo, stdout=subprocess.PIPE, text=True, check=False)
    if ran.returncode:
        print(ran.stdout)
        return ran.returncode
    PICTURE.write_text(drawn(f"$ make demo\n\n{shortened(ran.stdout)}"), encoding="utf-8")
    print(f"drawn: {PICTURE.relative_to(HERE.parents[1])}, {PICTURE.stat().st_size // 1024} KiB")
    return 0


def shortened(output: str) -> str:
    """The orders, the two traces that went wrong, and the last line."""
    first, compensated, stalled, metrics = RULE.split(output.rstrip())
    orders = first[: first.index("$ multiagents-otel show")]
    orders += "\033[2m" + first[len(orders) :].partition("\n")[0]
    return "\n\n".join([orders, LEFT_OUT, compensated, LEFT_OUT, stalled, LEFT_OUT, metrics.rpartition("\n")[2]])


def drawn(output: str) -> str:
    """An SVG of it, which looks the same wherever it is shown."""
    with Path("/dev/null").open("w") as nowhere:
        console = Console(record=True, width=WIDTH, file=nowhere, force_terminal=True, color_system="truecolor")
        console.print(Text.from_ansi(output))
        svg = console.export_svg(
            title="make demo", theme=TerminalTheme(BACKGROUND, FOREGROUND, COLORS), unique_id="demo"
        )
    # Not every viewer keeps spaces, stretches texts to their length, or fetches a font: none of it is asked for.
    svg = TEXT.sub(placed, CLIP.sub("", FONT_FACE.sub("", svg)))
    svg = svg.replace("Fira Code", FONTS).replace("font-variant-east-asian: full-width;", "")
    return re.sub(r"[ \t]+$", "", svg, flags=re.MULTILINE).rstrip() + "\n"


def placed(text: re.Match[str]) -> str:
    """A text in its parts between wider gaps, each of them at its own place."""
    style, x, y, escaped = text.groups()
    content = html.unescape(escaped)
    gaps = [(0, 0), *(gap.span() for gap in GAP.finditer(content)), (len(content), len(content))]
    parts = [(end, content[end:start]) for (_, end), (start, _) in pairwise(gaps)]
    return "".join(
        f'<text class="{style}" x="{float(x) + at * CHARACTER:g}" y="{y}" textLength="{len(part) * CHARACTER:g}">'
        f"{html.escape(part, quote=False)}</text>"
        for at, part in parts
        if part.strip("\xa0")
    )


if __name__ == "__main__":
    sys.exit(main())
