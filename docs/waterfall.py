#!/usr/bin/env python3
"""Draws a terminal's output as SVG: text with ANSI styles on standard input, the picture on standard output.

The picture in the README, from a real run on a terminal of 100 columns (`script` is part of util-linux):

    script -qec "stty cols 100; baton run -- cargo --version" /dev/null |
        python3 docs/waterfall.py "baton run -- cargo --version" > docs/waterfall.svg

The argument is the command line to show above the output. Blocks are drawn as rectangles, so that bars are crisp in any
font. Of ANSI, styles are understood (bold, dim, the eight colours); a line ends at a newline.
"""

import re
import sys
from xml.sax.saxutils import escape

CELL, LINE, SIZE, PAD = 8.4, 19, 14, 20
BACKGROUND, FOREGROUND, BAR, DIM = "#0d1117", "#d7dde4", "#58a6ff", 0.6
COLOURS = ["#484f58", "#ff7b72", "#3fb950", "#d29922", "#58a6ff", "#bc8cff", "#39c5cf", "#d7dde4"]

# Eighths of a cell that a block covers from its left; the one right-hand block covers the last eighth.
LEFT = {chr(0x2588 + i): 8 - i for i in range(8)}
RIGHT = "\u2595"

ESCAPE = re.compile(r"\x1b\[([0-9;]*)([A-Za-z])|\x1b[()].")


def cells(line):
    """The characters of one line, each with its style (bold, dim, colour)."""
    bold, dim, colour, at, out = False, False, None, 0, []
    while at < len(line):
        found = ESCAPE.match(line, at)
        if not found:
            out.append((line[at], (bold, dim, colour)))
            at += 1
            continue
        at = found.end()
        for code in (found[1] or "0").split(";") if found[2] == "m" else []:
            code = int(code or 0)
            if code == 0:
                bold, dim, colour = False, False, None
            elif code == 1:
                bold = True
            elif code == 2:
                dim = True
            elif code == 22:
                bold, dim = False, False
            elif 30 <= code <= 37:
                colour = COLOURS[code - 30]
            elif code == 39:
                colour = None
    return out


def rect(x, y, width, style):
    """A piece of a bar."""
    opacity = f' opacity="{DIM}"' if style[1] else ""
    return f'<rect x="{x:.2f}" y="{y}" width="{width:.2f}" height="{LINE - 5}" fill="{style[2] or BAR}"{opacity}/>'


def text(x, y, content, style):
    """A run of characters of one style, held to the grid."""
    bold, dim, colour = style
    marks = ' font-weight="700"' if bold else ""
    marks += f' opacity="{DIM}"' if dim else ""
    marks += f' fill="{colour}"' if colour else ""
    return f'<text x="{x:.2f}" y="{y}" textLength="{len(content) * CELL:.2f}"{marks}>{escape(content)}</text>'


def span(character):
    """Where in its cell a block begins and ends, in eighths; nothing for other characters."""
    if character == RIGHT:
        return 7, 8
    return (0, LEFT[character]) if character in LEFT else None


def row(line, top):
    """The shapes of one line. Neighbouring blocks become one rectangle; runs of text break at wide gaps."""
    shapes, at, line = [], 0, cells(line)
    while at < len(line):
        character, style = line[at]
        x, begin = PAD + at * CELL, at
        if block := span(character):
            start, end = at * 8 + block[0], at * 8 + block[1]
            at += 1
            while at < len(line) and line[at][1] == style and (more := span(line[at][0])) and at * 8 + more[0] == end:
                end = at * 8 + more[1]
                at += 1
            shapes.append(rect(PAD + start * CELL / 8, top + 2, (end - start) * CELL / 8, style))
            continue
        if character == " ":
            at += 1
            continue
        while at < len(line) and line[at][1] == style and not span(line[at][0]):
            if line[at][0] == " " and (at + 1 == len(line) or line[at + 1][0] == " "):
                break
            at += 1
        run = "".join(c for c, _ in line[begin:at])
        if run.endswith(" "):
            run = run.rstrip()
        shapes.append(text(x, top + LINE - 5, run, style))
    return shapes


def main():
    lines = sys.stdin.read().replace("\r", "").rstrip("\n").split("\n")
    if len(sys.argv) > 1:
        lines.insert(0, f"\x1b[2m$\x1b[0m \x1b[1m{sys.argv[1]}")
    columns = max(len(cells(line)) for line in lines)
    width, height = round(columns * CELL + 2 * PAD), len(lines) * LINE + 2 * PAD
    print(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        f' font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,DejaVu Sans Mono,Liberation Mono,monospace"'
        f' font-size="{SIZE}" fill="{FOREGROUND}" xml:space="preserve">'
    )
    print(f'<rect width="{width}" height="{height}" rx="8" fill="{BACKGROUND}"/>')
    for number, line in enumerate(lines):
        print("\n".join(row(line, PAD + number * LINE)))
    print("</svg>")


if __name__ == "__main__":
    main()
