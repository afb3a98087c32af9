"""The contract of a problem: what is checked of it, how a loss becomes that of a batch, where its data are."""

import numpy as np
import pytest
import tensorflow as tf
from other_problems import Given, Regression

import l2l
from l2l.graphs import data_as_variables, data_in_graph
from l2l.problems.binding import BoundProblem
from l2l.problems.problem import sample


@pytest.mark.parametrize(
    "call, what",
    [
        (lambda problem: problem.draw(), "sample"),
        (lambda problem: problem.initial_position(None), "initial_position"),
        (lambda problem: problem.loss(None, None), "loss"),
    ],
)
def test_a_problem_that_defines_nothing_says_what_is_missing(call, what):
    with pytest.raises(NotImplementedError, match="^Problem does not define %s$" % what):
        call(l2l.Problem())


def test_draw_is_one_of_sample(run):
    """Of a seed below those of trainings and evaluations."""
    problem = Regression()
    many, one = run([sample(problem, 1, -(2**40) - 5), problem.draw(5)])
    assert many["key"].shape == (1,) and many["start"].shape == (1, 3)
    np.testing.assert_array_equal(many["start"][0], one["start"])
    np.testing.assert_array_equal(many["key"][0], one["key"])


@pytest.mark.parametrize(
    "draws, message",
    [
        (lambda shape: tf.zeros([]), r"^sample of \w+ must return tensors with a leading axis 3, got shape \(\)"),
        (
            lambda shape: tf.zeros([2, 5]),
            r"^sample of \w+ must return tensors with a leading axis 3, got shape \(2, 5\)",
        ),
        (lambda shape: (tf.zeros(shape), tf.zeros([4])), r"a leading axis 3, got shape \(4,\)"),
        (
            lambda shape: tf.placeholder_with_default(np.zeros([3, 2]), [3, None]),
            r"^sample of \w+ must return tensors of static shape, got shape \(3, \?\)",
        ),
    ],
)
def test_samples_are_checked(draws, message):
    with pytest.raises(ValueError, match=message):
        sample(Given(draws), 3, 1)


def test_a_sample_of_arrays_becomes_tensors(run):
    draws = sample(Given(lambda shape: [np.arange(3.0)]), 3, 1)
    np.testing.assert_array_equal(run(draws[0]), [0, 1, 2])


def test_how_many_draws_may_be_known_only_when_the_graph_runs():
    assert Given(lambda shape: tf.placeholder_with_default(np.zeros([*shape, 2]), [None, 2])).draw().shape == [2]


@pytest.mark.parametrize("problem", [l2l.Rosenbrock(), l2l.LeastSquares(), l2l.MLP(), Regression()])
def test_the_number_of_draws_is_checked_whatever_the_problem(problem):
    with pytest.raises(ValueError, match=r"^num must be a positive integer, got 0$"):
        problem.sample(0, 1)
    with pytest.raises(TypeError, match=r"^num must be a positive integer, got 2\.5$"):
        problem.sample(num=2.5, seed=1)


def number_of_constants(graph, values):
    """How often a graph, its functions included, holds an array of such values."""
    definition = graph.as_graph_def()
    nodes = [*definition.node, *(node for function in definition.library.function for node in function.node_def)]
    return sum(
        node.op == "Const" and np.array_equal(tf.make_ndarray(node.attr["value"].tensor), values) for node in nodes
    )


def test_a_graph_holds_the_data_of_a_problem_once(graph, run):
    problem, other = Regression(), Regression(seed=1)
    first, again, others = data_in_graph(problem), data_in_graph(problem), data_in_graph(other)
    assert first[0] is again[0] and first[0] is not others[0]
    l2l.learn(problem, problem.draw(1), l2l.sgd(), steps=5)
    l2l.learn(problem, problem.draw(1), l2l.sgd(), steps=5, loop="while")
    assert number_of_constants(graph, problem.data[0]) == 1
    np.testing.assert_array_equal(run(first)[0], problem.data[0])
    with tf.Graph().as_default() as another:
        assert data_in_graph(problem)[0].graph is another
    assert data_in_graph(l2l.Quadratic(2)) is None


def test_the_graph_around_a_function_holds_the_data_once(graph, run):
    problem = Regression()

    def twice():
        return sum(
            l2l.learn(problem, problem.draw(1), l2l.sgd(), steps=3, loop=loop)[-1] for loop in ["python", "while"]
        )

    outside = l2l.learn(problem, problem.draw(1), l2l.sgd(), steps=3)[-1]
    inside = tf.function(twice, autograph=False)()
    inside, outside = run([inside, outside])
    np.testing.assert_allclose(inside, 2 * outside, rtol=1e-12)
    assert number_of_constants(graph, problem.data[0]) == 1


def test_a_function_that_asks_for_the_data_first_leaves_one_copy_too(graph, run):
    problem = Regression()

    def twice():
        return sum(l2l.learn(problem, problem.draw(1), l2l.sgd(), steps=3)[-1] for _ in range(2))

    run(tf.function(twice, autograph=False)())
    assert number_of_constants(graph, problem.data[0]) == 1


def test_data_as_variables_are_no_constants_and_hold_the_same(graph):
    problem = Regression()
    set_data = data_as_variables(problem)
    loss = l2l.learn(problem, problem.draw(1), l2l.sgd(), steps=3)
    assert number_of_constants(graph, problem.data[0]) == 0
    assert not tf.global_variables() and not tf.trainable_variables()
    with tf.Session() as session:
        set_data(session)
        for values, expected in zip(session.run(data_in_graph(problem)), problem.data):
            np.testing.assert_array_equal(values, expected)
        losses = session.run(loss)
    with tf.Graph().as_default(), tf.Session() as session:
        np.testing.assert_allclose(
            losses, session.run(l2l.learn(problem, problem.draw(1), l2l.sgd(), steps=3)), rtol=1e-12
        )


def test_a_problem_without_data_has_nothing_to_set(graph):
    data_as_variables(l2l.Quadratic(2))(None)
    assert not graph.get_operations()


def test_a_draw_is_the_first_of_a_block_of_one_whose_seed_no_training_has(run):
    problem = l2l.Quadratic(3)
    one, block = run([problem.draw(7), problem.sample(1, -(2**40) - 7)])
    for ours, expected in zip(one, block):
        np.testing.assert_array_equal(ours, expected[0])


def once(x):
    return tf.make_template("once", lambda x: x * tf.get_variable("weight", []))(x)


CREATE = {
    "get_variable": lambda x: x * tf.get_variable("weight", []),
    "Variable": lambda x: x * tf.Variable(1.0),
    "tf.layers": lambda x: tf.layers.dense(x[None, None], 1)[0, 0],
    "batch norm": lambda x: tf.layers.batch_normalization(x[None, None], training=True)[0, 0],
    "Keras": lambda x: tf.keras.layers.Dense(1)(x[None, None])[0, 0],
    "template": once,
}


class Creates(l2l.Problem):
    """A problem one of whose functions creates a variable, with data of another dtype than its position."""

    data = np.ones([3])

    def __init__(self, where, create):
        self._where, self._create = where, create

    def _with_variable(self, where, x):
        return self._create(x) if where == self._where else x

    def sample(self, num, seed=None):
        draws = l2l.uniform([num], 1.0, 2.0, seed=seed)
        return draws * self._with_variable("sample", draws[0])

    def initial_position(self, draw):
        return self._with_variable("initial_position", draw)

    def observe(self, draw, t, data):
        return self._with_variable("observe", draw)

    def observe_all(self, draw, data):
        return self._with_variable("observe_all", draw)

    def loss(self, x, observed):
        return tf.square(self._with_variable("loss", x)) + observed


@pytest.mark.parametrize("create", CREATE)
@pytest.mark.parametrize("batch", [None, 2])
def test_a_loss_that_creates_variables_is_refused(batch, create):
    """In a batch too, where whatever fails is tried again for each draw; and inside a function."""
    problem = Creates("loss", CREATE[create])
    loss = BoundProblem(problem, tf.zeros([] if batch is None else [batch]), batch).loss
    sentence = r"^observe and loss of Creates must not create variables, it creates .\S+.: put weights into"
    with pytest.raises(ValueError, match=sentence):
        loss(tf.zeros([] if batch is None else [batch]), tf.constant(0))
    with pytest.raises(ValueError, match=sentence):
        tf.function(loss, autograph=False)(tf.zeros([] if batch is None else [batch]), tf.constant(0))
    assert not tf.global_variables()


@pytest.mark.parametrize("where", ["sample", "initial_position", "observe", "loss"])
def test_whatever_uses_a_problem_refuses_variables_alike(where):
    problem = Creates(where, CREATE["tf.layers"])
    sgd = {"SGD": l2l.sgd()}
    named = {"observe": "observe and loss", "loss": "observe and loss"}.get(where, where)
    for use in [
        lambda: l2l.Trainer(problem, l2l.CoordinatewiseLSTM, batch=2),
        lambda: l2l.evaluate(problem, sgd, draws=2, steps=2),
        lambda: l2l.trace(problem, sgd, draws=2, steps=2),
        lambda: l2l.learn(problem, problem.draw(), l2l.sgd(), steps=2),
        lambda: l2l.testing.check_problem(problem),
    ]:
        with pytest.raises(ValueError, match="%s of Creates must not create variables, it creates 'dense/k" % named):
            use()


def test_a_variable_is_refused_even_if_the_problem_goes_on_without_it():
    def carefully(x):
        try:
            return x * tf.Variable(1.0)
        except ValueError:
            return x

    with pytest.raises(ValueError, match=r"^observe and loss of Creates must not create variables"):
        BoundProblem(Creates("loss", carefully), tf.zeros([])).loss(tf.zeros([]), tf.constant(0))


def test_variables_are_refused_in_a_loss_on_the_whole_data():
    bound = BoundProblem(Creates("observe_all", CREATE["Variable"]), tf.zeros([]))
    with pytest.raises(ValueError, match=r"^observe_all and loss of Creates must not create variables"):
        bound.loss_on_whole_data(tf.zeros([]))


def test_variables_that_exist_may_be_read(run):
    variable = tf.get_variable("weight", [], initializer=tf.constant_initializer(3.0))
    bound = BoundProblem(Creates("loss", lambda x: x * variable), tf.zeros([]))
    value = bound.loss(tf.constant(2.0), tf.constant(0))
    assert run(value) == 36
    tf.get_variable("another", [])  # after the loss, variables can be created again


def test_a_problem_says_its_parameters_and_how_much_data_it_has():
    assert repr(l2l.Quadratic(3)) == "<Quadratic dims=3, dtype=float32>"
    shown = repr(l2l.MLP(hidden=(5,), batch_size=7))
    assert shown.startswith("<MLP ") and "hidden=(5,)" in shown and "batch_size=7" in shown
    assert shown.endswith("data [1797, 8, 8] and [1797]>")
    assert "problem=<Quadratic dims=3" in repr(l2l.RandomlyScaled(l2l.Quadratic(3)))

    class Own(l2l.Problem):
        def __init__(self):
            self.table, self.function, self.text, self._hidden = np.ones(9), print, "x" * 99, 1

    assert repr(Own()) == "<Own text='%s...>" % ("x" * 56)
    assert repr(l2l.Problem()) == "<Problem>"
