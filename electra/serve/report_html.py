"""The elements of a report's page: texts and numbers enter, HTML leaves; every text is escaped.

The page needs nothing besides itself: its one script copies a command.
"""

import math
from html import escape

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #5b6470; --page: #fff; --card: #f5f7f9;
  --line: #d5dbe1; --c0: #1769c2; --c1: #d9620a; --found: #1f8a3d; --missed: #cf2e2e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --soft: #9aa5b1; --page: #14171b;
  --card: #1e2329; --line: #38414b; --c0: #6cb0ff; --c1: #ffa14f; --found: #56c271;
  --missed: #ff7b7b; } }
body { font: 16px/1.6 system-ui, sans-serif; max-width: 62em; margin: 0 auto; padding: 1.5em;
  color: var(--ink); background: var(--page); }
h1 { font-size: 1.6em; margin: .2em 0 .8em; } h2 { font-size: 1.2em; margin: 2em 0 .5em; }
.note { color: var(--soft); font-size: .9em; margin: .3em 0; overflow-wrap: anywhere; }
.numbers, .charts { display: grid; gap: 1em; grid-template-columns: repeat(auto-fit,
  minmax(13em, 1fr)); }
.charts { grid-template-columns: repeat(auto-fit, minmax(min(26em, 100%), 1fr)); }
.card { background: var(--card); border-radius: 8px; padding: .8em 1em; min-width: 0; }
.numbers b { display: block; font-size: 1.7em; line-height: 1.2; }
.sentence { line-height: 2.6; overflow-wrap: anywhere; margin: .8em 0; }
.token { background: rgb(255 120 0 / calc(var(--p) * .75)); border-radius: 3px;
  padding: .1em .15em; }
.replaced { font-weight: 700; border-bottom: 3px solid var(--missed); }
.found { border-color: var(--found); } rt { font-weight: 400; color: var(--soft); }
.card > svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--soft); font-size: 11px; }
svg .grid { stroke: var(--line); } svg .line { fill: none; stroke-width: 2; }
svg .name { font-size: 12px; fill: var(--ink); } h3 { font-size: .95em; margin: 0 0 .4em; }
.s0 { stroke: var(--c0); } .s1 { stroke: var(--c1); stroke-dasharray: 6 3; }
.f0 { fill: var(--c0); } .f1 { fill: var(--c1); }
.settings { columns: 18em 3; column-gap: 2em; font-size: .9em; color: var(--soft); }
.settings code { color: var(--ink); float: right; } .wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .35em .8em .35em 0; border-bottom: 1px solid var(--line);
  vertical-align: top; overflow-wrap: anywhere; } th { color: var(--soft); font-weight: 500; }
.bar { display: block; height: 6px; border-radius: 3px; background: var(--c0); min-width: 1px; }
.other .bar { background: var(--soft); } td.score { min-width: 7em; }
code, pre { font: .88em/1.5 ui-monospace, monospace; }
.command { display: flex; gap: 1em; align-items: flex-start; margin: .6em 0; }
.command pre { margin: 0; flex: 1; white-space: pre-wrap; overflow-wrap: anywhere;
  user-select: all; } button { font: inherit; font-size: .85em; cursor: pointer; }
""".strip()
_SCRIPT = """
addEventListener('click', async event => {
  const button = event.target.closest('button');
  if (!button) return;
  const text = button.previousElementSibling;
  getSelection().selectAllChildren(text);
  try { await navigator.clipboard.writeText(text.textContent); }
  catch { document.execCommand('copy'); }
  button.textContent = 'copied';
});
""".strip()
_WIDTH, _HEIGHT = 520, 260  # of a chart, in its own units
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 26, 26, 24  # around what is drawn


def page(title, *sections):
    """Returns the whole page."""
    body = "\n".join(filter(None, sections))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n{body}\n<script>\n{_SCRIPT}\n</script>\n</body>\n</html>\n"
    )


def numbers(pairs):
    """Shows (number, what it is) in cards."""
    cards = [f'<div class="card"><b>{escape(n)}</b>{escape(what)}</div>' for n, what in pairs]
    return f'<div class="numbers">{"".join(cards)}</div>' if cards else ""


def sentences(recorded):
    """Shows what corrupted.json holds, each token shaded by its probability."""
    rows = [row for example in recorded["examples"] for row in example if "original" in row]
    found = sum(row["probability"] > 0.5 for row in rows)
    scale = " ".join(_shaded(f"{p:.2g}", p) for p in (0, 0.25, 0.5, 0.75, 1))
    shown = "".join(
        f'<p class="sentence card">{_sentence(example)}</p>\n' for example in recorded["examples"]
    )
    return (
        "<h2>Which tokens were replaced?</h2>\n"
        f'<p class="note">Held-out text at step {recorded["step"]:,}. The generator replaced the '
        "bold tokens; above them stand the originals. Shaded: the discriminator's probability that "
        f"a token was replaced, {scale}. Underlined green: found (more than 0.5), red: missed. "
        f"Found here: {found} of {len(rows)}.</p>\n{shown}"
    )


def _sentence(example):
    parts = []
    for row in example:
        token, probability = row["token"], row["probability"]
        parts.append("" if token.startswith("##") or not parts else " ")
        text, is_found = token.removeprefix("##"), probability > 0.5
        if "original" in row:
            kind = "replaced found" if is_found else "replaced"
            above = f"<rt>{escape(row['original'])}</rt>"
            parts.append(f"<ruby>{_shaded(text, probability, kind)}{above}</ruby>")
        else:
            parts.append(_shaded(text, probability))
    return "".join(parts)


def _shaded(text, probability, kind=""):
    return (
        f'<span class="token {kind}" style="--p: {probability:.3f}" '
        f'title="{probability:.3f}">{escape(text)}</span>'
    )


def charts(titled):
    """Shows (title, dict label -> list of (step, value)), two lines a chart, side by side."""
    cards = [
        f'<div class="card"><h3>{escape(title)}</h3>{_chart(title, lines)}</div>'
        for title, lines in titled
    ]
    return f'<h2>Learning curves</h2>\n<div class="charts">{"".join(cards)}</div>' if cards else ""


def _chart(title, lines):
    points = [point for line in lines.values() for point in line]
    last, low = max(step for step, _ in points) or 1, min(value for _, value in points)
    # What an untrained network had may be out of the picture, where enough is left of a line.
    late = {
        label: [point for point in line if point[0] >= last / 12] for label, line in lines.items()
    }
    shown = [late[label] if len(late[label]) > 3 else line for label, line in lines.items()]
    high = max(value for line in shown for _, value in line)
    margin = 0.05 * (high - low) or abs(high) * 0.05 or 1.0
    low, high = low - margin, high + margin

    def place(step, value):
        x = _LEFT + (_WIDTH - _LEFT - _RIGHT) * step / last
        y = _TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - value) / (high - low)
        return f"{x:.1f}", f"{y:.1f}"

    parts = []
    for tick in _ticks(low, high, 5):
        _, y = place(0, tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y}" dy="4" text-anchor="end">{tick:.4g}</text>')
    for tick in _ticks(0, last, 5):
        x, _ = place(tick, low)
        parts.append(f'<text x="{x}" y="{_HEIGHT - 6}" text-anchor="middle">{tick:,.6g}</text>')
    for number, (label, line) in enumerate(lines.items()):
        x, colour = _LEFT + 200 * number, f"s{number % 2}"
        parts.append(f'<path class="line {colour}" d="M{x} 9h22"/>')
        parts.append(f'<text class="name" x="{x + 28}" y="13">{escape(label)}</text>')
        path = " ".join(",".join(place(*point)) for point in line)
        inside = [f'<polyline class="line {colour}" points="{path}"/>']
        for step, value in line if len(line) <= 60 else line[-1:]:
            x, y = place(step, value)
            said = f"<title>{escape(label)}, step {step:,}: {value:.4g}</title>"
            inside.append(
                f'<circle class="f{number % 2}" cx="{x}" cy="{y}" r="2.5">{said}</circle>'
            )
        box = (
            f'y="{_TOP}" width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 {_TOP} {_WIDTH} {_HEIGHT}"'
        )
        parts.append(f"<svg {box}>{''.join(inside)}</svg>")  # cuts off what lies above
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg>"
    )


def _ticks(low, high, most):
    """Returns round numbers from low to high.

    >>> _ticks(0, 2500, 5)
    [0.0, 500.0, 1000.0, 1500.0, 2000.0, 2500.0]
    """
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * most >= high - low)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def scores(name, beside, rows):
    """Shows the tasks' scores, each with a bar; `rows` as report.py makes them."""
    lines = []
    for task, learnt, metric, baseline, other, mine in rows:
        note = f'<div class="note">learnt with {escape(learnt)}</div>' if learnt != task else ""
        cells = [f"<td>{escape(task)}{note}</td><td>{escape(metric)}</td>"]
        cells.append(_score({"mean": baseline, "trials": 1} if baseline is not None else None, 1))
        cells += [_score(other, 1)] if beside else []
        lines.append(f"<tr>{''.join(cells)}{_score(mine)}</tr>\n")
    if not lines:
        return ""
    names = ["task", "metric", "without a network", *([beside] if beside else []), name]
    lines.insert(0, f"<tr>{''.join(f'<th>{escape(text)}</th>' for text in names)}</tr>\n")
    table = f'<div class="wide"><table>\n{"".join(lines)}</table></div>'
    return f"<h2>Scores on dev files</h2>\n{table}"


def _score(found, is_other=False):
    if found is None:
        return "<td>-</td>"
    several = f" ± {found['std']:.1f} ({found['trials']} trials)" if found["trials"] > 1 else ""
    width = min(100.0, max(0.0, found["mean"]))
    return (
        f'<td class="score{" other" if is_other else ""}">{found["mean"]:.1f}{several}'
        f'<span class="bar" style="width: {width:.1f}%"></span></td>'
    )


def settings(pairs):
    """Shows (name, value) of what was run."""
    rows = "".join(
        f"<div>{escape(name)} <code>{escape(value)}</code></div>\n" for name, value in pairs
    )
    return f'<h2>What was run</h2>\n<div class="settings card">\n{rows}</div>'


def commands(lines):
    """Shows commands, each with a button that copies it."""
    rows = "".join(
        f'<div class="command card"><pre>{escape(line)}</pre><button>copy</button></div>\n'
        for line in lines
    )
    return (
        "<h2>The same with text of your own</h2>\n"
        '<p class="note">Put text files into the folder my_text: a line is a sentence or a '
        "paragraph, a blank line ends a document. Then, one after the other:</p>\n" + rows
    )
