"""Functions of one draw, mapped over many."""

import numpy as np
import pytest
import tensorflow as tf

from l2l.mapping import OverDraws, _reason_against, control_flow_kept, definitions_since
from l2l.xla import prepare_xla

pytestmark = pytest.mark.filterwarnings("ignore:a function is computed draw by draw:RuntimeWarning")


def over_draws(function, *nests, draw_by_draw=False):
    over = OverDraws("a function")
    result = over(function, *nests)
    assert over.draw_by_draw is draw_by_draw
    return result


def test_each_draw_is_seen_alone(run):
    many = tf.constant(np.arange(12.0).reshape(4, 3))
    seen = []

    def function(one, factor):
        seen.append((one.shape.as_list(), factor.shape.as_list()))
        return {"sum": factor * tf.reduce_sum(one), "first": one[:1]}

    result = over_draws(function, many, tf.constant([1.0, 2.0, 3.0, 4.0], tf.float64))
    assert seen == [([3], [])]  # one call, and not one for each draw
    assert result["sum"].shape == [4] and result["first"].shape == [4, 1]
    result = run(result)
    np.testing.assert_allclose(result["sum"], [3, 24, 63, 120])
    np.testing.assert_array_equal(result["first"], [[0], [3], [6], [9]])


def test_vectorized_the_graph_does_not_grow_with_the_draws():
    def ops(number):
        with tf.Graph().as_default() as graph:
            over_draws(lambda one: tf.reduce_sum(tf.tanh(one) * one), tf.zeros([number, 3]))
            return len(graph.get_operations())

    assert ops(50) == ops(5)


DRAWS = [[1.0, 2.0], [-3.0, 1.0], [0.5, 0.5], [2.0, -2.0], [-1.0, -1.0]]


def of_five(ops_of, draw_by_draw=False):
    """What a function gives for 5 draws; it is called once where it is vectorized, else once more for each."""
    calls = []

    def function(one):
        calls.append(one)
        return ops_of(one)

    result = over_draws(function, tf.constant(DRAWS), draw_by_draw=draw_by_draw)
    assert len(calls) == (1 + 5 if draw_by_draw else 1)
    return result


# The ops of the next test that TensorFlow does not vectorize, or wrongly.
DRAW_BY_DRAW = {"py_func", "cond", "determinant", "while", "map_fn", "gather", "gather in batches", "custom gradient"}
DRAW_BY_DRAW |= {"function"}


@tf.custom_gradient
def custom(x):
    return x + 1, lambda gradient: 3 * gradient


def in_batches(x):
    return tf.gather([[1.0, 2.0], [3.0, 4.0]], tf.cast(x > 0, tf.int32)[:, None], batch_dims=1)


@pytest.mark.parametrize(
    "function, expected",
    [
        (lambda x: tf.py_func(np.sum, [x], tf.float32), lambda x: x.sum()),
        (
            lambda x: tf.cond(tf.reduce_sum(x) > 0, lambda: 2 * x, lambda: -x),
            lambda x: 2 * x if x.sum() > 0 else -x,
        ),
        (lambda x: tf.matrix_determinant(x[:, None] * [[1.0, 2.0]] + tf.eye(2)), lambda x: 1 + x[0] + 2 * x[1]),
        (
            lambda x: tf.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, 2 * y), (0, x))[1],
            lambda x: 8 * x,
        ),
        (lambda x: tf.map_fn(lambda y: y * y, x), lambda x: x * x),
        (lambda x: tf.gather(x, tf.argmax(x)), lambda x: x.max()),
        (lambda x: tf.constant([1.0, 2.0]), lambda x: np.array([1.0, 2.0])),
        (lambda x: tf.stack([x, x])[1, 0], lambda x: x[0]),
        (lambda x: tf.where(x > 0.6, 2 * x, -x), lambda x: np.where(x > 0.6, 2 * x, -x)),
        (lambda x: tf.where(x[0] > 0.6, 2 * x, -x), lambda x: np.where(x[0] > 0.6, 2 * x, -x)),
        (lambda x: tf.where(x[0] > 0.6, x[0], x[1]), lambda x: x[0] if x[0] > 0.6 else x[1]),
        (
            lambda x: tf.where(x > 0.6, tf.ones([2, 3]) * x[0], tf.zeros([2, 3])),
            lambda x: np.where(x[:, None] > 0.6, np.ones([2, 3]) * x[0], 0),
        ),
        (lambda x: tf.matmul(x[:, None], [x, 2 * x][:1]), lambda x: np.outer(x, x)),
        (in_batches, lambda x: np.array([[1], [3]]) + (x[:, None] > 0)),
        (lambda x: tf.gradients(custom(x), x)[0], lambda x: np.array([3, 3])),
        (lambda x: tf.gather([1.0, 2.0], tf.cast(x[0] > 0, tf.int32)), lambda x: 1 + (x[0] > 0)),
        (tf.function(in_batches, autograph=False), lambda x: np.array([[1], [3]]) + (x[:, None] > 0)),
    ],
    ids=[
        *["py_func", "cond", "determinant", "while", "map_fn", "gather", "constant", "stack"],
        *["where", "where for a vector", "where for a scalar", "where for rows", "product"],
        *["gather in batches", "custom gradient", "gather from one", "function"],
    ],
)
def test_every_op_gives_what_it_gives_for_each_draw(run, function, expected, request):
    kind = request.node.callspec.id
    result = of_five(function, kind in DRAW_BY_DRAW)
    np.testing.assert_allclose(run(result), [expected(np.array(draw)) for draw in DRAWS], rtol=1e-5)


def test_going_over_to_single_draws_is_said_once_and_for_all(recwarn):
    over = OverDraws("it")
    for _ in range(2):
        over(lambda x: tf.py_func(np.sum, [x], tf.float32), tf.zeros([3, 2]))
        assert over.draw_by_draw
    over(lambda x: 2 * x, tf.zeros([3, 2]))
    (warning,) = [one for one in recwarn if one.category is RuntimeWarning]
    assert warning.filename == __file__
    one = OverDraws("it")
    assert one(lambda x: tf.py_func(np.sum, [x], tf.float32), tf.zeros([1, 2])) is not None
    assert not one.draw_by_draw and len([one for one in recwarn if one.category is RuntimeWarning]) == 1
    assert str(warning.message) == (
        "it is computed draw by draw, not vectorized, so that graph and time grow with the number of draws: "
        "TensorFlow has no vectorized form of the op PyFunc"
    )


def test_an_error_within_a_loop_leaves_the_graph_outside_of_it(run):
    """TensorFlow has no second derivatives of a loop; where it says so, it is in the middle of one."""
    x = tf.constant([1.0, 2.0])
    cubes = tf.map_fn(lambda one: one**3, x)
    (slopes,) = tf.gradients(cubes, x)
    with pytest.raises(TypeError), control_flow_kept():
        tf.gradients(slopes, x)
    np.testing.assert_array_equal(run(x + 1), [2, 3])
    calls = []

    def function(one):
        calls.append(one)
        if len(calls) == 1:
            tf.gradients(slopes, x)
        return one + 1

    np.testing.assert_array_equal(run(over_draws(function, x, draw_by_draw=True)), [2, 3])


def test_only_what_is_called_counts_and_static_shapes_may_have_holes(run):
    loop = tf.function(lambda x: tf.while_loop(lambda x: x < 3, lambda x: x + 1, [x]), autograph=False)
    loop(tf.constant(1.0))
    many = tf.placeholder_with_default(np.ones([2, 3], np.float32), [2, None])
    result = over_draws(lambda x: 2 * x, many)
    assert result.shape.as_list() == [2, None]
    np.testing.assert_array_equal(run(result), np.full([2, 3], 2))


def test_functions_that_were_looked_at_are_as_they_were(run):
    """TensorFlow makes the gradient of a `tf.cond` in a function from the definitions of its branches."""
    x, choice = tf.constant([1.0, 2.0]), lambda x: tf.cond(x[0] > 0, lambda: x**2, lambda: 3 * x)
    result = tf.function(choice, autograph=False)(x)
    for definition in definitions_since(tf.get_default_graph(), 0):
        _reason_against(definition)
    np.testing.assert_array_equal(run(tf.gradients(result, x)[0]), [2, 4])


def test_a_shape_that_the_function_sets_counts():
    shape = tf.placeholder(tf.int32, [None])

    def function(one):
        one = tf.reshape(one, shape)
        one.set_shape([2, 1])
        return one

    assert over_draws(function, tf.zeros([3, 2])).shape == [3, 2, 1]


def test_where_an_op_cannot_be_vectorized_each_draw_is_written_into_the_graph():
    result = of_five(lambda x: tf.py_func(np.sum, [x], tf.float32), draw_by_draw=True)
    assert result.shape.ndims is None or result.shape.is_compatible_with([5])
    assert of_five(lambda x: tf.reduce_sum(x)).shape == [5]


def test_none_stays_none(run):
    result = over_draws(lambda one, hole: (None, {"a": 2 * one, "b": hole}), tf.constant([1.0, 2.0]), None)
    assert result[0] is None and result[1]["b"] is None
    np.testing.assert_array_equal(run(result[1]["a"]), [2, 4])
    assert over_draws(lambda one: None, tf.zeros([3])) is None


def test_none_in_a_function_that_falls_back(run):
    def function(one):
        return None, tf.py_func(lambda value: np.float32(2) * value, [one], tf.float32)

    hole, result = over_draws(function, tf.constant([1.0, 2.0]), draw_by_draw=True)
    assert hole is None
    np.testing.assert_array_equal(run(result), [2, 4])


@pytest.mark.parametrize("falls_back", [False, True])
def test_static_shapes_are_kept(falls_back):
    def function(one):
        if falls_back:
            one = tf.cond(one[0] > 0, lambda: one, lambda: -one)
        return tf.reshape(one, [2, 1]), tf.zeros([4]), tf.reduce_sum(one), tf.constant(1)

    results = over_draws(function, tf.zeros([3, 2]), draw_by_draw=falls_back)
    assert [tensor.shape.as_list() for tensor in results] == [[3, 2, 1], [3, 4], [3], [3]]
    assert [tensor.dtype for tensor in results] == [tf.float32] * 3 + [tf.int32]


@pytest.mark.parametrize("falls_back", [False, True])
def test_gradients_flow_through_it_draw_by_draw(run, falls_back):
    def function(one):
        cube = one[0] ** 3
        return tf.cond(one[0] > 0, lambda: cube, lambda: cube) if falls_back else cube

    many = tf.constant([[1.0], [2.0], [-3.0]])
    (gradient,) = tf.gradients(over_draws(function, many, draw_by_draw=falls_back), many)
    np.testing.assert_allclose(run(tf.convert_to_tensor(gradient)), [[3], [12], [27]])


def test_what_is_wrong_with_the_function_itself_is_said():
    def function(one):
        raise KeyError("my own mistake")

    with pytest.raises(KeyError, match="my own mistake"):
        over_draws(function, tf.zeros([3]))


def test_it_works_inside_loops_and_functions(run):
    many = tf.constant([[1.0, 2.0], [3.0, 4.0]])

    def doubled(nest):
        return over_draws(lambda one: one * tf.reduce_sum(one), nest)

    def looped(nest):
        return tf.while_loop(lambda i, nest: i < 2, lambda i, nest: (i + 1, doubled(nest)), (0, nest))[1]

    plain, in_loop, in_function = run(
        [doubled(doubled(many)), looped(many), tf.function(looped, autograph=False)(many)]
    )
    np.testing.assert_allclose(in_loop, plain, rtol=1e-6)
    np.testing.assert_allclose(in_function, plain, rtol=1e-6)


@pytest.mark.parametrize("known", ["neither", "condition", "choices"])
def test_a_choice_of_unknown_rank_is_left_to_tensorflow(run, known):
    shape = tf.placeholder_with_default([2], [None])

    def size(x):
        hidden = tf.reshape(x, shape)
        condition, one = (x if known == "condition" else hidden) > 0, x if known == "choices" else hidden
        return tf.where(condition, one, -one)

    np.testing.assert_allclose(run(of_five(size)), np.abs(DRAWS))


def test_a_choice_between_losses_and_a_result_from_outside_can_be_compiled(run):
    """TensorFlow's own vectorized form of `tf.where` holds a `tf.cond` whose branches differ in shape."""

    def huber(x):
        residual = tf.abs(x)
        return tf.reduce_sum(tf.where(residual < 1, residual**2, 2 * residual - 1))

    prepare_xla()

    def program(many, other):
        # TensorFlow copies the op of a result from outside, which in a compiled program is a placeholder.
        both = tf.function(lambda *both: over_draws(lambda x: (huber(x), both[1]), both[0]), autograph=False)
        return list(both(many, other))

    results = tf.xla.experimental.compile(program, [tf.constant([[0.5, 2.0], [-3.0, 0.25]]), tf.constant(7.0)])
    np.testing.assert_allclose(run(results), [[0.25 + 3, 5 + 0.0625], [7, 7]])


@pytest.mark.parametrize(
    "choice",
    [
        lambda x: tf.where(x > 0.6, 2 * x, -x),
        lambda x: tf.where(x[0] > 0.6, 2 * x, -x),
        lambda x: tf.where(x > 0.6, tf.ones([2, 3]) * x[0], tf.zeros([2, 3])),
    ],
    ids=["where", "where for a vector", "where for rows"],
)
def test_choices_of_every_kind_are_vectorized(choice):
    of_five(choice)


SHAPES = {"scalar": [], "vector": [2], "matrix": [3, 2], "column": [3, 1]}


@pytest.mark.parametrize("second", SHAPES)
@pytest.mark.parametrize("first", SHAPES)
def test_tensors_of_different_ranks_are_broadcast_as_for_each_draw(run, first, second):
    numbers = np.random.RandomState(0)
    one, other, fixed = (numbers.randn(*shape) for shape in [[2, *SHAPES[first]], [2, *SHAPES[second]], SHAPES[second]])
    result = over_draws(lambda one, other: (one - other, fixed - one), tf.constant(one), tf.constant(other))
    expected = [[a - b for a, b in zip(one, other)], [fixed - a for a in one]]
    for ours, theirs in zip(result, expected):
        assert ours.shape.as_list() == list(np.shape(theirs))
        np.testing.assert_allclose(run(ours), theirs)


def test_broadcasting_takes_no_op_where_the_ranks_are_known():
    def ops(number):
        with tf.Graph().as_default() as graph:
            over_draws(lambda one: one if number == 0 else one * tf.reduce_sum(one), tf.zeros([5, 3]))
            return len(graph.get_operations())

    assert ops(1) - ops(0) < 15  # TensorFlow's own form takes 46


@pytest.mark.parametrize("shape", [[4], [4, 3], [4, 3, 2]])
def test_a_norm_is_vectorized(run, shape):
    many, calls = np.random.RandomState(0).randn(*shape), []

    def function(one):
        calls.append(one)
        return tf.nn.l2_loss(one), tf.global_norm([one, one])

    halves, norms = over_draws(function, tf.constant(many))
    assert len(calls) == 1
    assert halves.shape == norms.shape == [4]
    squares = (many.reshape(4, -1) ** 2).sum(1)
    np.testing.assert_allclose(run([halves, norms]), [squares / 2, np.sqrt(2 * squares)])


def test_a_sum_of_unknown_rank_is_left_to_tensorflow(run):
    shape = tf.placeholder_with_default([2, 1], [None])
    result = of_five(lambda x: tf.reshape(x, shape) + x)
    np.testing.assert_allclose(run(result)[1], [[-6, -2], [-2, 2]])


@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
@pytest.mark.parametrize("width", [1, 5])
def test_a_product_of_one_matrix_with_each_draws_can_be_compiled(run, transpose_a, transpose_b, width):
    """TensorFlow's own vectorized form holds a `tf.cond`. A recurrent network's first state is such a matrix."""
    numbers = np.random.RandomState(0)
    one, many = numbers.randn(2, 3), numbers.randn(4, 3, width)
    left = tf.constant(one.T if transpose_a else one)

    def product(right):
        return tf.matmul(left, right, transpose_a, transpose_b)

    given = tf.constant(many.transpose(0, 2, 1) if transpose_b else many)
    result = over_draws(product, given)
    assert result.shape == [4, 2, width]
    assert [op.type for op in tf.get_default_graph().get_operations() if op.type in ("Merge", "If")] == []
    np.testing.assert_allclose(run(result), one @ many)


def test_a_product_of_unknown_shape_is_left_to_tensorflow(run):
    rows = tf.placeholder_with_default([2, 1], [2])
    result = over_draws(
        lambda x: tf.matmul(tf.ones([3, 2]), tf.reshape(x, rows)), tf.constant([[1.0, 2.0], [3.0, 4.0]])
    )
    np.testing.assert_allclose(run(result), [[[3]] * 3, [[7]] * 3])


def test_second_derivatives_flow_back_to_what_draws_are_picked_from_within_xla(run):
    """What is mapped is a function there, and TensorFlow cannot differentiate a call for indexed slices."""
    x = np.array([[1.0, 2.0], [-0.5, 3.0]], np.float32)

    def twice(x):
        (gradient,) = tf.gradients(over_draws(lambda one: tf.reduce_sum(one**3), x), x)
        return tf.convert_to_tensor(tf.gradients(tf.square(tf.gather(gradient, [1, 0])), x)[0])

    (second,) = run(tf.xla.experimental.compile(twice, [tf.constant(x)]))
    np.testing.assert_allclose(second, 36 * x**3, rtol=1e-5)
