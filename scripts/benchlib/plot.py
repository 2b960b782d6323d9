"""The summary of results as an SVG image: a panel for each case, a bar for each contender. Drawn on a
background of its own, so that it can be read on dark pages too."""

import statistics
from html import escape

WIDTH = 860
LABELS = 250  # where bars begin
BARS = 470  # length of the longest bar
ROW = 24
HEAD = 48  # height of a panel's title
OURS, BESIDE, OTHERS = "#0969da", "#80b3f0", "#b6bec9"
INK, FAINT = "#1f2328", "#59636e"


def summary(results):
    """`results` are those of one or more runs of scripts/bench."""
    panels, top = [], 16
    for result in results:
        for title, case in result["cases"].items():
            done = {name: [run["wall_s"] for run in runs if run] for name, runs in case["runs"].items()}
            done = {name: walls for name, walls in done.items() if walls}
            if done:
                panels.append(panel(title, case, done, top))
                top += HEAD + ROW * len(done) + 14
    for line in dict.fromkeys(f"{result['machine']}; loopback, both ends on one machine" for result in results):
        panels.append(text(20, top + 8, line, size=11, fill=FAINT))
        top += 16
    panels.append(text(20, top + 8, "Medians; the thin lines reach from the lowest to the highest run.", size=11, fill=FAINT))
    height = top + 26
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
            'font-family="-apple-system, Segoe UI, Helvetica, Arial, sans-serif" role="img">\n'
            "<title>How fast transfer and other tools move files</title>\n"
            f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8" fill="#ffffff" stroke="#d1d9e0"/>\n'
            + "".join(panels) + "</svg>\n")


def panel(title, case, done, top):
    """Throughput of one file, time of a tree: there it is the number of files that costs."""
    if case["one_file"]:
        size = f"{case['bytes'] / 1e6:,.0f} MB"
        unit, better = "MB/s", "MB/s, longer is better"
        values = {name: [case["bytes"] / 1e6 / wall for wall in walls] for name, walls in done.items()}
    else:
        size = f"{case['files']:,} files, {case['bytes'] / 1e6:,.0f} MB"
        unit, better = "s", "seconds, shorter is better"
        values = done
    heading = f"{title[:1].upper()}{title[1:]}"
    parts = [
        f'<text x="20" y="{top + 18}" font-size="15" fill="{INK}"><tspan font-weight="600">{escape(heading)}</tspan>'
        f'<tspan fill="{FAINT}" font-size="13" dx="8">{escape(size)}</tspan></text>\n',
        text(WIDTH - 20, top + 18, better, size=12, fill=FAINT, anchor="end"),
        f'<line x1="20" y1="{top + 28}" x2="{WIDTH - 20}" y2="{top + 28}" stroke="#d1d9e0"/>\n',
    ]
    scale = BARS / max(max(runs) for runs in values.values())
    # The best on top.
    order = sorted(values, key=lambda name: statistics.median(values[name]), reverse=case["one_file"])
    for row, name in enumerate(order):
        y = top + HEAD - 8 + row * ROW
        runs = values[name]
        middle = statistics.median(runs)
        ours = name.startswith("transfer")
        fill = OURS if name == "transfer" else BESIDE if ours else OTHERS
        weight = 600 if ours else 400
        low, high = (LABELS + scale * edge for edge in (min(runs), max(runs)))
        parts += [
            text(LABELS - 10, y + 12, name, anchor="end", weight=weight),
            f'<rect x="{LABELS}" y="{y}" width="{max(scale * middle, 1):.1f}" height="16" rx="2" fill="{fill}"/>\n',
            f'<line x1="{low:.1f}" y1="{y + 8}" x2="{high:.1f}" y2="{y + 8}" stroke="{INK}" stroke-opacity="0.6"/>\n',
            text(max(LABELS + scale * middle, high) + 8, y + 12, f"{number(middle)} {unit}", weight=weight),
        ]
    return "".join(parts)


def number(value):
    """Three digits, but no fewer than there are before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def text(x, y, words, size=13, fill=INK, anchor="start", weight=400):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{fill}" text-anchor="{anchor}" '
            f'font-weight="{weight}">{escape(words)}</text>\n')
