"""The problems that the general optimizer is trained on, and the suite of tasks that it is measured on."""

import json

import numpy as np
import ordinary_report
import ordinary_suite
import ordinary_tasks
import pytest
import tensorflow as tf
import training_problems
from ordinary_report import BASELINES, LEARNED, REFERENCE

import l2l

# --- what is trained on


def test_training_problems_are_small_and_of_no_unseen_kind():
    problems = training_problems.training_problems()
    assert len(problems) == 27
    for name, problem in problems.items():
        if type(problem) is not l2l.MLP:
            layers = {layer["class_name"] for layer in problem.architecture["config"]["layers"]}
            assert type(problem) is l2l.KerasProblem and layers == {"Dense"}, name
        inputs = problem.data.inputs if type(problem) is l2l.MLP else problem.data[0][0]
        assert 4 <= inputs.shape[1] <= 784 and inputs.dtype == np.float32 and 16 <= problem.batch_size <= 64, name


@pytest.mark.parametrize("seed", [1, 2])
def test_a_scaled_problem_is_the_same_in_other_units(run, seed):
    plain = l2l.MLP(hidden=(4,), batch_size=8, stddev="glorot")
    problem = training_problems.Scaled(plain, 30.0)
    draw, data = problem.draw(seed), l2l.Examples(*map(tf.constant, plain.data))
    x, inner = problem.initial_position(draw), plain.initial_position(draw["draw"])
    losses = problem.loss(x, problem.observe(draw, 3, data)), plain.loss(inner, plain.observe(draw["draw"], 3, data))
    gradients = [tf.gradients(loss, nest["output"].kernel)[0] for loss, nest in zip(losses, (x, inner))]
    losses, gradients, scale = run([losses, gradients, draw["scale"]])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    np.testing.assert_allclose(gradients[0], scale * gradients[1], rtol=1e-4, atol=1e-7)


def test_scales_are_log_uniform(run):
    logs = np.log(run(training_problems.Scaled(l2l.Quadratic(2), 30.0).sample(4000, 1)["scale"])) / np.log(30)
    assert -1 <= logs.min() < -0.99 and 0.99 < logs.max() <= 1 and abs(logs.mean()) < 0.05
    assert logs.std() == pytest.approx(1 / np.sqrt(3), rel=0.05)


def test_a_scaled_problem_keeps_the_contract():
    l2l.testing.check_problem(training_problems.Scaled(l2l.Quadratic(2)))


def test_made_up_data_are_as_stated():
    inputs, targets = training_problems.linear(12, 100.0, 0.0, seed=1)
    deviations = inputs.std(axis=0)
    assert deviations[-1] / deviations[0] == pytest.approx(100, rel=0.1)
    assert np.linalg.lstsq(np.hstack([inputs, np.ones_like(targets)]), targets, rcond=None)[1] < 1e-5
    assert targets.std() == pytest.approx(1, rel=1e-4)
    small, plain = training_problems.digits_at(4), l2l.datasets.digits()
    np.testing.assert_array_equal(small.inputs.reshape([-1, 4, 4]), plain.inputs[:, ::2, ::2])
    inputs, labels = training_problems.teacher(6, 5, 1, noise=0.0)
    assert inputs.shape == (2000, 6) and np.bincount(labels).min() > 0
    other = np.float32([[1.0, 5.0], [3.0, 5.0]])
    np.testing.assert_allclose(training_problems.standardized(other, floor=1.0), [[-0.5, 0], [0.5, 0]])
    np.testing.assert_allclose(training_problems.standardized(other + 1, other, 1.0), [[0, 1], [1, 1]])


# --- the tasks


def test_the_answers_of_made_up_questions_are_right():
    tokens, labels = ordinary_tasks.questions(50, seed=1)
    keys, values = np.split(tokens[:, 1:].round(), 2, axis=2)
    asked = tokens[:, 0, : ordinary_tasks.KEYS].argmax(axis=1)
    for row, label in enumerate(labels):
        (place,) = np.flatnonzero(keys[row].argmax(axis=1) == asked[row])
        assert values[row, place].argmax() == label
    inputs, targets = ordinary_tasks.sums(50, seed=1)
    assert (inputs[..., 1].sum(axis=1) == 2).all()
    np.testing.assert_allclose(targets[:, 0], (inputs[..., 0] * inputs[..., 1]).sum(axis=1), rtol=1e-6)
    words, topics = ordinary_tasks.sentences(500, seed=1)
    same, other = (np.float64(ordinary_tasks.sentences(500, seed=seed)[1] == topics).mean() for seed in (1, 2))
    assert same == 1 and other < 0.5 and words.max() < ordinary_tasks.WORDS


def test_a_split_loses_nothing_and_mixes_classes():
    numbers = np.arange(50)
    (training, labels), (held_out, others) = ordinary_tasks.split((numbers, numbers // 10))
    assert len(held_out) == 10 and sorted([*training, *held_out]) == list(numbers)
    np.testing.assert_array_equal([*labels, *others], np.array([*training, *held_out]) // 10)
    assert len(set(labels)) == 5


def _classes(makers, **settings):
    random = np.random.RandomState(0)
    examples = random.randn(60, 6).astype(np.float32), random.randint(10, size=60).astype(np.int32)
    build_model = ordinary_tasks._layers(*makers, ordinary_tasks._layer("Dense", 10, "softmax"))
    return ordinary_tasks._task("it", build_model, ordinary_tasks.CLASSES, examples, True, **settings)


def _softmax(values):
    values = np.exp(values - values.max(axis=1, keepdims=True))
    return values / values.sum(axis=1, keepdims=True)


def _check_held_out(task, positions, probabilities):
    losses, accuracies = task.held_out_figures(positions)
    _, labels = task.held_out
    picked = [np.log(one[np.arange(len(labels)), labels]).mean() for one in probabilities]
    np.testing.assert_allclose(losses, -np.array(picked), rtol=1e-4)
    expected = [(one.argmax(axis=1) == labels).mean() for one in probabilities]
    np.testing.assert_allclose(accuracies, expected, atol=1e-6)


def test_held_out_figures_are_those_of_the_network_without_dropout():
    rate = 0.5
    without = ordinary_tasks._layers(*ordinary_tasks._with_dropout(0.0), ordinary_tasks._layer("Dense", 10, "softmax"))
    task = _classes(ordinary_tasks._with_dropout(rate), held_out_model=without)
    random, sizes = np.random.RandomState(1), [(6, 64), (64,), (64, 64), (64,), (64, 10), (10,)]
    positions = [0.3 * random.randn(2, *size).astype(np.float32) for size in sizes]
    probabilities = []
    for w1, b1, w2, b2, w3, b3 in zip(*positions):
        hidden = np.maximum(np.maximum(task.held_out[0] @ w1 + b1, 0) @ w2 + b2, 0)
        probabilities.append(_softmax(hidden @ w3 + b3))
    _check_held_out(task, positions, probabilities)


def test_held_out_examples_are_normalized_as_one_batch():
    makers = [ordinary_tasks._layer("Dense", 5), ordinary_tasks._layer("BatchNormalization")]
    task, random = _classes(makers, floor=0.1), np.random.RandomState(1)
    positions = [random.randn(1, *size).astype(np.float32) for size in [(6, 5), (5,), (5,), (5,), (5, 10), (10,)]]
    (w1,), (b1,), (gamma,), (beta,), (w2,), (b2,) = positions
    values = task.held_out[0] @ w1 + b1
    values = gamma * (values - values.mean(axis=0)) / np.sqrt(values.var(axis=0) + 1e-3) + beta
    _check_held_out(task, positions, [_softmax(values @ w2 + b2)])
    np.testing.assert_allclose(task.training[0].mean(axis=0), 0, atol=1e-6)
    assert np.abs(task.held_out[0].mean(axis=0)).max() > 0.05  # by the mean of the training


@pytest.mark.rehearsal
def test_the_suite_has_twelve_tasks_six_of_kinds_that_are_not_trained_on():
    tasks = ordinary_tasks.tasks()
    assert len(tasks) == 12 and sum(not task.is_seen_kind for task in tasks.values()) == 6
    assert [task.steps for task in tasks.values()].count(ordinary_tasks.LONG) == 2
    assert sum(task.measured == "accuracy" for task in tasks.values()) == 9
    seen = {"Dense"}
    for name, task in tasks.items():
        layers = {layer["class_name"] for layer in task.problem().architecture["config"]["layers"]}
        assert (layers <= seen) == task.is_seen_kind, name


PROBLEMS = ["digits, 32 ReLU", "teacher of 4 inputs, 16 tanh", "linear, scales 1e2", "shallow autoencoder, 16 tanh"]
TASKS = ["MNIST conv net", "attention", "GRU, adding"]


def _trains(name, problem):
    losses = l2l.evaluate(problem, {"it": l2l.adam(0.01)}, draws=1, steps=60, engine="graph")["it"]
    assert np.isfinite(losses).all() and losses[0, -10:].mean() < losses[0, :10].mean(), name


def _task_trains(name, task):
    found = l2l.evaluate(task.problem(), {"it": l2l.adam(0.01)}, draws=1, steps=100, engine="graph")
    assert np.isfinite(found["it"]).all() and found["it"][0, -20:].mean() < found["it"][0, :20].mean(), name
    losses, accuracies = task.held_out_figures(found.positions["it"])
    assert losses.shape == (1,) and np.isfinite(losses).all() and (accuracies is None or 0.1 < accuracies[0] <= 1)


@pytest.mark.rehearsal
def test_some_training_problems_and_tasks_can_be_trained():
    problems, tasks = training_problems.training_problems(), ordinary_tasks.tasks()
    for name in PROBLEMS:
        _trains(name, problems[name])
    for name in TASKS:
        _task_trains(name, tasks[name])


@pytest.mark.slow
@pytest.mark.rehearsal
def test_all_other_training_problems_and_tasks_can_be_trained():
    for name, problem in training_problems.training_problems().items():
        if name not in PROBLEMS:
            _trains(name, problem)
    for name, task in ordinary_tasks.tasks().items():
        if name not in TASKS:
            _task_trains(name, task)


# --- the suite


def _regression(name="it"):
    examples = training_problems.linear(3, 2.0, 0.1, seed=1, examples=100)
    return ordinary_tasks._task(name, training_problems.dense([1], None), "mse", examples, True, steps=(24,))


def test_a_cell_has_the_best_rate_of_other_draws_and_figures_of_its_own(monkeypatch):
    examined, seen = ordinary_suite.examined, []
    monkeypatch.setattr(ordinary_suite, "examined", lambda *given: seen.append(given[1:3]) or examined(*given))
    task, rates = _regression(), [1e-4, 0.3, 30.0]
    contestant = ordinary_suite.Contestant(lambda steps, rate: l2l.adam(l2l.cosine_decay(rate, steps)), rates)
    problem = task.problem()
    row = ordinary_suite.measure(task, problem, contestant, 24, draws=2, tuning_draws=1, engine="graph")
    (tuning, tuning_seeds), (test, test_seeds) = seen
    assert (tuning, test) == (1, 2) and tuning_seeds[0] != test_seeds[0]
    rule = l2l.adam(l2l.cosine_decay(0.3, 24))
    found = l2l.evaluate(problem, {"it": rule}, draws=2, steps=24, seed=ordinary_suite.TEST_SEED, engine="graph")
    assert row["rate"] == 0.3 and row["failures"] == 0 and row["ms_per_step"] > 0
    np.testing.assert_allclose(row["logs"], np.log(found["it"][:, -20:].mean(axis=1)), rtol=1e-4)
    assert row["median"] == np.median(row["logs"]) and row["worst"] == max(row["logs"])
    (kernels, biases), (inputs, targets) = found.positions["it"], task.held_out
    errors = [np.square(inputs @ w + b - targets).mean() for w, b in zip(kernels, biases)]
    np.testing.assert_allclose(row["held_out_losses"], errors, rtol=1e-3)
    assert row["held_out_accuracy"] is None and row["first_loss"] == pytest.approx(np.median(found["it"][:, 0]))
    lost = ordinary_suite.Contestant(lambda steps, rate: l2l.sgd(rate), [1e9])
    row = ordinary_suite.measure(task, problem, lost, 24, draws=2, engine="graph")
    assert row["failures"] == 2 and row["median"] == np.inf


def test_cells_that_are_there_are_not_run_again_unless_something_changed(tmp_path, monkeypatch):
    tasks, run = [_regression("one"), _regression("two")], []
    trained = l2l.Trained(l2l.AdamController, [np.zeros(3, np.float32)])

    def measured(task, problem, contestant, steps, **settings):
        run.append((task.name, contestant.rates))
        if len(run) == 8:
            raise KeyboardInterrupt
        return {"median": np.inf, "number": len(run)}

    monkeypatch.setattr(ordinary_suite, "measure", measured)
    with pytest.raises(KeyboardInterrupt):
        ordinary_suite.rows_of(tasks, trained, output=tmp_path)
    rows = ordinary_suite.rows_of(tasks, trained, output=tmp_path)
    assert len(run) == 13 and len(rows) == 12 and [row["number"] for row in rows[:8]] == [*range(1, 8), 9]
    assert rows[0]["median"] is None and [row["optimizer"] for row in rows[:6]] == [LEARNED, *BASELINES]
    assert ordinary_suite.rows_of(tasks, trained, output=tmp_path) == rows and len(run) == 13
    other = trained._replace(weights=[np.ones(3, np.float32)])
    ordinary_suite.rows_of(tasks, other, output=tmp_path)
    assert run[13:] == [("one", None), ("two", None)]  # the baselines stay
    changed = tasks[0]._replace(batch_size=16)
    ordinary_suite.rows_of([changed], other, output=tmp_path)
    assert len(run) == 21
    ordinary_suite.rows_of([changed], other, output=tmp_path, draws=1)
    assert len(run) == 27


def _row(task, steps, optimizer, median, is_seen_kind=True, held_out=0.5, accuracy=0.9, first_loss=1.0):
    row = {"task": task, "steps": steps, "optimizer": optimizer, "median": median, "worst": median, "failures": 0}
    row.update(is_seen_kind=is_seen_kind, first_loss=first_loss, held_out_loss=held_out, held_out_accuracy=accuracy)
    return {**row, "ms_per_step": 2.0 if optimizer == LEARNED else 1.0}


def _cell(task, steps, learned, others, **settings):
    medians = {**dict.fromkeys(BASELINES, 0.0), **others, LEARNED: learned}
    return [_row(task, steps, name, value, **settings) for name, value in medians.items()]


def test_shares_count_cells_that_are_level_or_below():
    rows = [
        *_cell("a", 100, 0.019, {}),  # level with all
        *_cell("a", 2000, 0.021, {"Adam, tuned": 0.1}, is_seen_kind=True),  # above all but one
        *_cell("b", 100, None, {"Adam, 0.001": None}, is_seen_kind=False),  # lost
        *_cell("b", 2000, -1.0, {"Adam, 0.001": None}, is_seen_kind=False, accuracy=None),
    ]
    rows[-1]["held_out_loss"] = 0.52  # learned, 4% above
    whole, unseen = ordinary_report.shares(rows).rows
    assert whole["cells"] == 4 and unseen["cells"] == 2
    assert whole["Adam, 0.001"] == 0.5 and whole["Adam, tuned"] == 0.75 and whole["all at once"] == 0.5
    assert unseen["all at once"] == 0.5 and (whole["held out"], unseen["held out"]) == ("1 of 2", "0 of 1")
    assert whole["far"] == 1 and "50%" in str(ordinary_report.shares(rows))
    assert ordinary_report.table(rows).rows[2]["task"] == "b *" and "None" not in str(ordinary_report.table(rows))
    assert ordinary_report.table(rows).rows[0]["time, x Adam"] == 2.0


@pytest.mark.parametrize(
    "learned, reference, first_loss, expected",
    [
        (1.0, 0.0, 1.0, False),
        (1.2, 0.0, 1.0, True),
        (-6.0, -9.0, 1.0, False),
        (-6.0, -9.0, 0.1, True),
        (None, 0, 1, True),
    ],
)
def test_a_cell_is_far_above_three_times_unless_both_are_small(learned, reference, first_loss, expected):
    rows = _cell("a", 100, learned, {REFERENCE: reference}, first_loss=first_loss)
    (cell,) = ordinary_report.cells(rows).values()
    assert ordinary_report.is_far(cell) is expected


def test_the_figure_has_a_panel_for_each_budget_and_marks_unseen_kinds():
    rows = [*_cell("a", 100, -1.0, {}), *_cell("a", 500, -20.0, {}), *_cell("b", 100, None, {}, is_seen_kind=False)]
    figure = ordinary_report.plot_suite(rows)
    first, second = figure.axes
    assert (first.get_title(), second.get_title()) == ("100 steps", "500 steps")
    assert [label.get_text() for label in first.get_yticklabels()] == ["a", "b *"]
    learned = first.collections[0].get_offsets()
    np.testing.assert_allclose(learned, [[np.exp(-1), 0], [1000, 1]])
    np.testing.assert_allclose(second.collections[0].get_offsets(), [[1e-3, 0]])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        *[LEARNED, "Adam, 0.001", "Adam, tuned", "Adam, 0.01, cosine", "Prodigy, cosine"]
    ]


@pytest.mark.rehearsal
def test_two_tasks_are_run_and_reported(tmp_path, capsys):
    path = tmp_path / "it.npz"
    random = np.random.RandomState(0)
    weights = [0.1 * random.randn(*shape).astype(np.float32) for shape in [(19, 16), (16,), (16, 7), (7,)]]
    l2l.save(path, l2l.Trained(l2l.AdamController, weights, record={"optimizer": l2l.AdamController().description()}))
    arguments = ["--draws", "1", "--steps", "20", "--tasks", "cancer", "linear", "--engine", "graph"]
    ordinary_suite.main([*arguments, "--optimizer", str(path), "--output", str(tmp_path)])
    rows = json.loads((tmp_path / "ordinary_tasks.json").read_text())["rows"]
    assert len(rows) == 12 and len(list(tmp_path.glob("*_20_steps_1_draws.json"))) == 12
    assert (tmp_path / "ordinary_tasks.png").stat().st_size > 10_000
    assert "cancer table" in capsys.readouterr().out
