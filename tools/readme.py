"""Tables of docs and a caption of README.md, from results/ and cards: python tools/readme.py writes them."""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "notebooks"))

import episode_1  # noqa: E402, from there
import options  # noqa: E402, likewise
import ordinary_report  # noqa: E402, likewise

import l2l  # noqa: E402, after what lies beside the notebooks

# Label of a line of the benchmarks' table, and the engine of results/benchmarks.json that it shows.
ENGINES = {
    '`engine="xla"`': "xla",
    '`engine="xla", threads=2`, two cores': "xla, two threads",
    '`engine="graph"`': "graph",
    "the original notebook's session loop, TensorFlow's default threads": "session loop",
    "the same held to one thread": "session loop, one thread",
    '`engine="xla"`, pinned to one core as the peers below are': "xla, pinned to one core",
    "JAX, `jit` and `scan`": "jax",
    "DeepMind's code": "deepmind",
}
# Columns of the shares of the ordinary tasks, in words.
BASELINES = {
    "Adam, 0.001": "Adam at 0.001",
    "Adam, tuned": "tuned Adam",
    "Adam, tuned, cosine": "the reference",
    "Adam, 0.01, cosine": "Adam at 0.01 with the schedule",
    "Prodigy, cosine": "Prodigy",
    "all at once": "all of them at once",
}
SMALL, LARGE = "D=2 T=20 batch=1", "D=10 T=20 batch=128"


def compared(rows):
    """Summaries of the rows that the document has a figure for."""
    return [row for row in episode_1.summary(rows) if row["document"] is not None]


def episode_table(rows):
    """The table of Episode 1's results, in Markdown.

    Args:
      rows: of results/episode_1.json.
    """
    lines = ["| experiment | meta-iterations | original notebook | median | lowest | highest |"]
    lines.append("|---|---|---|---|---|---|")
    line = "| {experiment} | {meta_iterations:,} | {document:.2f} | {median:.2f} | {lowest:.2f} | {highest:.2f} |"
    return "\n".join(lines + [line.format(**row) for row in compared(rows)])


def benchmark_table(rows):
    """The table of milliseconds per meta-iteration, in Markdown; empty where an engine was not measured.

    Args:
      rows: of results/benchmarks.json.
    """
    measured = {(row["engine"], row["name"]): row["ms_per_meta_iteration"] for row in rows}
    lines = ["| meta-iteration, ms | D=2, T=20, batch 1 | D=10, T=20, batch 128 |", "|---|---|---|"]
    for label, engine in ENGINES.items():
        cells = [(measured.get((engine, size)), digits) for size, digits in [(SMALL, ".3f"), (LARGE, ".1f")]]
        lines.append("|".join(["", " %s " % label] + [" %s " % format(ms, d) if ms else " " for ms, d in cells] + [""]))
    return "\n".join(lines)


def options_table(rows):
    """The table of what each way to train buys, in Markdown.

    Args:
      rows: of results/options.json.
    """
    lines = options.summary(rows)
    heads = ["| %s |" % " | ".join(lines[0]), "|" + "---|" * len(lines[0])]
    return "\n".join([*heads, *["| %s |" % " | ".join(line.values()) for line in lines]])


def cards_table(cards):
    """The table of all shipped optimizers in all places, in Markdown: medians, and the worst of the draws.

    Bold is a median at or below Adam's at its best rate.

    Args:
      cards: as from `l2l.pretrained()`.
    """
    names = " | ".join("`%s`" % name for name in cards)
    lines = ["| place | steps | %s | Adam, 0.001 | Adam at its best rate (the rate) |" % names]
    lines.append("|---|---|" + "---|" * (len(cards) + 2))
    for rows in zip(*[card.figures for card in cards.values()]):
        tuned, cells = rows[0]["Adam, best rate"], []
        for row in rows:
            value = row["learned"]
            median = figure(value, value is not None and value <= tuned)
            cells.append("%s (%s)" % (median, figure(row["worst"], False)))
        default = figure(rows[0]["Adam, 0.001"], False)
        last = "%s (%g)" % (figure(tuned, False), rows[0]["rate"])
        lines.append("| " + " | ".join([rows[0]["place"], f"{rows[0]['steps']:,}", *cells, default, last]) + " |")
    return "\n".join(lines)


def changes_table(rows):
    """The table of what predicts that a learned optimizer falls behind Adam, in Markdown.

    Args:
      rows: of results/limits.json.
    """
    lines = ["| network | L1 norm of an input | 100 steps | 500 steps |", "|---|---|---|---|"]
    line = "| {change} | {norm:.0f} | {first:.2f} | {second:.2f} |"
    for row in (row for row in rows if row["part"] == "changes"):
        more = {"norm": row["L1 norm"], "first": row["ratio, 100"], "second": row["ratio, 500"]}
        lines.append(line.format(change=row["change"], **more))
    return "\n".join(lines)


def sigmoid_table(rows):
    """The table of Adam on one sigmoid layer, tuned in two ways, in Markdown: medians, and the worst of the draws.

    Args:
      rows: of results/limits.json.
    """
    rows = [row for row in rows if row["part"] == "sigmoid"]
    steps = sorted({row["steps"] for row in rows})
    lines = ["| Adam | %s |" % " | ".join(f"{n:,} steps" for n in steps), "|---|" + "---|" * len(steps)]
    for label in ["rate only", "all settings"]:
        found = {row["steps"]: row for row in rows if row["tuned"] == label}
        cells = ["%.2f (%.2f)" % (found[n]["median"], found[n]["worst"]) for n in steps]
        words = {"rate only": "rate tuned", "all settings": "rate, `beta1` and `beta2` tuned"}
        lines.append("| %s | %s |" % (words[label], " | ".join(cells)))
    return "\n".join(lines)


def suite_table(rows):
    """The table of the ordinary tasks, in Markdown: medians, the worst seed of `general`, and held-out figures.

    Bold is the lowest of a line, and what lies within 2% of it. A star marks kinds of tasks that `general` never saw.

    Args:
      rows: of results/ordinary_tasks.json.
    """
    names = [ordinary_report.LEARNED, *ordinary_report.BASELINES]
    heads = ["task", "steps", "`general`", *ordinary_report.BASELINES, "held out: `general`", "Adam, tuned, cosine"]
    lines = ["| %s |" % " | ".join(heads), "|" + "---|" * len(heads)]
    for (task, steps), cell in ordinary_report.cells(rows).items():
        medians = [ordinary_report.median(cell[name]) for name in names]
        texts = [figure(one, one <= min(medians) + ordinary_report.LEVEL) for one in medians]
        texts[0] += " (%s)" % figure(cell[names[0]]["worst"], False)
        task += "" if cell[names[0]]["is_seen_kind"] else " *"
        held = [ordinary_report.held_out(cell[name]) for name in (names[0], ordinary_report.REFERENCE)]
        lines.append("| " + " | ".join([task, f"{steps:,}", *texts, *["%.4g" % one for one in held]]) + " |")
    return "\n".join(lines)


def suite_caption(rows):
    """What the figure of the ordinary tasks shows, in training and on held-out data: a line.

    Args:
      rows: of results/ordinary_tasks.json.
    """
    learned = [row for row in rows if row["optimizer"] == ordinary_report.LEARNED]
    found, unseen = ordinary_report.shares(rows).rows
    parts = ["%s in %.0f%%" % (words, 100 * found[name]) for name, words in BASELINES.items()]
    return (
        "Training loss of {tasks} tasks over that of the reference, Adam with a tuned rate and a cosine schedule; "
        "medians over {seeds} seeds. Left is better, and a star marks kinds of tasks that `general` never saw. In "
        "{cells} pairs of task and length `general` is level (within 2%) with or below {parts}, and {all} "
        "({unseen:.0f}% for unseen kinds). {failed} of {runs} runs failed. On held-out data it is as good as the "
        "reference in {held} tasks after {steps:,} steps."
    ).format(
        tasks=len({row["task"] for row in rows}),
        seeds=len(learned[0]["logs"]),
        parts=", ".join(parts[:-1]),
        all=parts[-1],
        cells=found["cells"],
        unseen=100 * unseen["all at once"],
        failed=found["failed"],
        runs=sum(len(row["logs"]) for row in learned),
        held=found["held out"],
        steps=ordinary_report.HELD_OUT_STEPS,
    )


def with_caption(text, caption):
    """The text with its line of the same first word replaced by `caption`."""
    return re.sub("(?m)^%s .*$" % re.escape(caption.split()[0]), lambda _: caption, text, count=1)


def figure(value, is_bold):
    """A figure of a card, None for what diverged."""
    text = "diverged" if value is None else "%.2f" % value
    return "**%s**" % text if is_bold else text


def with_table(text, table):
    """The text with its table of the same first column name replaced by `table`."""
    start = re.escape(table[: table.index("|", 1) + 1])
    return re.sub(r"(?m)^%s.*\n(\|.*\n)*" % start, lambda _: table + "\n", text, count=1)


def rows_of(name):
    return json.loads((ROOT / "results" / (name + ".json")).read_text())["rows"]


def main():
    limits = rows_of("limits")
    for name, table in [
        ("findings.md", episode_table(rows_of("episode_1"))),
        ("speed.md", benchmark_table(rows_of("benchmarks"))),
        ("pretrained.md", cards_table(l2l.pretrained())),
        ("pretrained.md", suite_table(rows_of("ordinary_tasks"))),
        ("problems.md", options_table(rows_of("options"))),
        ("limits.md", changes_table(limits)),
        ("limits.md", sigmoid_table(limits)),
    ]:
        page = ROOT / "docs" / name
        page.write_text(with_table(page.read_text(), table))
    page = ROOT / "README.md"
    page.write_text(with_caption(page.read_text(), suite_caption(rows_of("ordinary_tasks"))))


if __name__ == "__main__":
    main()
