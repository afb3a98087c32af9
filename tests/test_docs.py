"""What the documents point at exists, and the code that they show runs."""

import ast
import html
import importlib.util
import inspect
import itertools
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import bs4
import first_example
import limits
import nbformat
import numpy as np
import options
import ordinary_report
import pytest
import readme
import tensorflow as tf
import zero

import l2l
from l2l.learning.settings import Settings

ROOT = Path(__file__).resolve().parent.parent


def test_every_test_that_the_reliability_page_names_exists():
    page = (ROOT / "docs" / "reliability.md").read_text()
    files = list((ROOT / "tests").rglob("*.py"))
    defined = {path.name for path in files}
    for path in files:
        defined.update(re.findall(r"def (test_\w+)", path.read_text()))
    named = set(re.findall(r"\btest_\w+(?:\.py)?", page))
    assert len(named) > 25
    assert sorted(named - defined) == []


def text_of(path):
    """The Markdown of a page or a notebook, without blocks of code."""
    text = path.read_text()
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return re.sub(r"(?ms)^(```+).*?^\1`*$", "", text)


def links_of(path):
    """Where the links and images of a page lead, but for those to the network."""
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text_of(path)) if not re.match(r"https?://|mailto:", link)]


def anchors_of(path):
    """The places of a page that a link may lead to: its headings, as code hosts and the site write them."""
    headings = re.findall(r"(?m)^#{1,3} (.+)$", text_of(path))
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def what_is_wrong_with(link, path):
    """A sentence, or None: a link leads from its own file to a file of the project, and to a heading if it says one."""
    target, _, anchor = link.partition("#")
    file = (path.parent / target).resolve() if target else path
    if target.startswith("/") or ROOT not in file.parents or not file.exists():
        return "%s: %s leads to no file" % (path.relative_to(ROOT), link)
    if file.suffix == ".html" or "build" in file.relative_to(ROOT).parts:
        return "%s: %s leads to what is not there before it is built" % (path.relative_to(ROOT), link)
    if anchor and anchor not in anchors_of(file):
        return "%s: %s leads to no heading" % (path.relative_to(ROOT), link)
    return None


PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("notebooks/*.ipynb")])


def test_every_link_of_pages_and_notebooks_leads_somewhere():
    """One way of writing them, for JupyterLab, code hosts and the site: relative to the file that has the link."""
    links = [(link, path) for path in PAGES for link in links_of(path)]
    assert len(links) > 150 and sum("#" in link for link, _ in links) > 20
    assert list(filter(None, (what_is_wrong_with(link, path) for link, path in links))) == []


@pytest.mark.parametrize(
    "link",
    ["missing.md", "index.md#missing", "/docs/index.md", "../../elsewhere.md", "../build/docs/index.html", "#no"],
)
def test_a_link_that_leads_nowhere_is_found(link):
    assert what_is_wrong_with(link, ROOT / "docs" / "index.md") is not None


def test_every_page_can_be_reached_from_the_front_page():
    seen, waiting = set(), [ROOT / "docs" / "index.md"]
    while waiting:
        page = waiting.pop()
        if page not in seen and page.suffix in (".md", ".ipynb"):
            seen.add(page)
            waiting += [(page.parent / link.partition("#")[0]).resolve() for link in links_of(page) if link[0] != "#"]
    assert sorted(path for path in PAGES if path.parent != ROOT and path not in seen) == []


def test_the_lines_of_code_of_a_page_fit_into_its_column():
    """The style sheet makes room for 120 characters."""
    for path in ROOT.glob("docs/**/*.md"):
        blocks = re.findall(r"(?ms)^```.*?^```$", path.read_text())
        indented = re.findall(r"(?m)^    ([^\s:].*)$", text_of(path))
        lines = [*itertools.chain(*map(str.splitlines, blocks)), *indented]
        assert [line for line in lines if len(line) > 120] == [], path


def test_every_name_that_a_page_says_is_one_of_the_package():
    unknown = []
    for path in PAGES:
        if path.name == "CHANGELOG.md":
            continue  # it has names of older versions
        for name in re.findall(r"\bl2l((?:\.[A-Za-z]\w*)+)", re.sub(r"\(https?://\S+", "", path.read_text())):
            value = l2l
            for part in name[1:].split("."):
                value = getattr(value, part, None)
                if value is None:
                    unknown.append("%s: l2l%s" % (path.name, name))
                    break
    assert sorted(set(unknown)) == []


@pytest.mark.rehearsal
@pytest.mark.parametrize(
    "document",
    [
        str(path.relative_to(ROOT))
        for path in PAGES
        if path.suffix == ".md" and "docs" in path.parts and "```python" in path.read_text()
    ],
)
def test_the_code_of_a_page_runs_from_top_to_bottom(document, tmp_path):
    """All blocks in one namespace, as a reader types them in; an error names the line of the page."""
    page, code = (ROOT / document).read_text().splitlines(), []
    inside = False
    for line in page:
        if line.startswith("```"):
            inside = line.strip() == "```python"
            line = "```"
        code.append(line if inside and line != "```" else "")  # empty lines keep the page's numbers
    assert any(code)
    script = tmp_path / Path(document).with_suffix(".py").name
    script.write_text("\n".join(code) + "\n")
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=str(tmp_path),
        env=dict(os.environ, MPLBACKEND="Agg", XLA_FLAGS="--xla_backend_optimization_level=0"),  # compiles faster
        capture_output=True,
    )
    assert done.returncode == 0, done.stdout.decode()[-2000:] + done.stderr.decode()[-4000:]


REFERENCE = sorted((ROOT / "docs" / "reference").glob("*.md"))


def test_the_reference_has_every_public_name_once():
    pages = "\n".join(path.read_text() for path in REFERENCE)
    listed = re.findall(r"^\.\. (?:auto\w+|py:data):: l2l\.(\w+)$", pages, re.MULTILINE)
    assert sorted(listed) == sorted(set(l2l.__all__) - {"__version__", "datasets", "testing"})


@pytest.mark.parametrize("path", [path for path in REFERENCE if path.name != "index.md"], ids=lambda path: path.stem)
def test_a_page_of_the_reference_begins_with_the_table_of_its_entries(path):
    contents, *_ = path.read_text().partition("\n## ")
    entries = re.findall(r"^\.\. (?:auto\w+|py:data):: (l2l\.[\w.]+)", path.read_text(), re.MULTILINE)
    assert re.findall(r"`(l2l\.[\w.]+)`", contents.partition("| section |")[2]) == entries


def extension(name):
    """A module of docs/extensions."""
    spec = importlib.util.spec_from_file_location(name, str(ROOT / "docs" / "extensions" / (name + ".py")))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_names_in_backticks_find_their_entries():
    entry_of = extension("names").entry_of
    entries = ["l2l.Trainer", "l2l.Trainer.run", "l2l.noise", "l2l.testing.check_problem", "l2l.Card.works"]
    found = {
        "l2l.Trainer": "l2l.Trainer",
        "Trainer(problem, build)": "l2l.Trainer",
        "trainer.run(1000)": "l2l.Trainer.run",
        "check_problem": "l2l.testing.check_problem",
        "l2l.noise": "l2l.noise",
        "noise": None,  # the argument of that name
        "Trainer, or not": None,
        "x[0]": None,
    }
    assert {text: entry_of(text, entries) for text in found} == found
    assert entry_of("works", entries, "l2l.Card.fails") == "l2l.Card.works" and entry_of("works", entries) is None


def test_a_notebook_becomes_a_page_with_its_outputs():
    new = nbformat.v4
    outputs = [
        new.new_output("stream", name="stdout", text="1 ``` 2\n"),
        new.new_output("stream", name="stderr", text="progress"),
        new.new_output("display_data", {"text/html": "<b>table</b>", "text/plain": "as text"}),
        new.new_output("execute_result", {"image/png": "iVBO\nRw0=", "text/plain": "Figure"}),
    ]
    cells = [new.new_markdown_cell("# Title\nText."), new.new_code_cell("1 + 1", outputs=outputs)]
    page = extension("notebook_pages").as_markdown(new.new_notebook(cells=cells), "one.ipynb")
    assert page.startswith("# Title\n") and "`notebooks/one.ipynb`" in page.partition("Text.")[0]
    assert "```{code-block} python\n1 + 1\n```" in page
    assert "````{code-block} text\n:class: output\n\n1 ``` 2\n````" in page
    assert '<div class="output"><b>table</b></div>' in page and 'base64,iVBORw0="' in page
    assert "progress" not in page and "as text" not in page and "Figure" not in page


def images_of(path):
    cells = nbformat.read(str(path), as_version=4).cells
    return sum("image/png" in output.get("data", {}) for cell in cells for output in cell.get("outputs", []))


@pytest.mark.rehearsal
def test_the_documentation_builds_without_a_warning(tmp_path):
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-q",
        "-b",
        "html",
        "-c",
        "docs",
        ".",
        str(tmp_path),
    ]
    done = subprocess.run(command, cwd=str(ROOT), capture_output=True)
    assert done.returncode == 0 and done.stderr == b"", done.stderr.decode()

    def page(name):
        return bs4.BeautifulSoup((tmp_path / (name + ".html")).read_text(), "html.parser")

    optimizers, learning = page("docs/reference/optimizers"), page("docs/reference/learning")
    assert optimizers.find(id="l2l.LearnedOptimizer").find_next("dd").text.startswith("A learned optimizer")
    assert "sign(g) (log(|g| + exp(m - 5)) - m) / -m" in optimizers.find(id="l2l.log_cast").find_next("pre").text
    assert "learning_rate: Hyperparameter = 0.1" in optimizers.find(id="l2l.sgd").text
    assert [link["href"] for link in optimizers.find(id="l2l.sgd").find_all("a")][-2].startswith("../../_modules/l2l/")
    parameters = learning.find(id="l2l.learn").find_next("dl").find("ul").find_all("strong")
    assert {strong.text for strong in parameters} == set(inspect.signature(l2l.learn).parameters)
    ids = {one["id"] for path in REFERENCE for one in page("docs/reference/" + path.stem).find_all("dt", id=True)}
    assert {"l2l.CASTINGS", "l2l.META_LOSSES", "l2l.Sweep", "l2l.Sweep.table", "l2l.datasets.digits"} <= ids
    fields = {"l2l.%s.%s" % (one.__name__, field) for one in [l2l.Card, l2l.Unroll, l2l.Trace] for field in one._fields}
    assert fields <= ids and not any("l2l.l2l" in one or ".l2l." in one[4:] for one in ids)
    assert page("docs/evaluation").find("a", href="reference/evaluation.html#l2l.trace").code.text == "l2l.trace"
    assert page("docs/architecture").find("a", href="../_modules/l2l/runs/training_graph.html").code is not None
    figures = images_of(ROOT / "notebooks" / "quickstart.ipynb")
    assert len(page("notebooks/quickstart").find_all("img", class_="output")) == figures > 0

    texts = {path: path.read_text() for path in tmp_path.rglob("*.html")}
    ids_of = {path: set(re.findall(r'\bid="([^"]*)"', text)) for path, text in texts.items()}
    broken = []  # what the built pages lead to, without a network
    for path, text in texts.items():
        for link in re.findall(r'<a\b[^>]*\bhref="([^"]*)"', text):
            target, _, anchor = html.unescape(link).partition("#")
            file = path if not target else Path(os.path.normpath(str(path.parent / target)))
            if re.match(r"https?://", target) or (file.exists() and (not anchor or anchor in ids_of.get(file, ()))):
                continue
            broken.append("%s: %s" % (path.relative_to(tmp_path), link))
    assert sorted(set(broken)) == []


def test_the_calls_and_settings_of_a_page_have_the_defaults_that_it_states():
    tables = (ROOT / "docs" / "optimizers.md").read_text() + (ROOT / "docs" / "castings.md").read_text()
    calls = [ast.parse(call).body[0].value for call in re.findall(r"^\| `(\w+\(.*?\))`", tables, re.MULTILINE)]
    assert len(calls) >= 9
    for call in calls:
        stated = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
        parameters = inspect.signature(getattr(l2l, call.func.id)).parameters.values()
        assert stated == {each.name: each.default for each in parameters}, call.func.id
    (table,) = re.findall(r"\| setting \|.*\n\|-.*\n((?:\|.*\n)+)", (ROOT / "docs" / "training.md").read_text())
    stated = {}
    for line in table.splitlines():
        names, default = line.split("|")[1:3]
        stated.update(dict.fromkeys(re.findall(r"\w+", names), default.strip().strip("`")))
    assert stated.pop("engine") == '"xla"' and stated.pop("horizon") == "unroll_length"
    defaults = {**Settings()._asdict()}
    del defaults["horizon"]
    assert {name: ast.literal_eval(value) for name, value in stated.items()} == defaults


# Every figure that a page states follows from results/, to the digits that it prints.

NUMBERS = ["no", "one", "two", "three", "four", "five"]
FIGURE = r"-?\d+\.\d+|\d+%"


def results(name):
    return json.loads((ROOT / "results" / (name + ".json")).read_text())


def words(text):
    """The text on one line."""
    return " ".join(text.split())


def section(document, heading):
    (part,) = re.findall(r"\n## %s\n(.*?)(?=\n## |$)" % heading, (ROOT / document).read_text(), re.DOTALL)
    return part


def minutes(seconds):
    """In words, to a quarter of a minute."""
    whole, quarters = divmod(round(seconds / 15), 4)
    name = "a minute" if whole == 1 else "%s minutes" % NUMBERS[whole]
    return name + ["", " and a quarter", " and a half", " and three quarters"][quarters]


def left_over(text, fragments):
    """Figures of the text that stand in none of the fragments, each of which has to be there."""
    text = words(text)
    for fragment in fragments:
        assert words(fragment) in text, "results/ says: %s" % fragment
        text = text.replace(words(fragment), "")
    return re.findall(FIGURE, text)


def test_the_table_of_episode_1_is_that_of_its_results():
    table = readme.episode_table(results("episode_1")["rows"])
    assert table.count("\n") == len(readme.episode_1.DOCUMENT) + 1
    text = section("docs/findings.md", "Episode 1: a network beats RMSProp").replace("1606.04474", "")
    assert left_over(text, table.splitlines()) == []


def test_the_readmes_first_example_ends_where_it_says():
    rows = {row["optimizer"]: row["summed_loss"] for row in results("first_example")["rows"]}
    fragments = [
        "The network ends at %.2f, RMSProp at %.2f and SGD at %.2f." % (rows["RNN"], rows["RMSProp"], rows["SGD"]),
        "RMSProp ends at %.2f and SGD at %.2f" % (rows["RMSProp, tuned"], rows["SGD, tuned"]),
    ]
    assert left_over(section("README.md", "Ten lines").split("```")[2], fragments) == []


def test_the_row_of_the_first_example_for_each_optimizer():
    losses = {"RNN": np.ones([3, 20]), "SGD": np.full([3, 20], 0.5)}
    rows = first_example.rows_of(l2l.Quadratic(2), losses, budget=1)
    assert [row["optimizer"] for row in rows] == ["RNN", "SGD", "SGD, tuned", "RMSProp, tuned"]
    assert [row["summed_loss"] for row in rows[:2]] == [20, 10]
    assert 0.01 <= rows[2]["learning_rate"] <= 1
    rate = float(rows[2]["learning_rate"])
    losses = l2l.evaluate(l2l.Quadratic(2), {"SGD": l2l.sgd(rate)}, draws=3)["SGD"]
    assert rows[2]["summed_loss"] == pytest.approx(losses.sum() / 3, rel=1e-5)


def test_what_the_readme_says_was_found_is_in_the_results():
    text = words(section("README.md", "What was found"))
    medians = {row["experiment"]: row["median"] for row in readme.episode_1.summary(results("episode_1")["rows"])}
    (rnn,) = [
        row["median"] for row in readme.compared(results("episode_1")["rows"]) if row["meta_iterations"] == 100_000
    ]
    assert (
        "last loss on quadratics to 10^%.0f, where RMSProp with its default settings ends at 10^%.0f"
        % (
            rnn,
            medians["RMSProp"],
        )
        in text
    )
    soon = {line["recipe"]: line["meta-iterations"] for line in zero.summary(results("zero")["rows"])}
    assert "[after %d meta-iterations]" % soon["secant"] in text


def test_the_readmes_caption_of_the_ordinary_tasks_is_that_of_its_results():
    caption = readme.suite_caption(results("ordinary_tasks")["rows"])
    assert caption in (ROOT / "README.md").read_text().splitlines()


def test_a_caption_counts_cells_runs_and_tasks():
    assert list(readme.BASELINES) == [*ordinary_report.BASELINES, "all at once"]
    rows = []
    for task, steps, learned in [("a", 2000, 2.0), ("a", 100, 0.0), ("b", 100, -1.0), ("b", 2000, -1.0)]:
        for name in [ordinary_report.LEARNED, *ordinary_report.BASELINES]:
            median = learned if name == ordinary_report.LEARNED else -0.5 if name == "Adam, tuned" else 0.0
            row = {"task": task, "steps": steps, "optimizer": name, "median": median, "first_loss": 1.0}
            failures = 3 * int(name == ordinary_report.LEARNED and learned == 2.0)
            row.update(logs=[median] * 5, failures=failures, is_seen_kind=task == "a")
            rows.append({**row, "held_out_accuracy": None, "held_out_loss": 1.0 + (median > 1)})
    caption = readme.suite_caption(rows)
    for part in [
        "of 2 tasks over that of the reference, Adam with a tuned rate and a cosine schedule; medians over 5 seeds.",
        "In 4 pairs of task and length `general` is level (within 2%) with or below Adam at 0.001 in 75%,",
        "tuned Adam in 50%, the reference in 75%, Adam at",
        "Prodigy in 75%, and all of them at once in 50% (100% for unseen kinds). 3 of 20 runs failed.",
        "as good as the reference in 1 of 2 tasks after 2,000 steps.",
    ]:
        assert part in caption
    text = "a\n\nTraining loss: old.\n\nb\n"
    assert readme.with_caption(text, caption) == "a\n\n%s\n\nb\n" % caption


def test_the_readme_is_read_in_a_minute():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 125 and len(text.split()) <= 750
    assert re.findall("^## (.*)", text, re.MULTILINE) == [
        *["What you need", "Start", "Ten lines", "In Keras, without tuning", "What was found", "Documentation"],
        "Contribute",
    ]


@pytest.mark.rehearsal
def test_the_readmes_three_lines_train_a_keras_model(tmp_path):
    code = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    assert len(code.splitlines()) == 3
    images, labels = l2l.datasets.digits()
    layers = [tf.keras.layers.Dense(16, "relu", input_shape=(64,)), tf.keras.layers.Dense(10, "softmax")]
    names = {"l2l": l2l, "model": tf.keras.Sequential(layers), "epochs": 4}
    names.update(inputs=images.reshape([-1, 64]), labels=labels)
    exec(code, names)
    losses = names["model"].history.history["loss"]
    assert losses[-1] < 0.5 * losses[0]


def test_the_speeds_of_a_page_are_those_of_the_benchmarks():
    benchmarks = results("benchmarks")
    rows, ratios = benchmarks["rows"], benchmarks["ratios"]
    table = readme.benchmark_table(rows)
    measured = {(row["engine"], row["name"]): row["ms_per_meta_iteration"] for row in rows}
    one_core = [
        measured[engine, readme.LARGE]
        for engine in ["xla", "xla, pinned to one core", "graph", "session loop, one thread", "deepmind"]
    ]
    microseconds = [1000 * measured["xla", "D=2 T=%d batch=1" % steps] / steps for steps in (20, 160)]
    compiling = [round(row["seconds_to_compile"]) for row in rows if "seconds_to_compile" in row]
    network = results("small_network")
    costs = {(row["engine"], row["T"]): row for row in network["rows"] if row["second_derivatives"]}
    pairs = [
        [costs[engine, steps][what] for engine in ["xla", "graph"]]
        for what, steps in [
            *[("processor_ms_per_meta_iteration", 20), ("processor_ms_per_meta_iteration", 100)],
            *[("seconds_to_start", 20), ("seconds_to_start", 100)],
        ]
    ]
    first_order = {
        row["engine"]: row["processor_ms_per_meta_iteration"]
        for row in network["rows"]
        if row["T"] == 100 and not row["second_derivatives"]
    }
    evaluation = network["evaluation"]
    assert 0.8 < evaluation["seconds_in_one_call"] / evaluation["seconds_in_a_call_each"] < 1.2
    fragments = [
        *table.splitlines(),
        "At `T = 20` a meta-iteration takes %.0f ms compiled and %.0f ms op by op." % tuple(pairs[0]),
        "The first one is done after %.0f and %.0f s." % tuple(pairs[2]),
        "At `T = 100` it takes %.0f and %.0f ms." % tuple(pairs[1]),
        "The first one is done after %.0f and %.0f s, since" % tuple(pairs[3]),
        "ahead at `T = 100`, with %.0f ms against %.0f" % (first_order["graph"], first_order["xla"]),
        "%.1f times as fast as JAX" % ratios["jax_over_xla"],
        "DeepMind's code takes %.2f times as long as" % ratios["deepmind_over_xla_1280_rows"],
        "%.0f times as fast as the session loop on one thread" % ratios["one_thread_session_loop_over_xla"],
        "all but JAX lie within %d%% of each other" % math.ceil(100 * (max(one_core) / min(one_core) - 1)),
        "(%.1f microseconds a base iteration at 20, %.1f at 160)" % tuple(microseconds),
        "Compiling takes %s to %s seconds" % (NUMBERS[min(compiling)], NUMBERS[max(compiling)]),
    ]
    page = (ROOT / "docs" / "speed.md").read_text()
    assert left_over(page, fragments) == []

    sizes = [(32, 1), (128, 1), (512, 1), (2, 16), (2, 64), (2, 256)]  # "about in proportion to `D` times batch"
    costs = [measured["xla", "D=%d T=20 batch=%d" % size] / (size[0] * size[1]) for size in sizes]
    assert max(costs) < 1.15 * min(costs)


def test_how_long_episode_1_takes_is_what_was_measured():
    longest = {}  # of each experiment
    for row in results("episode_1")["rows"]:
        longest[row["experiment"]] = max(longest.get(row["experiment"], 0), row["meta_iterations"])
    length = f"{sum(longest.values()):,} meta-iterations"
    took = minutes(results("benchmarks")["episode_1_seconds"])
    assert took in ["a minute", "a minute and a quarter", "a minute and a half"]  # "a minute or two"
    notebook = json.loads((ROOT / "notebooks" / "episode_1.ipynb").read_text())
    introduction = words("".join(notebook["cells"][0]["source"]))
    assert length in introduction
    assert "With one seed the notebook takes %s on two cores" % took in introduction


def test_the_memory_of_long_runs_is_what_was_measured():
    memory = results("memory")
    last = memory["rows"][-1]
    assert last["meta_iterations"] == 1_000_000
    fragments = [
        "Over a million meta-iterations with checkpoints, resident memory grew by %.1f%%"
        % (100 * (memory["last_over_first"] - 1)),
        "%s of them took %.0f MiB after the million" % (NUMBERS[last["checkpoints"]], last["disk_mib"]),
    ]
    assert left_over(section("docs/reliability.md", "Long runs"), fragments) == []


def test_the_traffic_of_a_sweep_is_what_was_measured():
    (row,) = results("sweep_traffic")["rows"]
    assert (row["cells"], row["workers"]) == (1000, 100)
    alive = row["idle_bytes_per_second"] * 600 * row["cells"] / row["workers"]  # cells of ten minutes
    cells = row["cells"] * row["bytes_per_cell"]
    fragments = [
        "a message of %d bytes for each cell" % row["bytes_of_a_job"],
        "1,000 cells on 100 workers cost %.1f MB, %.1f kB a cell, and the cluster %.0f kB a second"
        % (cells / 1e6, row["bytes_per_cell"] / 1e3, row["idle_bytes_per_second"] / 1e3),
        "With cells of ten minutes it lives 100 minutes, and all together is %.0f MB" % ((cells + alive) / 1e6),
        "{:,.0f} MB of histories".format(row["cells"] * 32 * 100_000 / 1e6),
    ]
    assert left_over(section("docs/sweeps.md", "Traffic"), fragments) == []


def test_how_soon_a_network_is_trained_is_what_was_measured():
    rows = results("zero")["rows"]
    assert {row["seed"] for row in rows} == set(zero.SEEDS)
    assert {row["recipe"] for row in rows} == set(zero.RECIPES)
    lines = {line["recipe"]: line for line in zero.summary(rows)}
    fragments = [
        "| %s |" % " | ".join("" if line[key] is None else format(line[key], how) for key, how in zero.COLUMNS.items())
        for line in lines.values()
    ]
    text = section("docs/training.md", "How soon").replace("below %.2f on 1,000 draws" % zero.LEVEL, "")
    assert left_over(text, fragments) == []
    assert "after %s meta-iterations" % format(zero.MOST, ",d") in words(text)
    seconds = {recipe: line["seconds"] for recipe, line in lines.items()}
    fastest, *others = sorted(seconds, key=seconds.get)
    assert fastest == "secant, over 10 base iterations, not compiled" and seconds[fastest] < 5
    assert others[:3] == ["secant", "ratio", "log-ratio"]
    saved = 1 - seconds["log30, three times the rate, halved every 10,000"] / seconds["log30"]
    assert 0.25 < saved < 0.42  # "a third of the time"
    slower = [recipe for recipe in others if lines[recipe]["meta-iterations"] > lines["log30"]["meta-iterations"]]
    assert slower == ["log30, over 5, 10 and 20 base iterations", "log30, batches of 4"]


def test_the_figures_of_the_optimizer_for_small_networks_are_those_of_its_results():
    rows = results("digits")["rows"]
    measured = [row for row in rows if row.get("draws") == "test"]
    names, optimizers = {"home": "one layer of 20 sigmoid units"}, {"Adam": "Adam, 0.03"}
    lines = []
    for row in measured:
        cells = ["%.2f" % figure for figure in row["curve"]] + [""] * (len(row["lengths"]) - len(row["curve"]))
        name, optimizer = names.get(row["network"], row["network"]), optimizers.get(row["optimizer"], row["optimizer"])
        lines.append("| %s |" % " | ".join([name, optimizer, *cells]))
    text = section("docs/problems.md", "How `paper_mlp` was trained")
    assert left_over(text, lines) == []
    best = "seed %d" % rows[-1]["best"]
    assert 'l2l.load("paper_mlp")` gives the one of %s, the best' % best in words(text)

    curves = {(row["network"], row["optimizer"]): np.array(row["curve"]) for row in measured}
    for name in ["ReLU", "tanh", "40 units"]:
        assert np.all(curves[name, best] < curves[name, "Adam"])  # "below Adam"
    for name in ["two hidden layers", "MNIST"]:
        assert np.all(curves[name, best] > curves[name, "Adam"])
    assert max(np.diff(curves["home", best])) < 0.2  # "does not rise"


def test_what_a_step_of_a_learned_optimizer_costs_is_what_was_measured():
    rows = {(row["what"], row["threads"]): row for row in results("learned_optimizer")["rows"]}
    learned = rows["learned", 1]
    assert {row["coordinates"] for row in rows.values()} == {1_000_000}
    fragments = [
        "takes %.0f ms on one core, where Adam's takes %.0f" % (learned["ms"], rows["Adam", 1]["ms"]),
        "alone would take %.0f ms" % rows["products", 1]["ms"],
        "On two cores it is %.0f ms" % rows["learned", 2]["ms"],
        "beside %.0f MB of slots" % (learned["slot_bytes"] / 1e6),
        "grows on one core by %.0f MB at most" % ((learned["peak_bytes"] - learned["slot_bytes"]) / 1e6),
    ]
    models = {row["model"]: row for row in results("adam_controller")["rows"]}
    small, large, many = models["1,000 coordinates"], models["1,000,000 coordinates"], models["60 small variables"]
    fragments += [
        "takes %.1f times Adam's at 1,000 coordinates, %.1f times at a million, and %.0f times in a model of 60"
        % tuple(model["ratios"]["median_us"] for model in (small, large, many)),
        "whose first step is done after %.1f s" % many["learned"]["first_step_s"],
    ]
    text = words(section("docs/limits.md", "It costs memory and time"))
    assert [fragment for fragment in fragments if fragment not in text] == []
    firsts = [model[name]["first_step_s"] for name in ("learned", "Adam") for model in (small, many)]
    fragment = "after %.1f s for one variable of 1,000 coordinates, and after %.1f s for 60 small variables. "
    fragment += "Adam's is done after %.2f s and %.1f s"
    assert fragment % tuple(firsts) in words(section("docs/use_it.md", "Before you rely on it"))


def test_the_page_on_trained_optimizers_shows_their_cards():
    text = section("docs/pretrained.md", "Where they work, and where not")
    table = readme.cards_table(l2l.pretrained())
    assert left_over(text, [*table.splitlines(), "the last 20 losses", "minibatches of 32", "minibatches of 128"]) == [
        "0.01"
    ]


def test_the_page_on_trained_optimizers_shows_the_ordinary_tasks():
    rows = results("ordinary_tasks")["rows"]
    text, table = section("docs/pretrained.md", "`general` on ordinary trainings"), readme.suite_table(rows)
    assert table in text and len(table.splitlines()) == 2 + len(rows) / 6
    first = next(row for row in rows if row["optimizer"] == "learned")
    line = table.splitlines()[2].replace("*", "").split(" | ")
    assert line[2] == "%.2f (%.2f)" % (first["median"], first["worst"]) and len(first["logs"]) == 5


def test_the_page_on_limits_shows_what_was_measured():
    rows = results("limits")["rows"]
    text = section("docs/limits.md", "What predicts that it falls behind")
    parts = {part: [row for row in rows if row["part"] == part] for part in {row["part"] for row in rows}}
    tables = [readme.changes_table(rows), readme.sigmoid_table(rows)]
    assert [table for table in tables if table not in text] == []
    first = {row["gradient"]: row for row in parts["first_steps"]}
    assert sorted(first) == pytest.approx([1e-4, 1e-3, 1e-2, 0.1, 1, 10, 100])
    assert all(abs(row["first update"]) == pytest.approx(0.035, abs=0.0005) for row in first.values())
    assert abs(first[1.0]["after 100 zeros"]) == pytest.approx(0.000012, abs=0.0000005)
    ends = {row["activation"]: row["ends"] for row in parts["draws_of_paper_mlp"]}
    assert max(ends["sigmoid"]) < -19 and len(ends["sigmoid"]) == len(ends["relu"]) == 8
    assert [end < -19 for end in ends["relu"]] == [True] * 3 + [False] * 5
    assert ["%.1f" % end for end in (ends["relu"][3], ends["relu"][-1])] == ["-8.5", "-4.8"]
    home = [row for row in l2l.pretrained()["paper_mlp"].figures if row["place"].startswith("digits, 20 sigmoid")]
    figures = ["%.2f" % row["learned"] for row in home if row["steps"] in (500, 2000, 5000, 10_000)]
    assert "`paper_mlp` is at %s, %s, %s and %s there" % tuple(figures) in words(text)
    tuned = [row["median"] for row in parts["sigmoid"] if row["tuned"] == "all settings"]
    ours = [row["learned"] for row in home if row["steps"] in (500, 2000, 5000, 10_000)]
    ahead = [other - one for one, other in zip(ours, tuned)]
    assert min(ahead[:2]) > 1.5 > max(ahead[2:]) and min(ahead) > 0
    assert np.prod([len(choices) for choices in limits.SETTINGS.values()]) == 18
    ratio = {row["change"]: (row["ratio, 100"], row["ratio, 500"]) for row in parts["changes"]}
    behind = {change for change, both in ratio.items() if min(both) > 1.4}
    assert behind == {"1,024 inputs", "minibatches of 4", "5 layers", "loss times 1e-6"}
    assert max(ratio["256 units"]) < 1 and max(ratio["weights from N(0, 0.1^2)"]) < 1.1


def test_a_cell_of_the_cards_is_bold_where_it_is_below_tuned_adam_and_says_what_diverged():
    assert [readme.figure(None, False), readme.figure(-1.234, True)] == ["diverged", "**-1.23**"]


def test_what_each_way_to_train_buys_is_what_was_measured():
    rows = results("options")["rows"]
    table = readme.options_table(rows)
    text = section("docs/problems.md", "Training in stages").split("### What each of them buys")[1]
    assert left_over(text, [*table.splitlines(), "for 1,500 meta-iterations", "last 20 base iterations"]) == []
    assert options.META_ITERATIONS == 1500 and options.SEEDS == [1, 2, 3]
    figures = {}
    for row in rows:
        if "place" in row:
            figures.setdefault((row["option"], row["place"]), []).append(row["figure"])
    medians = {key: np.median(values) for key, values in figures.items()}
    names = [name for name in options.OPTIONS if name != "plain"]

    def ahead(place):
        return [name for name in names if medians[name, place] < medians["plain", place]]

    assert {place: ahead(place) for place in options.PLACES} == {
        "home, 100": ["random scales", "convex term"],
        "home, 2,000": [],
        "ReLU, 200": [],
        "two layers, 500": ["convex term"],
        "quadratic, 100": [],
    }
    assert min(figures, key=lambda key: min(figures[key])) == ("curriculum, 20 to 500", "home, 2,000")  # "goes deepest"


def test_the_changelog_states_the_measured_ratio():
    text = words((ROOT / "CHANGELOG.md").read_text())
    assert "%.1f times as fast as JAX" % results("benchmarks")["ratios"]["jax_over_xla"] in text


def test_a_table_is_replaced_by_one_of_the_same_first_column():
    text = "before\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n| c | d |\n|---|---|\n| 3 | 4 |\n\nafter\n"
    new = "| c | d |\n|---|---|\n| 5 | 6 |\n| 7 | 8 |"
    assert readme.with_table(text, new) == text.replace("| 3 | 4 |", "| 5 | 6 |\n| 7 | 8 |")


def test_the_page_on_estimators_says_where_each_training_ended():
    rows = results("short_horizons")["rows"]
    ends = {row["estimator"].split()[0]: row["learning_rate"] for row in rows if "estimator" in row}
    best = min((row for row in rows if "loss" in row), key=lambda row: row["loss"])["learning_rate"]
    assert "at a third of the best rate" in (ROOT / "docs" / "estimators.md").read_text()
    assert 0.3 < ends["backpropagation"] / best < 0.4
    assert 0.95 < ends["evolution"] / best < 1.05 and 0.85 < ends["persistent"] / best < 1.15
