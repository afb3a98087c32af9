"""Draws that do not follow from their seed and losses with chance in them are found before anything is trained."""

import warnings

import numpy as np
import pytest
import tensorflow as tf
from trainers import small

import l2l
from l2l.problems.repeatable import check_repeatable


class Plain(l2l.Problem):
    """`f(x) = |x|^2`; the parts that a test replaces are functions."""

    def __init__(self, sample=None, start=None, noise=None, observe=None):
        self._sample, self._start, self._noise, self._observe = sample, start, noise, observe

    def sample(self, num, seed=None):
        return l2l.uniform([num, 2], -1.0, 1.0, seed=seed) if self._sample is None else self._sample(num)

    def initial_position(self, draw):
        return draw if self._start is None else draw + self._start()

    def observe(self, draw, t, data):
        return draw if self._observe is None else self._observe(draw)

    def loss(self, x, draw):
        noise = 0.0 if self._noise is None else self._noise(x)
        return tf.reduce_sum(tf.square(x)) + noise


def numpys(num):
    return tf.constant(np.random.uniform(size=[num, 2]).astype(np.float32))


def numpys_with_a_seed(num):
    return tf.constant(np.random.RandomState(0).uniform(size=[num, 2]).astype(np.float32))


def in_a_loop(x):
    add = lambda i, total: (i + 1, total + tf.random.uniform([]))  # noqa: E731
    return tf.while_loop(lambda i, total: i < 3, add, (0, 0.0))[1]


def in_a_function(x):
    return tf.function(lambda: tf.nn.dropout(x, rate=0.5)[0], autograph=False)()


def start(problem):
    small(problem=problem).close()


def evaluate(problem):
    l2l.evaluate(problem, {"SGD": l2l.sgd()}, draws=3, steps=2, engine="graph")


@pytest.mark.parametrize(
    "begin, sample, words",
    [
        (start, numpys, "two calls with one seed gave different draws"),
        (evaluate, numpys, "two calls with one seed gave different draws"),
        (start, lambda num: tf.random.uniform([num, 2]), "it uses the op RandomUniform"),
        (evaluate, lambda num: tf.random.normal([num, 2]), "it uses the op RandomStandardNormal"),
    ],
)
def test_draws_that_do_not_follow_from_their_seed_are_refused(begin, sample, words):
    with pytest.raises(ValueError, match="^sample of Plain must follow from its seed alone: " + words):
        begin(Plain(sample))


@pytest.mark.parametrize(
    "begin, parts, words",
    [
        (start, {"noise": lambda x: tf.random.normal([])}, "it uses the op RandomStandardNormal"),
        (evaluate, {"noise": in_a_function}, "it uses the op RandomUniform"),
        (evaluate, {"noise": in_a_loop}, "it uses the op RandomUniform"),
        (start, {"noise": lambda x: np.float32(np.random.uniform())}, "the same draw gave two positions or losses"),
        (evaluate, {"noise": lambda x: np.float32(np.random.uniform())}, "the same draw gave two positions or losses"),
        (evaluate, {"start": lambda: tf.random.truncated_normal([2])}, "it uses the op TruncatedNormal"),
        (evaluate, {"observe": lambda draw: tf.random.shuffle(draw)}, "it uses the op RandomShuffle"),
    ],
)
def test_chance_in_the_loss_or_the_position_is_refused(begin, parts, words):
    with pytest.raises(ValueError, match="^initial_position, observe and loss of Plain must be pure: " + words):
        begin(Plain(**parts))


@pytest.mark.parametrize("begin", [start, evaluate])
def test_draws_that_ignore_their_seed_are_worth_a_warning(begin):
    with pytest.warns(RuntimeWarning, match="sample of Plain does not use its seed: every block has the same draws"):
        begin(Plain(numpys_with_a_seed))


@pytest.mark.parametrize("begin", [start, evaluate])
@pytest.mark.parametrize("sample", [None, lambda num: tf.ones([num, 2])], ids=["seeded", "one alone"])
def test_sound_problems_and_those_of_a_single_draw_start_in_silence(begin, sample):
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        begin(Plain(sample))


def test_a_seed_in_the_op_is_no_help():
    """TensorFlow's seeded ops go on from call to call, so that a run that is restored sees other numbers."""
    with pytest.raises(ValueError, match="RandomUniform"):
        start(Plain(lambda num: tf.random.uniform([num, 2], seed=1)))


def test_a_refused_problem_leaves_no_session_open(monkeypatch):
    open_graphs, begin, close = [], tf.Session.__init__, tf.Session.close

    def beginning(session, **arguments):
        begin(session, **arguments)
        open_graphs.append(id(session.graph))

    def closing(session):
        if id(session.graph) in open_graphs:
            open_graphs.remove(id(session.graph))
        close(session)

    monkeypatch.setattr(tf.Session, "__init__", beginning)
    monkeypatch.setattr(tf.Session, "close", closing)
    with pytest.raises(ValueError) as caught:  # whose traceback keeps the session, so that only close() can close it
        start(Plain(numpys))
    assert open_graphs == [], caught


def test_a_draw_of_ones_own_is_none_that_a_training_or_an_evaluation_sees(run):
    problem = l2l.Quadratic(2)
    seeds = [0, 1, 2**31 - 1]
    draws = run([problem.draw(seed) for seed in seeds])
    others = run([problem.sample(1, seed) for seed in [*seeds, *(-1 - seed for seed in seeds)]])
    assert not {tuple(draw.start) for draw in draws} & {tuple(many.start[0]) for many in others}
    assert len({tuple(draw.start) for draw in draws}) == 3


class Rows(Plain):
    """Each base iteration sees a row of its own, of so many."""

    def __init__(self, rows):
        super().__init__()
        self._rows = rows

    def observe(self, draw, t, data):
        return tf.gather(tf.ones([self._rows, 2]), t)

    def loss(self, x, row):
        return tf.reduce_sum(x * row)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_each_base_iteration_must_be_computable_and_none_after_them(steps):
    def check(rows):
        with tf.Graph().as_default(), tf.Session() as session:
            check_repeatable(Rows(rows), tf.placeholder(tf.int64, []), steps)(session, 1, 2)

    check(steps)
    if steps > 1:
        with pytest.raises(ValueError, match="from the first base iteration to the last, %d: " % (steps - 1)):
            check(steps - 1)
