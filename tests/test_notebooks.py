"""The notebooks and the README run; what is committed of them agrees with the recorded results."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import bs4
import episode_1
import episode_2
import episode_3
import first_example
import nbformat
import notebook_page
import numpy as np
import options
import ordinary_report
import pytest
import run_notebook
from digits import LENGTHS
from test_docs import left_over, results

import l2l

ROOT = Path(__file__).resolve().parent.parent

# Of each notebook: a run, its meta-iterations at all checkpoints of a rehearsal, and the last column of its last table.
REHEARSED = {
    "episode_2": ("logdiv_sum", 580, "never start"),
    "episode_3": ("learned for the sum of logs", 40, "ahead, several"),
    "paper": ("learned, quadratics", 28, "figure"),
}


def code_cells(path):
    return [cell for cell in nbformat.read(str(path), as_version=4).cells if cell.cell_type == "code"]


def images(cell):
    return sum("image/png" in output.get("data", {}) for output in cell.outputs)


def draws(cell):
    """Whether the cell ends with a figure."""
    return cell.source.splitlines()[-1].startswith(("l2l.plot_", "figure", "picture"))


def cell_with(text):
    """The cell of the committed notebook of Episode 1 whose source has the text."""
    (cell,) = [cell for cell in EPISODE.cells if text in cell.source]
    return cell


EPISODE = nbformat.read(str(ROOT / "notebooks" / "episode_1.ipynb"), as_version=4)


def check_page(html):
    """It needs no network and no script, and no formula is left as LaTeX."""
    page = bs4.BeautifulSoup(html, "html.parser")
    assert page.find_all(["script", "link", "iframe", "object", "embed"]) == []
    assert [tag["src"][:80] for tag in page.find_all(src=True) if not tag["src"].startswith("data:")] == []
    styles = " ".join(style.text for style in page.find_all("style"))
    addresses = re.findall(r"url\(\s*[\"']?(.{9})", styles)
    assert "@import" not in styles and [start for start in addresses if not start.startswith(("data:", "#"))] == []
    for cell in page.find_all(class_="jp-RenderedMarkdown"):
        assert "$" not in cell.text and "\\" not in cell.text, cell.text
    return page


def rehearsed(name, tmp_path):
    """Runs a notebook, shortened; gives its cells, page, results and what was printed, after checks of all."""
    path = ROOT / "notebooks" / (name + ".ipynb")
    # XLA without LLVM's optimizations compiles faster; the figures of a rehearsal mean nothing anyway.
    environment = dict(os.environ, L2L_LENGTH="0.002", XLA_FLAGS="--xla_backend_optimization_level=0")
    command = [sys.executable, "tools/run_notebook.py", str(path.relative_to(ROOT)), str(tmp_path)]
    done = subprocess.run(command, cwd=str(ROOT), env=environment, capture_output=True)
    assert done.returncode == 0, done.stdout.decode()[-3000:] + done.stderr.decode()[-3000:]

    cells = code_cells(tmp_path / path.name)
    assert [images(cell) for cell in cells] == [draws(cell) for cell in cells], "each figure once"
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.get("name") == "stderr"], "warnings in the notebook"
    page = check_page((tmp_path / path.name).with_suffix(".html").read_text())
    assert len(page.find_all("img")) == sum(map(draws, cells))
    rows = json.loads((tmp_path / path.name).with_suffix(".json").read_text())["rows"]
    return cells, page, rows, done


@pytest.mark.rehearsal
@pytest.mark.parametrize(
    "name", ["episode_2", *[pytest.param(name, marks=pytest.mark.slow) for name in ("episode_3", "paper")]]
)
def test_notebook_runs_with_shortened_runs(name, tmp_path):
    cells, page, rows, done = rehearsed(name, tmp_path)
    run, meta_iterations, column = REHEARSED[name]
    assert sum(map(draws, cells)) >= 5
    assert [cell.text for cell in page.find_all("table")[-1].find_all("th")][-1] == column
    assert sum(row["meta_iterations"] for row in rows if row.get("experiment") == run) == meta_iterations
    assert run in done.stdout.decode() and run + ":" in done.stderr.decode()


@pytest.mark.rehearsal
def test_the_notebook_on_use_runs_with_shortened_runs(tmp_path):
    cells, _, rows, _ = rehearsed("use_it", tmp_path)
    assert sum(map(draws, cells)) == 1 and len(rows) == 4
    assert all(0 < row["training loss"] < np.inf for row in rows)


@pytest.mark.slow
@pytest.mark.rehearsal
def test_the_notebook_on_the_general_optimizer_runs_with_shortened_runs(tmp_path):
    cells, _, (row,), _ = rehearsed("general", tmp_path)
    assert sum(map(draws, cells)) == 3 and len(row["inputs"]) == 9 and len(row["weight decay"]) == 5
    assert all(np.isfinite(figure) for ends in row["inputs"].values() for figure in ends.values())


def test_every_notebook_is_run_by_a_test():
    """Episode 1 in full, by `make check-episode-1`, and the quickstart where nothing but the wheel is installed."""
    names = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert names == {*REHEARSED, "use_it", "general", "episode_1", "quickstart"}
    assert "make check-episode-1" in (ROOT / ".ci" / "run").read_text()
    assert '"quickstart.ipynb"' in (ROOT / "tests" / "test_wheel.py").read_text()


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_committed_notebook_shows_no_warnings_of_tensorflow_and_no_paths_of_its_machine(path):
    outputs = json.dumps([cell["outputs"] for cell in json.loads(path.read_text())["cells"] if "outputs" in cell])
    assert re.findall(r"WARNING:tensorflow[^\\]*|/(?:tmp|home|root|work)/[^\\ ]*", outputs) == []


def test_it_is_said_what_a_run_leaves(tmp_path, monkeypatch, capsys):
    def run(path, folder):
        for name in ["short.ipynb", "short.html", "losses.png"]:
            (folder / name).write_text("")
        return nbformat.v4.new_notebook()

    monkeypatch.setattr(run_notebook, "run", run)
    monkeypatch.setattr(sys, "argv", ["run_notebook.py", "short.ipynb", str(tmp_path)])
    run_notebook.main()
    assert capsys.readouterr().out.splitlines()[-1] == "In %s: losses.png, short.html, short.ipynb" % tmp_path


UNSHOWN = """class Unshown:
    def _repr_html_(self):
        raise RuntimeError("on purpose")

Unshown()"""


@pytest.mark.rehearsal
@pytest.mark.parametrize("source", ["raise RuntimeError('on purpose')", UNSHOWN], ids=["cell", "result"])
def test_a_failing_notebook_fails_and_leaves_what_it_did(source, tmp_path):
    cells = [nbformat.v4.new_code_cell("print('first')"), nbformat.v4.new_code_cell(source)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), str(tmp_path / "bad.ipynb"))
    command = [sys.executable, "tools/run_notebook.py", str(tmp_path / "bad.ipynb"), str(tmp_path / "out")]
    done = subprocess.run(command, cwd=str(ROOT), capture_output=True)
    assert done.returncode != 0 and b"on purpose" in done.stderr
    assert code_cells(tmp_path / "out" / "bad.ipynb")[0].outputs[0]["text"] == "first\n"


def test_the_committed_notebook_was_executed_and_shows_the_committed_results():
    cells = [cell for cell in EPISODE.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert [images(cell) for cell in cells] == [draws(cell) for cell in cells], "each figure once"
    rows = json.loads((ROOT / "results" / "episode_1.json").read_text())["rows"]
    shown = [output["data"] for output in cells[-1].outputs]
    for data, table in zip(shown, [episode_1.table(rows), episode_1.trial_table(rows)]):
        assert data["text/plain"] == str(table)
        assert "".join(data["text/html"]) == table._repr_html_()


def test_the_comparison_with_rmsprop_is_what_the_text_says():
    lines = [line.rsplit(None, 2) for line in cell_with("l2l.vsgd()").outputs[0]["data"]["text/plain"].splitlines()[1:]]
    last, summed = ({line[0]: float(line[i]) for line in lines} for i in (1, 2))
    assert last["RNN_log30_end_log_res"] < last["RMSProp"]  # its last network ends lower
    assert summed["RNN_log30_end_log_res"] > summed["RMSProp"]  # for the end only
    assert last["RMSProp, rate 8.4"] < -37.9 and summed["RMSProp, rate 8.4"] > 1e3  # at zero; overshoots
    assert last["vSGD"] == -38  # the log of an exact zero


def test_the_committed_notebook_of_episode_2_was_executed_and_shows_its_results():
    cells = code_cells(ROOT / "notebooks" / "episode_2.ipynb")
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert [images(cell) for cell in cells] == [draws(cell) for cell in cells], "each figure once"
    table = episode_2.table([row for row in results("episode_2")["rows"] if "measurement" not in row])
    assert cells[-1].outputs[0]["data"]["text/plain"] == str(table)


def test_what_episode_2_says_of_the_onset_is_in_its_results():
    onsets = {row["run"]: row for row in results("episode_2")["rows"] if row.get("measurement") == "onset"}
    assert onsets["log43"]["moves"] is None and onsets["log43"]["estimated"] > 1e6
    assert onsets["log43, times 1e12"]["starts"] is not None  # the same, but for a factor that Adam cannot miss
    assert onsets["log15"]["starts"] is not None and onsets["log15, times 1e-12"]["moves"] is None
    starts = [onsets["log%d" % m]["starts"] for m in (5, 10, 15, 20)]
    assert starts == sorted(starts)


def test_the_committed_notebook_of_episode_3_was_executed_and_shows_its_results():
    cells = code_cells(ROOT / "notebooks" / "episode_3.ipynb")
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert [images(cell) for cell in cells] == [draws(cell) for cell in cells], "each figure once"
    rows = [row for row in results("episode_3")["rows"] if "condition" in row]
    (compared,) = [cell for cell in cells if "episode_3.table(" in cell.source]
    for cell, table in [(compared, episode_3.table(rows)), (cells[-1], episode_3.winners(rows))]:
        assert cell.outputs[-1]["data"]["text/plain"] == str(table)


def median(figures, name):
    """Of the three seeds of an optimizer."""
    return float(np.median([figures["%s, seed %d" % (name, seed)] for seed in [1, 2, 3]]))


def test_the_conclusions_of_episode_3_are_those_of_its_results():
    rows = results("episode_3")["rows"]
    summed = {row["optimizer"]: row for row in rows if row.get("measurement") == "summed loss on 100,000 draws"}
    logs = {
        row["optimizer"]: row["figure"]
        for row in rows
        if row.get("measurement") == "logarithms on 10,000 draws" and row["measure"] == "sum of logs"
    }
    cells = {key: cell["figure"] for key, cell in episode_3.cells([row for row in rows if "condition" in row]).items()}
    first_order = [name for name, rule in episode_3.RULES.items() if not rule.reference]
    learned = sorted(summed["learned, seed %d" % seed]["summed loss"] for seed in range(1, 6))
    best = min(first_order, key=lambda name: summed[name]["summed loss"])
    best_logs = min(first_order, key=lambda name: logs[name])
    small, large, valley, rotated = "scales / 10", "scales x 10", "Rosenbrock, T = 100", "rotated, D = 10"
    fragments = [
        "Their median is %.4f, %.4f above the floor" % (learned[2], learned[2] - least_summed_loss()[0]),
        "the highest of the five is %.4f" % learned[4],
        "%s, is at %.4f." % (best, summed[best]["summed loss"]),
        "The secant method, also tuned, is at %.4f" % summed["secant"]["summed loss"],
        "The networks are at %.1f" % median(logs, "learned"),
        "%s, is at %.1f," % (best_logs, logs[best_logs]),
        "the secant method is at %.1f" % logs["secant"],
        "vSGD at %.1f" % logs["vSGD"],
        "the networks are at %.1f, behind %s" % (median(logs, "log-ratio"), best_logs),
        "by 10 its summed loss is %.2f and %.2f first losses. RMSProp, tuned at home too, has %.2f and %.2f"
        % tuple(cells["summed loss", name, place] for name in ["learned", "RMSProp"] for place in [small, large]),
        "%.1f (learned), %.1f (secant) and %.1f (RMSProp) against %.1f"
        % tuple(cells["last loss", name, rotated] for name in ["learned", "secant", "RMSProp", "momentum"]),
        "casting ends at a last loss of %.1f. The best baseline, tuned there too, ends at %.1f"
        % tuple(cells["last loss", name, valley] for name in ["learned in the valley", "best baseline, valley"]),
        "Episode 1 beat",
        "to output 1",
        "reaches zero with scales divided by 10, since its casting knows no scale.",
        "It nearly does with scales multiplied by 10.",
    ]
    (text,) = [
        cell.source
        for cell in nbformat.read(str(ROOT / "notebooks" / "episode_3.ipynb"), as_version=4).cells
        if cell.source.startswith("## 8. Conclusions")
    ]
    assert left_over(text.split("\n", 1)[1], fragments) == []
    assert learned[2] <= 0.789 and learned[4] < summed[best]["summed loss"] < summed["secant"]["summed loss"]
    level = [median(logs, "learned"), logs[best_logs]]
    assert logs["secant"] < logs["vSGD"] < min(level) and max(level) < median(logs, "log-ratio")
    assert level[0] == pytest.approx(level[1], rel=1e-3)
    assert cells["last loss", "learned", small] < -37.9 and -37.9 < cells["last loss", "learned", large] < -34
    for place in [small, large, "mixed scales"]:
        assert cells["sum of logs", "learned", place] > cells["sum of logs", "RMSProp", place]
        assert cells["sum of logs", "learned on several", place] > cells["sum of logs", "best baseline, several", place]
    for measure in ["last loss", "sum of logs"]:
        several = [cells[measure, name, rotated] for name in ["learned on several", "best baseline, several"]]
        assert several[0] < several[1]
    for name in ["learned", "secant", "RMSProp", "vSGD"]:
        assert cells["last loss", name, episode_3.HOME] < -37.8


def test_the_committed_notebook_of_the_paper_was_executed_and_shows_its_results():
    cells = code_cells(ROOT / "notebooks" / "paper.ipynb")
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert [images(cell) for cell in cells] == [draws(cell) for cell in cells], "each figure once"
    measured = [row for row in results("paper")["rows"] if "measurement" in row]
    for measurement, text in [
        ("quadratic, mean loss after 100 updates", "(learned,) ="),
        ("uniform quadratic, mean loss after 100 updates", "uniform = "),
        ("convolutional network", "conv = "),
    ]:
        (cell,) = [cell for cell in cells if text in cell.source]
        shown = cell.outputs[-1]["data"]["text/plain"].splitlines()[1:]
        rows = [row for row in measured if row["measurement"] == measurement]
        form = "%.2f" if measurement.startswith("conv") else "%.4f"
        assert [line.split()[-3] for line in shown] == [form % row["figure"] for row in rows]
    (cell,) = [cell for cell in cells if "digits.LENGTHS" in cell.source]
    curves = [row for row in measured if row["measurement"] == "perceptron, curve"]
    shown = cell.outputs[-1]["data"]["text/plain"].splitlines()[1:]
    assert [line.split()[-7:] for line in shown] == [["%.2f" % row["%d" % n] for n in LENGTHS] for row in curves]


def test_the_papers_notebook_shows_what_training_buys_and_the_cards():
    cells = code_cells(ROOT / "notebooks" / "paper.ipynb")
    (bought,) = [cell for cell in cells if "options.table(bought)" in cell.source]
    assert bought.outputs[-1]["data"]["text/plain"] == str(options.table(results("options")["rows"]))
    (both,) = [cell for cell in cells if 'cards["paper_mlp"]' in cell.source]
    lines = [line.rsplit(None, 4) for line in both.outputs[-1]["data"]["text/plain"].splitlines()[1:]]
    cards = l2l.pretrained()
    expected = [
        [one["place"], f"{one['steps']:,}", *["%.2f" % value for value in [one["learned"], other["learned"]]]]
        for one, other in zip(cards["paper_mlp"].figures, cards["small_networks"].figures)
        if one["place"].startswith(("digits", "MNIST"))
    ]
    assert [[place.strip(), *others[:3]] for place, *others in lines] == expected


def test_the_conclusions_of_the_papers_notebook_are_those_of_its_results():
    measured = [row for row in results("paper")["rows"] if "measurement" in row]

    def of(measurement, **keys):
        """A dict from optimizer to figure."""
        rows = [row for row in measured if row["measurement"] == measurement]
        return {
            row["optimizer"]: row["figure"] for row in rows if all(row[key] == value for key, value in keys.items())
        }

    (ratio,) = [row["figure"] for row in measured if row["measurement"] == "quadratic, ratio to the best rule"]
    normal, uniform = (of("%s, mean loss after 100 updates" % name) for name in ["quadratic", "uniform quadratic"])
    curves = {row["optimizer"]: row for row in measured if row["measurement"] == "perceptron, curve"}
    seeds = [curves["learned, as in the paper, seed %d" % seed] for seed in [1, 2, 3]]
    stronger, adam = curves["learned, stronger"], curves["Adam"]
    (peer,) = [row for row in results("paper_speed")["rows"] if "epochs" in row]
    wide, relu, deep = (of("other networks", network=n, steps=100) for n in ["40 units", "ReLU", "two layers"])
    wide_later, deep_later, relu_later = (
        of("other networks", network=n, steps=1000) for n in ["40 units", "two layers", "ReLU"]
    )
    conv, papers = of("convolutional network"), "learned, as in the paper"
    tuning = {
        row["rule"]: row["tuning figure"]
        for row in measured
        if row["measurement"] == "tuning" and row["problem"] == "quadratic"
    }
    fragments = [
        "figure 4 the trained network ends at about 0.76 of the loss of the best baseline",
        "Here it ends at %.3f of it: the median of three seeds is %.4f, and Adam is at %.4f"
        % (ratio, normal["learned"], normal["Adam"]),
        "of the 5,000 held-out draws, so",
        "They were tuned on 500 draws. On those, momentum was the best baseline, at %.4f" % tuning["momentum"],
        "After %s epochs the learned optimizer is at %.4f" % (format(peer["epochs"], ",d"), uniform["learned"]),
        "a little below momentum at %.4f" % uniform["momentum"],
        "is at %.3f" % peer["mean of 20 epochs"]["after 2382"],
        "After 100 steps the network of the paper is at %.2f" % np.median([row["100"] for row in seeds]),
        "Tuned Adam is at %.2f, and Nesterov at %.2f; the other baselines are behind"
        % (adam["100"], curves["Nesterov"]["100"]),
        "up to 200 steps. Over longer runs all three",
        "lowest figures are at 2,000, 200 and 500 steps",
        "At 10,000 steps they are at %.2f, %.2f and %.2f, and Adam is at %.2f"
        % (*[row["10000"] for row in seeds], adam["10000"]),
        "([arXiv 1703.03633](https://arxiv.org/abs/1703.03633))",
        "up to 5,000 steps, where it is at %.2f" % stronger["5000"],
        "at 10,000 steps Adam passes it",
        "**40 units**: the network of the paper is ahead of every baseline at 100 steps, %.2f against Adam's %.2f"
        % (wide[papers], wide["Adam"]),
        "At 1,000 steps it is behind most of them",
        "as the paper says: %.2f against Adam's %.2f" % (relu[papers], relu["Adam"]),
        "within 100 steps. It is at %.2f, and Adam at %.2f" % (deep[papers], deep["Adam"]),
        "with 40 units and with ReLU",
        "At 1,000 steps it is at %.2f and Nesterov is at %.2f"
        % (deep_later["learned, stronger"], deep_later["Nesterov"]),
        "All optimizers lie between %.2f and %.2f" % (min(conv.values()), max(conv.values())),
        "are at %.2f. One network for both is at %.2f" % (conv["learned, two"], conv["learned, one"]),
        "500 meta-iterations are few",
        *["[arXiv 1606.04474](https://arxiv.org/abs/1606.04474)", "multiplied by 0.01", "$N(0, 0.01^2)$"],
        *["(section 3.1 of the paper, figure 4, left)", "(section 3.2, figure 4, second from the left)"],
        "The paper's section 3.3 trains",
    ]
    cells = nbformat.read(str(ROOT / "notebooks" / "paper.ipynb"), as_version=4).cells
    text = " ".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert left_over(text, fragments) == []
    rules = ["SGD", "momentum", "Nesterov", "RMSProp", "Adam"]
    assert ratio <= 0.76 and ratio == normal["learned"] / min(normal[rule] for rule in rules)
    assert (
        min(normal[rule] for rule in ("SGD", "momentum", "Nesterov")) > 1e3
        and min(tuning.values()) == tuning["momentum"]
    )
    assert uniform["learned"] < min(uniform[rule] for rule in rules) == uniform["momentum"]
    papers_curve = np.median([row["100"] for row in seeds])
    assert all(abs(curves[rule]["100"] - papers_curve) < 0.05 for rule in ("Adam", "Nesterov"))
    assert all(papers_curve + 0.5 < curves[rule]["100"] for rule in ("SGD", "momentum", "RMSProp"))
    assert [min(LENGTHS, key=lambda n: row["%d" % n]) for row in seeds] == [2000, 200, 500]
    for n in LENGTHS:
        lowest = min(row["%d" % n] for name, row in curves.items() if name != "learned, stronger")
        assert (stronger["%d" % n] < lowest) == (n <= 5000) and (n <= 5000 or lowest == adam["%d" % n])
    assert wide[papers] < min(wide[rule] for rule in rules)
    assert sum(wide_later[rule] < wide_later[papers] for rule in rules) == 4
    for some in [wide, wide_later, relu, relu_later]:
        assert some["learned, stronger"] < min(some[rule] for rule in rules)
    assert [rule for rule in rules if deep_later[rule] > deep_later["learned, stronger"]] == ["SGD"]


def by_seed(rows, at):
    """The figures of the last experiment after so many meta-iterations, a dict from the seed."""
    of_last = [row for row in rows if row["experiment"] == "RNN_log30_end_log_res" and row["meta_iterations"] == at]
    return {row["seed"]: row["average_log_result"] for row in of_last}


@pytest.mark.parametrize("name, figures", [("quickstart", 3), ("use_it", 1)])
def test_the_committed_notebooks_for_users_were_executed(name, figures):
    cells = code_cells(ROOT / "notebooks" / (name + ".ipynb"))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert [images(cell) for cell in cells] == [draws(cell) for cell in cells] and sum(map(draws, cells)) == figures


def test_the_quickstart_shows_the_card_that_there_is():
    cells = code_cells(ROOT / "notebooks" / "quickstart.ipynb")
    (shown,) = [cell.outputs[0]["data"]["text/html"] for cell in cells if cell.source == 'cards["general"]']
    assert shown == l2l.pretrained()["general"]._repr_html_()


def test_the_notebook_on_use_shows_its_results_and_reaches_what_it_should():
    rows = results("use_it")["rows"]
    (cell,) = [
        cell for cell in code_cells(ROOT / "notebooks" / "use_it.ipynb") if "l2l.format_table(rows" in cell.source
    ]
    lines = cell.outputs[-1]["data"]["text/plain"].splitlines()[1:]
    assert [line.split()[-3:] for line in lines] == [
        ["%.4f" % row["training loss"], "%.3f" % row["held-out loss"], "%.1f%%" % (100 * row["held-out right"])]
        for row in rows
    ]
    learned, *adams = rows
    assert learned["training loss"] < min(row["training loss"] for row in adams)
    assert learned["held-out right"] > max(row["held-out right"] for row in adams)
    assert learned["held-out loss"] > max(row["held-out loss"] for row in adams)
    cells = nbformat.read(str(ROOT / "notebooks" / "use_it.ipynb"), as_version=4).cells
    text = " ".join(" ".join(cell.source.split()) for cell in cells if cell.cell_type == "markdown")
    for fragment in [
        "a training loss of %.4f" % learned["training loss"],
        "best rate and schedule ends at %.4f" % adams[-1]["training loss"],
        "{:.1%} are right, against {:.1%}".format(learned["held-out right"], adams[-1]["held-out right"]),
        "the highest of the four, %.3f" % learned["held-out loss"],
    ]:
        assert fragment in text, fragment


def test_the_notebook_on_the_general_optimizer_says_what_its_results_do():
    (row,) = results("general")["rows"]
    cells = nbformat.read(str(ROOT / "notebooks" / "general.ipynb"), as_version=4).cells
    assert [cell.execution_count for cell in cells if cell.cell_type == "code"] == list(range(1, 9))
    text = " ".join(" ".join(cell.source.split()) for cell in cells if cell.cell_type == "markdown")
    decays = {one["optimizer"].split("=")[-1]: one for one in row["weight decay"]}
    none, ten, adam = (decays[name] for name in ["0", "10", "Adam, 0.001"])
    first, second, last = (row["rates"]["sequential/%s/kernel" % name][0] for name in ["conv2d", "conv2d_1", "dense"])
    climbed = sorted(row["inputs"]["without how far the rate has climbed"].values())
    for fragment in [
        "%.3f against %.3f" % (none["held-out loss"], adam["held-out loss"]),
        "{:.1%} against {:.1%}".format(none["held-out accuracy"], adam["held-out accuracy"]),
        "`weight_decay=10` the held-out loss is %.3f" % ten["held-out loss"],
        "With `weight_decay=1` most images are right, {:.1%}".format(decays["1"]["held-out accuracy"]),
        "a rate %.0f times the output layer's, and the second one %.0f times" % (first / last, second / last),
        "`e^%.1f` to `e^%.1f` times higher" % (climbed[0], climbed[-1]),
    ]:
        assert fragment in text, fragment
    assert decays["1"]["held-out accuracy"] == max(one["held-out accuracy"] for one in decays.values())
    assert ten["training loss"] == pytest.approx(adam["training loss"], rel=0.1)
    assert decays["1"]["training loss"] < 0.02 * adam["training loss"] and ten["held-out loss"] < adam["held-out loss"]
    assert none["held-out accuracy"] == pytest.approx(adam["held-out accuracy"], abs=0.002)
    without = {kind: list(ends.values()) for kind, ends in row["inputs"].items()}
    for kind in ["without cosines of gradients and updates", "told no number of steps"]:
        *others, under_noise = without[kind]
        assert min(others) > 0 > under_noise
    assert sum(end < 0 for end in without["without shape of the tensor"]) == 3
    cells = ordinary_report.cells(results("ordinary_tasks")["rows"])
    lost = [
        cell[ordinary_report.LEARNED]
        for cell in cells.values()
        if not all(ordinary_report.is_level(cell, name) for name in ordinary_report.BASELINES)
    ]
    unseen = [one for one in lost if not one["is_seen_kind"]]
    assert (len(lost), len(unseen), sum(one["steps"] <= 500 for one in unseen)) == (7, 6, 4)


def test_the_conclusions_are_those_of_the_committed_results():
    rows = results("episode_1")["rows"]
    without_fast_math = results("episode_1_without_fast_math")["rows"]
    of = {(row["experiment"], row["meta_iterations"]): row for row in episode_1.summary(rows)}
    by_sum, by_end = of["RNN_simple_sum_res", 20_000], of["RNN_simple_end_res", 20_000]
    longer, by_log = of["RNN_simple_end_res", 50_000], of["RNN_simple_end_log_res", 50_000]
    unsteady, both = of["RNN_log15_end_res", 50_000], of["RNN_log15_end_log_res", 50_000]
    at = [50_000, 100_000]
    fragments = [
        "%.2f against %.2f, and the two ranges do not overlap" % (by_end["median"], by_sum["median"]),
        "Another 30,000 bring it to %.2f" % longer["median"],
        "changes little: %.2f, and the ranges overlap" % by_log["median"],
        "gain four powers of ten more, and reach %.2f" % both["median"],
        "the five seeds lie within %.2f" % (both["highest"] - both["lowest"]),
        "The original %.2f lies among our five, from %.2f to %.2f"
        % (unsteady["document"], unsteady["lowest"], unsteady["highest"]),
        "our median, %.2f, is above" % unsteady["median"],
        "The original %.2f is of a run" % of["RNN_log30_end_log_res", 50_000]["document"],
        "Seed 4 was at %.2f then, and at %.2f by 100,000" % tuple(by_seed(rows, n)[4] for n in at),
        "at %.2f, and at %.2f by 100,000" % tuple(by_seed(without_fast_math, n)[4] for n in at),
        "version 0.1 of this library",
        "last two summed losses, %.3f and %.3f" % tuple(list(episode_1.DOCUMENT_SUMMED_LOSS.values())[2:]),
        "lie just below the %.3f that no optimizer can beat on average" % least_summed_loss()[0],
        "a mean over 1,000 draws scatters by %.3f" % least_summed_loss()[1],
    ]
    conclusions = cell_with("**These hold.**").source.split("**These hold.**")[1]
    assert left_over(conclusions, fragments) == []

    assert {row["seeds"] for key, row in of.items() if "first trial" not in key[0]} == {5}
    assert by_end["highest"] < by_sum["lowest"] and 0.5 < by_sum["median"] - by_end["median"] < 1.5
    assert longer["lowest"] < by_log["highest"] and by_log["lowest"] < longer["highest"]
    assert 4 < by_log["median"] - both["median"] < 5
    assert unsteady["lowest"] < unsteady["document"] < unsteady["highest"] and longer["median"] < unsteady["median"]
    for n, below in zip(at, [4, 5]):
        assert sum(figure < of["RMSProp", 0]["lowest"] for figure in by_seed(rows, n).values()) == below


def least_summed_loss():
    """Mean of the summed loss under the best first update, and the deviation of a mean over 1,000 draws.

    Integrated over scale and gradient, where the notebook has a grid of scales and starts.
    """
    scale = 0.5 + (np.arange(2000) + 0.5) / 2000
    gradient = (2 * scale[-1] ** 2 * (np.arange(2000) + 0.5) / 2000)[:, None]
    density = np.where(gradient <= 2 * scale**2, scale**-2.0, 0.0)
    density /= density.sum()
    start = gradient / (2 * scale**2)
    # The least of E[(scale (start + u))^2] for each gradient, found without the notebook's formula.
    update = -np.sum(density * scale**2 * start, 1, keepdims=True) / np.sum(density * scale**2, 1, keepdims=True)
    losses = (scale * start) ** 2 + (scale * (start + update)) ** 2
    mean = np.sum(density * losses)
    return 2 * mean, np.sqrt(2 * (np.sum(density * losses**2) - mean**2) / 1000)


def test_the_least_summed_loss_is_computed_and_what_the_text_says():
    cell = cell_with("best_update =")
    names = {"np": np, "problem": l2l.Quadratic(2), "print": lambda *values: None}
    exec(cell.source, names)
    mean, deviation = least_summed_loss()
    assert 2 * names["least"].mean() == pytest.approx(mean, rel=1e-4)
    assert np.sqrt(2 * names["least"].var() / 1000) == pytest.approx(deviation, rel=1e-3)
    fragments = ["no optimizer can average below %.3f" % mean, "scatter by about %.3f" % deviation]
    assert left_over(cell_with("can average below").source.split("##")[0], fragments) == []
    printed = "".join(output["text"] for output in cell.outputs)
    assert re.findall(r"\d\.\d+", printed) == ["%.3f" % mean, "%.3f" % deviation]


def test_the_page_of_the_committed_notebook_is_whole_without_a_network():
    page = check_page(notebook_page.page(EPISODE))
    assert page.title.text == "Episode 1: a network learns to be the optimizer"
    formulas = sum(len(re.findall(r"\$\$.*?\$\$|\$.+?\$", cell.source, re.DOTALL)) for cell in EPISODE.cells)
    assert len(page.find_all("math")) == formulas > 20
    tables = sum("text/html" in output.get("data", {}) for cell in EPISODE.cells for output in cell.get("outputs", []))
    assert len(page.find_all("table")) == tables >= 10


def test_formulas_and_tables_of_a_text_show_on_the_page():
    text = "A $x^2$\n\n$$\\frac{1}{x}$$\n\n\\begin{align}a\\end{align}\n\n| b | c |\n|---|--:|\n| 1 | 2 |\n"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)])
    page = check_page(notebook_page.page(notebook))
    assert [math["display"] for math in page.find_all("math")] == ["inline", "block", "block"]
    assert page.find("msup").text == "x2" and page.find("mfrac").text == "1x"
    assert [cell.text for cell in page.table.find_all("td")] == ["1", "2"]
    assert page.title.text == "Notebook"


def test_links_of_a_page_lead_back_to_what_the_notebook_means():
    text = "[a](../docs/limits.md#b) [c](paper.ipynb) [d](https://e.org/f) [g](#h)"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)])
    page = check_page(notebook_page.page(notebook, "../../notebooks"))
    leads = ["../../docs/limits.md#b", "../../notebooks/paper.ipynb", "https://e.org/f", "#h"]
    assert [link["href"] for link in page.find_all("a")] == leads


@pytest.mark.rehearsal
def test_an_earlier_runs_outputs_do_not_survive(tmp_path):
    cell = nbformat.v4.new_code_cell("raise RuntimeError")
    late = nbformat.v4.new_code_cell("1", execution_count=7, outputs=[nbformat.v4.new_output("stream", text="old")])
    nbformat.write(nbformat.v4.new_notebook(cells=[cell, late]), str(tmp_path / "bad.ipynb"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old.json").write_text("{}")
    command = [sys.executable, "tools/run_notebook.py", str(tmp_path / "bad.ipynb"), str(tmp_path / "out")]
    subprocess.run(command, cwd=str(ROOT), capture_output=True)
    assert not (tmp_path / "out" / "old.json").exists()
    late = code_cells(tmp_path / "out" / "bad.ipynb")[1]
    assert late.outputs == [] and late.execution_count is None


@pytest.mark.rehearsal
def test_the_readmes_example_runs_as_printed(tmp_path):
    example = first_example.example()
    environment = dict(os.environ, MPLBACKEND="Agg")
    command = [sys.executable, "-W", "error::UserWarning", "-c", example]
    done = subprocess.run(command, cwd=str(tmp_path), env=environment, capture_output=True)
    errors = done.stderr.decode()
    assert done.returncode == 0, errors
    # Nothing but progress: no warning of TensorFlow's.
    lines = [line for line in errors.replace("\r", "\n").splitlines() if line]
    assert all(line.startswith(("RNN", "evaluate ")) for line in lines), errors
    assert len(list(tmp_path.glob("*.png"))) == 1


def test_importing_prints_nothing():
    command = [sys.executable, "-c", "import l2l"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0 and done.stdout == b""
