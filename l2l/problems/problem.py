"""The contract of a problem: what the optimizers optimize (the optimizee).

A problem separates what is drawn at random from what is computed. A draw is a nest of
tensors; position and loss are pure functions of it, so every optimizer compared in one
evaluation can see the same draw.

A problem of your own takes a few lines::

    class Rosenbrock(l2l.Problem):
        def sample(self, num, seed=None):
            return l2l.uniform([num, 2], -1.0, 1.0, seed)

        def initial_position(self, draw):
            return draw

        def loss(self, x, draw):
            return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2
"""

import functools
import inspect
import zlib

import numpy as np
import tensorflow as tf

from l2l import checks
from l2l.nests import over_draws
from l2l.problems.random_numbers import sampling

_FIRST_OF_DRAWS = -(2**40)  # the seed of `Problem.draw(0)`

_DATA = "l2l_data"  # the collection of a graph that holds, for each problem, its data as tensors


class Problem:
    """The contract of a problem; subclass it and define `sample`, `initial_position` and `loss`.

    Each of them is about one draw. Batches are the library's concern: what is written for one draw is
    mapped over many. All that a subclass keeps in public attributes (numbers, strings, arrays) counts as
    its parameters, which tell two problems of one class apart in the record of a training.

    Attributes:
      data: None, or a nest of arrays that all draws share, such as the examples of a data set. A graph holds
        them once, and `observe` gets them as tensors.
    """

    data = None

    def __init_subclass__(cls, **more):
        super().__init_subclass__(**more)
        # Found along the bases, since a class beside this one may define it.
        function = inspect.getattr_static(cls, "sample")
        if inspect.isfunction(function) and not hasattr(function, "_has_streams"):
            cls.sample = _with_streams(function)

    def sample(self, num, seed=None):
        """`num` independent draws: a nest of tensors, each with a leading axis `num`.

        `seed` is None (each `session.run` draws anew) or a scalar integer tensor (the draws
        depend on it alone). `l2l.uniform` knows both.

        A problem that is made of others calls `sample` of each, with its own seed. Each such call gives independent
        draws, also of one problem twice, and none shares a random number with what the outer problem draws itself.
        """
        raise NotImplementedError("%s does not define sample" % type(self).__name__)

    def initial_position(self, draw):
        """The start `x_0` for one draw: a tensor or a nest of tensors, floating point, of static shape."""
        raise NotImplementedError("%s does not define initial_position" % type(self).__name__)

    def observe(self, draw, t, data):
        """What base iteration `t` sees of a draw: the draw itself unless a subclass says otherwise.

        Where every base iteration has a minibatch of its own, this picks it: it has to follow from the
        draw and `t` alone, in the same way whatever runs it. `l2l.minibatch` does.

        Args:
          draw: one draw.
          t: a scalar int32 tensor, which base iteration of the draw's life it is, from 0 on.
          data: the problem's `data` as tensors, or None.

        Returns:
          A nest of tensors, of static shapes, for `loss`.
        """
        return draw

    def active(self, draw):
        """Which tensors of a position the loss of a draw depends on: None for all, or a nest like it of booleans.

        The others are idle: no update moves them, and the library's networks do not adapt to their gradients, which
        must be zero. A problem that is made of others may have some, as a `Mixture` has, and hands on those of others.
        """
        return None

    def loss(self, x, observed):
        """The loss of position `x`, a scalar of its dtype, for what `observe` returned: without it, one draw."""
        raise NotImplementedError("%s does not define loss" % type(self).__name__)

    def batch_loss(self, x, observed):
        """The losses `[B]` of many draws at once: `x` and `observed` have a leading axis `B`.

        Here `loss` is mapped over the draws. A subclass may define a faster form; it is compared with
        `loss` when a training or an evaluation starts.
        """
        return over_draws(self.loss, x, observed)

    def draw(self, seed=None):
        """One draw, without the leading axis of `sample`; with a seed, one that no training or evaluation sees."""
        if seed is not None:
            # A training's seeds are 0 and above, an evaluation's from -1 down to -2^31.
            seed = _FIRST_OF_DRAWS - tf.cast(seed, tf.int64)
        return tf.nest.map_structure(lambda many: many[0], sample(self, 1, seed))


def _with_streams(function):
    """A `sample` whose random numbers are those of its problem's place among problems, whoever calls it."""

    @functools.wraps(function)
    def sample(self, *arguments, **more):
        with sampling(self):
            return function(self, *arguments, **more)

    sample._has_streams = True
    return sample


def sample(problem, num, seed=None):
    """`problem.sample(num, seed)`, checked.

    Raises:
      TypeError: the result is no nest of tensors.
      ValueError: a tensor of the result has no leading axis of length `num`, or its shape is not static.
    """
    with tf.name_scope("sample"), sampling(problem):
        draws = tf.nest.map_structure(lambda many: checks.tensor("sample", many), problem.sample(num, seed))
    for many in tf.nest.flatten(draws):
        if many.shape.ndims == 0 or not many.shape[:1].is_compatible_with([num]):
            raise ValueError("sample must return tensors with a leading axis %d, got shape %s" % (num, many.shape))
        if not many.shape[1:].is_fully_defined():
            raise ValueError("sample must return tensors of static shape, got shape %s" % (many.shape,))
    return draws


def initial_position(problem, draw, batch=None):
    """`problem.initial_position(draw)`, checked; with a batch, of every draw: leading axes `batch`.

    Raises:
      TypeError: the position is no nest of tensors, or one of them has another dtype than a floating-point one.
    """
    with tf.name_scope("initial_position"):
        x = problem.initial_position(draw) if batch is None else over_draws(problem.initial_position, draw)
        # Tensors of their own: a loss may compare `x` with the draw, and its gradient must not flow into the draw too.
        x = tf.nest.map_structure(lambda one: tf.identity(checks.tensor("initial_position", one)), x)
    for path, tensor in zip(paths(x), tf.nest.flatten(x)):
        if not tensor.dtype.is_floating:
            raise TypeError("%s must have a floating-point dtype, got %s" % (path, tensor.dtype.name))
    return x


def active_tensors(problem, draw, batch=None):
    """`problem.active(draw)`: None, or a nest like a position, of booleans, scalars or with a batch `[batch]`."""
    if getattr(type(problem), "active", Problem.active) is Problem.active:
        return None
    with tf.name_scope("active"):
        one = draw if batch is None else tf.nest.map_structure(lambda many: many[0], draw)
        active = problem.active(one)
        return active if batch is None or active is None else over_draws(problem.active, draw)


def paths(x):
    """Names for the tensors of a position in error messages: `x`, or `x[0]`, `x[1]`, ..."""
    return ["x"] if not tf.nest.is_nested(x) else ["x[%d]" % i for i in range(len(tf.nest.flatten(x)))]


def loss_function(problem, draw, batch=None, by_draw=False):
    """The problem's loss as a function of position and base iteration, `loss(x, t)`: a scalar, or `[batch]`.

    Args:
      problem, draw: a problem and one draw of it; with a batch, so many, along a leading axis.
      batch: None for one draw, or how many there are at once.
      by_draw: whether to map `loss` over a batch even where the problem has a form of its own for it.

    The function raises `ValueError` for a loss of another shape, and `TypeError` for one that is no tensor
    or has another dtype than `x`.
    """
    data = data_in_graph(problem)
    has_own_form = batch is not None and not by_draw and type(problem).batch_loss is not Problem.batch_loss

    def observed(t):
        if type(problem).observe is Problem.observe:
            return draw
        if batch is None:
            return problem.observe(draw, t, data)
        return over_draws(lambda one: problem.observe(one, t, data), draw)

    def loss(x, t):
        with tf.name_scope("loss"):
            try:
                if batch is None:
                    value = problem.loss(x, observed(t))
                elif has_own_form:
                    value = problem.batch_loss(x, observed(t))
                else:
                    value = over_draws(problem.loss, x, observed(t))
            except (TypeError, ValueError) as error:
                _name_data_of_other_dtype(problem, tf.nest.flatten(x)[0].dtype, error)
                raise
            value = checks.tensor("loss", value)
        if has_own_form and not value.shape.is_compatible_with([batch]):
            raise ValueError(
                "batch_loss must return a loss for each draw (shape (%d,)), got shape %s" % (batch, value.shape)
            )
        one = value.shape if batch is None or has_own_form else value.shape[1:]
        if not has_own_form and not one.is_compatible_with([]):
            raise ValueError("loss must be a scalar (shape ()), got shape %s" % (one,))
        dtype = tf.nest.flatten(x)[0].dtype
        if value.dtype != dtype:
            raise TypeError("loss must have the dtype of x, %s, got %s" % (dtype.name, value.dtype.name))
        return value

    return loss


def _name_data_of_other_dtype(problem, dtype, error):
    """Raises a `TypeError` that says so where a loss failed beside data of another floating-point dtype than `x`."""
    dtypes = [] if problem.data is None else [np.asarray(leaf).dtype for leaf in tf.nest.flatten(problem.data)]
    others = sorted({one.name for one in dtypes if one.kind == "f" and one != dtype.as_numpy_dtype})
    if others:
        raise TypeError(
            "loss of %s failed, perhaps since its data have dtype %s and x has %s (data.astype makes them alike): %s"
            % (type(problem).__name__, ", ".join(others), dtype.name, str(error).split("\n")[0])
        ) from error


def data_in_graph(problem):
    """The problem's data as tensors of the current graph, which holds them once however often this is called."""
    if problem.data is None:
        return None
    with tf.init_scope():  # a function's graph has a copy of the collection
        for owner, tensors in tf.get_collection(_DATA):
            if owner is problem:
                return tensors
        with tf.name_scope("data"):
            tensors = tf.nest.map_structure(tf.constant, problem.data)
        tf.add_to_collection(_DATA, (problem, tensors))
    return tensors


def data_as_variables(problem):
    """Lets the current graph hold the problem's data in variables, so that they are no constants of a compiled program.

    Returns:
      Function of a session that sets them; to be called before anything reads them.
    """
    if problem.data is None:
        return lambda session: None
    arrays = tf.nest.map_structure(np.asarray, problem.data)
    with tf.name_scope("data"):
        places = tf.nest.map_structure(lambda array: tf.placeholder(array.dtype, array.shape), arrays)
        variables = tf.nest.map_structure(
            lambda place: tf.Variable(place, trainable=False, collections=[], use_resource=True), places
        )
        tensors = tf.nest.map_structure(tf.convert_to_tensor, variables)
    tf.add_to_collection(_DATA, (problem, tensors))
    initializers = [variable.initializer for variable in tf.nest.flatten(variables)]
    feed = dict(zip(tf.nest.flatten(places), tf.nest.flatten(arrays)))
    return lambda session: session.run(initializers, feed)


def described(problem):
    """A problem's class and parameters, in JSON types: `{"class": ..., "parameters": {...}}`."""
    attributes = {name: value for name, value in vars(problem).items() if not name.startswith("_")}
    if problem.data is not None:
        attributes["data"] = problem.data
    return {
        "class": type(problem).__name__,
        "parameters": {name: in_json(value) for name, value in sorted(attributes.items())},
    }


def in_json(value):
    """A parameter in JSON types: arrays by shape, dtype and checksum, problems `described`, others by their class."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Problem):
        return described(value)
    if isinstance(value, tf.DType):
        return value.name
    if isinstance(value, np.ndarray):
        content = np.ascontiguousarray(value)
        return "%s %s, checksum %08x" % (value.dtype.name, list(value.shape), zlib.crc32(content.tobytes()))
    if isinstance(value, dict):
        return {str(key): in_json(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [in_json(one) for one in value]
    return getattr(value, "__qualname__", type(value).__qualname__)
