"""Every bad call is refused at once, with an error that names argument, value and what is allowed."""

import numpy as np
import pytest
import tensorflow as tf
from trainers import one_rate

import l2l
from l2l.learning.settings import Settings

META_LOSSES = ", ".join(sorted(l2l.META_LOSSES))


class Custom(l2l.Problem):
    """A problem whose position and loss are given."""

    def __init__(self, start, loss):
        self._start, self._loss = start, loss

    def sample(self, num, seed=None):
        return tf.zeros([num])

    def initial_position(self, draw):
        return self._start

    def loss(self, x, draw):
        return self._loss(x)


def learn(optimizer=None, start=(1.0, 1.0), loss=tf.reduce_sum, **more):
    optimizer = l2l.sgd() if optimizer is None else optimizer
    start = tf.constant(start) if isinstance(start, tuple) else start
    return l2l.learn(Custom(start, loss), tf.zeros([]), optimizer, **more)


def trainer(**changes):
    arguments = {
        "problem": l2l.Quadratic(2),
        "build_optimizer": lambda: l2l.CoordinatewiseLSTM((2,)),
        "unroll_length": 3,
    }
    arguments["engine"] = "graph"
    arguments.update(changes)
    return l2l.Trainer(**arguments)


def changing_state(gradients, state):
    return -gradients, (tf.zeros([]) if state is None else (tf.zeros([]), tf.zeros([])))


def growing_state(gradients, state):
    return -gradients, gradients if state is None else tf.concat([state, gradients], axis=0)


def counting_in_halves(gradients, state):
    return -gradients, 0 if state is None else tf.cast(state, tf.float32) + 0.5


class Constant(l2l.Quadratic):
    """A problem that forgets how many draws it was asked for."""

    def sample(self, num, seed=None):
        return l2l.problems.QuadraticDraw(tf.constant(1.0), tf.constant(1.0))


class Unbatched(l2l.Quadratic):
    """A problem whose form for many draws adds up over all of them."""

    def batch_loss(self, x, draw):
        return tf.reduce_sum(tf.square(draw.scale * x))


class OneArgument(l2l.Quadratic):
    """A loss that gets no draw."""

    def loss(self, x):
        return tf.reduce_sum(tf.square(x))


class WithoutData(l2l.Quadratic):
    """Minibatches from nowhere."""

    def observe(self, draw, t):
        return draw


class OfWords(l2l.Quadratic):
    """Data that no graph can compute with."""

    data = {"labels": ["cat", "dog"]}


class OfLists(l2l.Quadratic):
    """Data as Python has them."""

    data = [[1.0, 2.0], [3.0, 4.0]]


class OfTensors(l2l.Quadratic):
    """Data that belong to a graph, and not to the problem."""

    def __init__(self):
        super().__init__(2)
        self.data = tf.constant([1.0, 2.0])


class Adapting(l2l.Casting):
    """A casting with a variable of its own."""

    adapted = (1.0,)

    def encode(self, gradients, memory=None, adapted=()):
        return gradients[:, tf.newaxis]

    def decode(self, outputs, gradients=None, memory=None, adapted=()):
        return outputs


def unroll(**changes):
    problem = l2l.Quadratic(2)
    return l2l.unroll(problem, problem.draw(0), **{"optimizer": l2l.sgd(), **changes})


def meta_gradient(**changes):
    problem, optimizer = l2l.Quadratic(2), l2l.CoordinatewiseLSTM((2,))
    return l2l.meta_gradient(problem, problem.draw(0), optimizer, optimizer.variables, **changes)


def evaluate(**changes):
    return l2l.evaluate(**{"problem": l2l.Quadratic(2), "optimizers": {"a": l2l.sgd()}, **changes})


def quickly_evaluated():
    return evaluate(draws=2, steps=2, engine="graph")


class RemembersTwo(Adapting):
    """A casting as the contract had it once: what it remembers does not know the updates."""

    def remember(self, gradients, memory):
        return memory


class AdaptsNothing(Adapting):
    def adapt(self, gradients, memory, adapted):
        return ()


class AdaptsATensor(Adapting):
    def adapt(self, gradients, memory, adapted):
        return adapted[0]


class AdaptsVectors(Adapting):
    def adapt(self, gradients, memory, adapted):
        return (gradients,)


class OfDoubles(l2l.Quadratic):
    """Data of another dtype than the position."""

    def __init__(self):
        super().__init__(2)
        self.data = {"factor": np.ones(2)}

    def observe(self, draw, t, data):
        return data["factor"]

    def loss(self, x, factor):
        return tf.reduce_sum(factor * x)


def with_casting(casting):
    return trainer(build_optimizer=lambda: l2l.CoordinatewiseLSTM((2,), casting))


def forgetful(gradients, state):
    """Its state has another structure after the second step than after the first."""
    state = {"v": gradients} if state is None else {"v": state["v"] + gradients, "before": gradients}
    return -0.1 * state["v"], state


def growing_list(gradients, state):
    state = [gradients] if state is None else [*state, gradients]
    return -0.1 * tf.add_n(state), state


def update_alone(gradients, state):
    return -0.1 * gradients


class PastTheEnd(l2l.Quadratic):
    """Ten examples, of which each base iteration sees the next one."""

    data = np.ones([10, 2], np.float32)

    def observe(self, draw, t, data):
        return tf.gather(data, t)

    def loss(self, x, example):
        return tf.reduce_sum(example * tf.square(x))

    batch_loss = l2l.Problem.batch_loss


class OnceDifferentiable(l2l.Quadratic):
    """A loss with an op whose gradient TensorFlow cannot differentiate."""

    def loss(self, x, draw):
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.constant(0), logits=x)


BAD_CALLS = [
    (lambda: l2l.Quadratic(dims=0), ValueError, "dims must be a positive integer, got 0"),
    (lambda: l2l.Quadratic(dims=-2), ValueError, "dims must be a positive integer, got -2"),
    (lambda: l2l.Quadratic(dims=2.0), TypeError, "dims must be a positive integer, got 2.0"),
    (lambda: l2l.Quadratic(dims=True), TypeError, "dims must be a positive integer, got True"),
    (lambda: l2l.Quadratic(2).sample(0), ValueError, "num must be a positive integer, got 0"),
    (lambda: l2l.sgd(-0.1), ValueError, "learning_rate must be a positive finite number, got -0.1"),
    (lambda: l2l.sgd(float("nan")), ValueError, "learning_rate must be a positive finite number, got nan"),
    (lambda: l2l.sgd("0.1"), TypeError, "learning_rate must be a positive finite number, got '0.1'"),
    (lambda: l2l.momentum(float("inf")), ValueError, "learning_rate must be a positive finite number, got inf"),
    (lambda: l2l.momentum(momentum=1), ValueError, r"momentum must be a number in [0, 1), got 1"),
    (lambda: l2l.nesterov(momentum=-0.5), ValueError, r"momentum must be a number in [0, 1), got -0.5"),
    (lambda: l2l.nesterov(0), ValueError, "learning_rate must be a positive finite number, got 0"),
    (lambda: l2l.rmsprop(epsilon=0), ValueError, "epsilon must be a positive finite number, got 0"),
    (lambda: l2l.rmsprop(decay=float("nan")), ValueError, r"decay must be a number in [0, 1), got nan"),
    (lambda: l2l.adam(beta1=1.5), ValueError, r"beta1 must be a number in [0, 1), got 1.5"),
    (lambda: l2l.adam(beta2=None), TypeError, r"beta2 must be a number in [0, 1), got None"),
    (lambda: l2l.log_cast(0), ValueError, "min_log_gradient must be a negative finite number, got 0"),
    (lambda: l2l.log_cast(15), ValueError, "min_log_gradient must be a negative finite number, got 15"),
    (lambda: l2l.log_cast(float("-inf")), ValueError, "min_log_gradient must be a negative finite number, got -inf"),
    (lambda: l2l.log_cast("-15"), TypeError, "min_log_gradient must be a negative finite number, got '-15'"),
    (lambda: l2l.log_cast(-83), ValueError, "min_log_gradient must be at least -82, got -83"),
    (lambda: l2l.log_and_sign(88), ValueError, "k must be at most 87, got 88"),
    (lambda: l2l.log_and_sign(0), ValueError, "k must be a positive finite number, got 0"),
    (lambda: l2l.log_ratio_cast(0), ValueError, "min_log_ratio must be a negative finite number, got 0"),
    (lambda: l2l.log_ratio_cast("-8"), TypeError, "min_log_ratio must be a negative finite number, got '-8'"),
    (lambda: l2l.log_ratio_cast(-88), ValueError, "min_log_ratio must be at least -87, got -88"),
    (lambda: l2l.moments_cast(1), ValueError, r"beta must be a number in [0, 1), got 1"),
    (lambda: l2l.moments_cast(-0.1), ValueError, r"beta must be a number in [0, 1), got -0.1"),
    (lambda: l2l.moments_cast(()), ValueError, r"beta must be a number or a sequence of at least one, got ()"),
    (lambda: l2l.moments_cast((0.5, 1.0)), ValueError, r"beta[1] must be a number in [0, 1), got 1.0"),
    (lambda: l2l.moments_cast(0.5, smallest=-1), ValueError, "smallest must be a finite number, 0 or above, got -1"),
    (lambda: l2l.moments_cast("0.9"), TypeError, r"beta must be a number in [0, 1), got '0.9'"),
    (
        lambda: l2l.CoordinatewiseLSTM(input_activation="relu"),
        ValueError,
        "input_activation must be None or one of elu, got 'relu'",
    ),
    (
        lambda: l2l.CoordinatewiseLSTM(input_activation=["elu"]),
        ValueError,
        "input_activation must be None or one of elu, got ['elu']",
    ),
    (
        lambda: l2l.CoordinatewiseLSTM(input_layer=False, input_activation="elu"),
        ValueError,
        "input_activation must be None without an input layer, got 'elu'",
    ),
    (
        lambda: l2l.CoordinatewiseLSTM(casting="log15"),
        ValueError,
        "casting must be one of log, log_and_sign, log_ratio, moments, none, ratio, relative_step, secant, "
        "widening, got 'log15'",
    ),
    (lambda: l2l.CoordinatewiseLSTM(casting=-15), TypeError, "casting must be a Casting or one of log, log_and_sign"),
    (lambda: l2l.CoordinatewiseLSTM(hidden=()), ValueError, "hidden must list the units of each layer"),
    (lambda: l2l.CoordinatewiseLSTM(hidden=20), ValueError, "hidden must list the units of each layer"),
    (lambda: l2l.CoordinatewiseLSTM(hidden=(20, 0)), ValueError, "hidden[1] must be a positive integer, got 0"),
    (lambda: learn(steps=0), ValueError, "steps must be a positive integer, got 0"),
    (lambda: learn(steps=-1), ValueError, "steps must be a positive integer, got -1"),
    (lambda: learn(steps=20.0), TypeError, "steps must be a positive integer, got 20.0"),
    (lambda: learn(loop="for"), ValueError, "loop must be one of python, while, got 'for'"),
    (
        lambda: learn(optimizer="sgd"),
        TypeError,
        "optimizer must be an optimizer, a function (gradients, state) -> (update, state), got 'sgd'",
    ),
    (lambda: learn(optimizer=lambda g, s: -g), TypeError, "optimizer must return a pair (update, state), got"),
    (lambda: learn(optimizer=lambda g, s: None), TypeError, "optimizer must return a pair (update, state), got None"),
    (
        lambda: learn(optimizer=lambda g, s: (-g[:1], s)),
        ValueError,
        "optimizer's update must have shape (2,) and dtype float32 as x, got shape (1,)",
    ),
    (
        lambda: learn(optimizer=lambda g, s: (tf.cast(g, tf.float64), s)),
        ValueError,
        "optimizer's update must have shape (2,) and dtype float32 as x, got shape (2,) and dtype float64",
    ),
    (lambda: learn(optimizer=lambda g, s: ([g, g], s)), ValueError, "optimizer's update must have the structure of x"),
    (lambda: learn(optimizer=changing_state, loop="while"), ValueError, "optimizer's state must keep its structure"),
    (lambda: learn(loss=tf.square), ValueError, "loss of Custom must be a scalar (shape ()), got shape (2,)"),
    (lambda: learn(loss=lambda x: tf.constant(1.0)), ValueError, "loss must depend on every tensor of x"),
    (
        lambda: learn(start=[np.float32(1), np.float32(2)], loss=lambda x: x[0]),
        ValueError,
        "loss must depend on every tensor of x, it does not depend on x[1]",
    ),
    (
        lambda: learn(loss=lambda x: tf.cast(tf.reduce_sum(x), tf.float64)),
        TypeError,
        "loss of Custom must have the dtype of x, float32, got float64",
    ),
    (lambda: learn(start=np.ones(2, np.int32)), TypeError, "must be float32 or float64, got int32 for x"),
    (lambda: learn(start=np.ones(2, np.float16)), TypeError, "must be float32 or float64, got float16 for x"),
    (lambda: learn(start=tf.cast((1, 2), tf.bfloat16)), TypeError, "must be float32 or float64, got bfloat16 for x"),
    (
        lambda: learn(start=np.ones(2), optimizer=l2l.AdamController()),
        TypeError,
        "gradients must be float32 for an AdamController, got float64",
    ),
    (
        lambda: learn(start=[np.float32(1), np.int64(2)]),
        TypeError,
        "initial_position of Custom must be float32 or float64, got int64 for x[1]",
    ),
    (lambda: learn(loop=["python"]), ValueError, "loop must be one of python, while, got ['python']"),
    (lambda: learn(loss=lambda x: None), TypeError, "loss of Custom must be a tensor, got None"),
    (lambda: learn(optimizer=lambda g, s: (None, s)), TypeError, "optimizer's update must be a tensor, got None"),
    (
        lambda: learn(optimizer=growing_state, loop="while"),
        ValueError,
        "from step to step in a loop, it changed from float32 (2,) to float32 (4,)",
    ),
    (lambda: learn(optimizer=counting_in_halves, loop="while"), ValueError, "optimizer's state must keep its structu"),
    (lambda: trainer(meta_loss=lambda losses: None), TypeError, "meta_loss must be a tensor, got None"),
    (lambda: trainer(meta_loss=lambda: 1), TypeError, "meta_loss must be a function of one argument, the losses, got"),
    (
        lambda: trainer().run(1, callbacks=[l2l.LiveFigure]),
        TypeError,
        "callbacks[0] must be a function of one argument, the trainer, got <class",
    ),
    (
        lambda: learn(start={"a": np.ones(2, np.float32), "b": np.float32(0)}, loss=lambda x: tf.reduce_sum(x["a"])),
        ValueError,
        "loss must depend on every tensor of x, it does not depend on x['b']",
    ),
    (
        lambda: trainer(problem=Constant()),
        ValueError,
        "sample of Constant must return tensors with a leading axis 1, got shape ()",
    ),
    (
        lambda: trainer(problem=OneArgument(2)),
        TypeError,
        "loss of OneArgument must take the arguments (self, x, observed), got (self, x)",
    ),
    (
        lambda: evaluate(problem=WithoutData(2)),
        TypeError,
        "observe of WithoutData must take the arguments (self, draw, t, data), got (self, draw, t)",
    ),
    (
        lambda: trainer(problem=OfWords(2)),
        TypeError,
        "data of OfWords must be a nest of NumPy arrays of numbers (np.asarray makes one of a list), got 'cat'",
    ),
    (lambda: trainer(problem=OfLists(2)), TypeError, "data of OfLists must be a nest of NumPy arrays of numbers"),
    (lambda: trainer(problem=OfTensors()), TypeError, "data of OfTensors must be a nest of NumPy arrays of numbers"),
    (lambda: learn(start=None), TypeError, "initial_position of Custom must be a tensor, got None"),
    (lambda: trainer(unroll_length=0), ValueError, "unroll_length must be a positive integer, got 0"),
    (lambda: trainer(unroll_length=1), ValueError, "meta_loss must depend on the optimizer's variables"),
    (lambda: trainer(learning_rate=-1), ValueError, "learning_rate must be a positive number of float32"),
    (
        lambda: trainer(learning_rate=float("nan")),
        ValueError,
        "learning_rate must be a positive number of float32",
    ),
    (lambda: trainer(clip_norm=0), ValueError, "clip_norm must be a positive number of float32"),
    (
        lambda: trainer(meta_loss="last"),
        ValueError,
        "meta_loss must be one of %s, got 'last'" % META_LOSSES,
    ),
    (
        lambda: trainer(meta_loss=3),
        TypeError,
        "meta_loss must be callable or one of %s, got 3" % META_LOSSES,
    ),
    (lambda: trainer(meta_loss=lambda losses: losses), ValueError, "meta_loss must be a scalar (shape ()), got shape"),
    (lambda: trainer(engine="tpu"), ValueError, "engine must be one of graph, xla, xla_or_graph, got 'tpu'"),
    (lambda: trainer(threads=0), ValueError, "threads must be a positive integer, got 0"),
    (lambda: trainer(threads=2.0, batch=2), TypeError, "threads must be a positive integer, got 2.0"),
    (lambda: trainer(threads=2, batch=3), ValueError, "threads must divide the batch, 3, got 2"),
    (lambda: trainer(on_nonfinite="stop"), ValueError, "on_nonfinite must be one of raise, skip, got 'stop'"),
    (lambda: trainer(checkpoint_dir=""), ValueError, "checkpoint_dir must be a path, got ''"),
    (lambda: trainer(checkpoint_dir=3), TypeError, "checkpoint_dir must be a path, got 3"),
    (lambda: trainer(checkpoint_every=0), ValueError, "checkpoint_every must be a positive finite number, got 0"),
    (lambda: trainer(checkpoint_every="1h"), TypeError, "checkpoint_every must be a positive finite number, got '1h'"),
    (lambda: trainer(resume=True), ValueError, "resume=True needs a checkpoint_dir to go on from, got None"),
    (lambda: trainer(resume="run"), TypeError, "resume must be True or False, got 'run'"),
    (
        lambda: trainer(checkpoint_dir="nowhere", allow_changed_code=True),
        ValueError,
        "allow_changed_code=True needs resume=True, got False",
    ),
    (lambda: trainer().run(), TypeError, "either meta_iterations, how many more, or until, how many in all, must be"),
    (lambda: trainer().run(2, until=3), TypeError, "either meta_iterations, how many more, or until, how many in all"),
    (lambda: trainer().run(until=0), ValueError, "until must be a positive integer, got 0"),
    (lambda: trainer().run(until=1e5), TypeError, "until must be a positive integer, got 100000.0"),
    (
        lambda: l2l.train_together([trainer()], until=[1, 2]),
        ValueError,
        "until must be one number, or one for each of 1 trainers, got [1, 2]",
    ),
    (lambda: trainer().restore(None), TypeError, "directory must be a path, got None"),
    (lambda: trainer().restore("nowhere"), ValueError, "directory must hold a checkpoint, there is none in 'nowhere'"),
    (lambda: trainer().replay(7), TypeError, "path must be a path, got 7"),
    (lambda: l2l.latest_checkpoint(7), TypeError, "directory must be a path, got 7"),
    (lambda: l2l.History.load(7), TypeError, "path must be a path, got 7"),
    (lambda: l2l.History().save(None), TypeError, "path must be a path, got None"),
    (lambda: l2l.load(7), TypeError, "path must be a path, got 7"),
    (lambda: l2l.save("x", [1.0]), TypeError, "trained must be what trainer.trained() returns, got [1.0]"),
    (
        lambda: l2l.evaluate(l2l.Quadratic(2), {"a": l2l.Trained(l2l.CoordinatewiseLSTM, [np.zeros(3)])}),
        ValueError,
        "optimizers['a'] must have the weights that it builds, [('float32', (1, 20))",
    ),
    (lambda: trainer(batch=0), ValueError, "batch must be a positive integer, got 0"),
    (
        lambda: trainer(batch=4, problem=Unbatched(2)),
        ValueError,
        "batch_loss of Unbatched must return a loss for each draw (shape (4,)), got shape ()",
    ),
    (
        lambda: trainer(batch=4, meta_loss=lambda losses: losses),
        ValueError,
        "meta_loss must be a scalar (shape ()), got shape (3,); tf.reduce_mean or tf.reduce_sum makes one",
    ),
    (lambda: trainer(batch=4, meta_loss=lambda losses: None), TypeError, "meta_loss must be a tensor, got None"),
    (lambda: trainer(batch=2.0), TypeError, "batch must be a positive integer, got 2.0"),
    (lambda: trainer(horizon=0), ValueError, "horizon must be a positive integer, got 0"),
    (lambda: trainer(horizon=9.0), TypeError, "horizon must be a positive integer, got 9.0"),
    (lambda: trainer(horizon=10), ValueError, "horizon must be a multiple of unroll_length, 3, got 10"),
    (lambda: trainer(horizon=2), ValueError, "horizon must be a multiple of unroll_length, 3, got 2"),
    (lambda: trainer(second_derivatives=0), TypeError, "second_derivatives must be True or False, got 0"),
    (lambda: trainer(second_derivatives=None), TypeError, "second_derivatives must be True or False, got None"),
    (
        lambda: trainer(unroll_length=1, engine="xla", build_optimizer=one_rate),
        ValueError,
        "meta_loss must depend on the optimizer's variables, it depends on none (with unroll_length=1 the",
    ),
    (lambda: trainer(stepz=3), TypeError, "unexpected keyword argument 'stepz'"),
    (
        lambda: trainer(problem=OnceDifferentiable(2)),
        ValueError,
        "second_derivatives must be False for a loss with an op that has none",
    ),
    (
        lambda: l2l.minibatch(tf.constant(0.5), 0, batch_size=4, examples=10),
        TypeError,
        "key must be an integer, as from l2l.keys, got dty",
    ),
    (lambda: Settings(horizon=30), ValueError, "horizon must be a multiple of unroll_length, 20, got 30"),
    (
        lambda: Settings("last"),
        ValueError,
        "meta_loss must be one of %s, got 'last'" % META_LOSSES,
    ),
    (
        lambda: trainer(build_optimizer=lambda: l2l.CoordinatewiseLSTM((2,), Adapting()), batch=2, threads=2),
        ValueError,
        "threads must be 1 for an optimizer that adapts variables, got 2",
    ),
    (lambda: learn(second_derivatives=1), TypeError, "second_derivatives must be True or False, got 1"),
    (lambda: learn(batch=0), ValueError, "batch must be a positive integer, got 0"),
    (lambda: unroll(steps=0), ValueError, "steps must be a positive integer, got 0"),
    (lambda: unroll(loop="for"), ValueError, "loop must be one of python, while, got 'for'"),
    (lambda: unroll(batch=True), TypeError, "batch must be a positive integer, got True"),
    (lambda: unroll(second_derivatives="no"), TypeError, "second_derivatives must be True or False, got 'no'"),
    (lambda: unroll(optimizer=None), TypeError, "optimizer must be an optimizer, a function"),
    (lambda: meta_gradient(unroll_length=0), ValueError, "unroll_length must be a positive integer, got 0"),
    (lambda: meta_gradient(unroll_length=1), ValueError, "meta_loss must depend on the optimizer's variables"),
    (lambda: meta_gradient(loop="for"), ValueError, "loop must be one of python, while, got 'for'"),
    (lambda: meta_gradient(batch=0), ValueError, "batch must be a positive integer, got 0"),
    (lambda: meta_gradient(second_derivatives=1), TypeError, "second_derivatives must be True or False, got 1"),
    (
        lambda: meta_gradient(meta_loss="last"),
        ValueError,
        "meta_loss must be one of %s, got" % META_LOSSES,
    ),
    (lambda: l2l.clipped([tf.ones([2])], 0), ValueError, "clip_norm must be a positive number of float32"),
    (
        lambda: l2l.update(meta_gradient(unroll_length=3), [], tf.train.AdamOptimizer(0.1)),
        ValueError,
        "variables and adapted must be as many as the gradients and adapted values, 6 and 0, got 0 and 0",
    ),
    (
        lambda: l2l.minibatch(0, 0, batch_size=0, examples=10),
        ValueError,
        "batch_size must be a positive integer, got 0",
    ),
    (
        lambda: l2l.minibatch(0, 0, batch_size=5, examples=10.0),
        TypeError,
        "examples must be a positive integer, got 10.0",
    ),
    (lambda: l2l.testing.check_problem(7), TypeError, "problem must be a Problem, such as Quadratic(2), got 7"),
    (
        lambda: l2l.testing.check_problem(l2l.Quadratic(2), steps=0),
        ValueError,
        "steps must be a positive integer, got 0",
    ),
    (lambda: l2l.testing.check_optimizer(7), TypeError, "build must be callable, got 7"),
    (lambda: l2l.testing.check_optimizer(l2l.sgd()), TypeError, "build must be a function without arguments, got"),
    (lambda: l2l.testing.check_optimizer(l2l.sgd, steps=2), ValueError, "steps must be at least 3, got 2"),
    (lambda: trainer(weights_seed=-1), ValueError, "weights_seed must be an integer from 0 to 2**31 - 1, got -1"),
    (lambda: trainer(draws_seed=1.5), TypeError, "draws_seed must be an integer from 0 to 2**31 - 1, got 1.5"),
    (lambda: trainer(build_optimizer=None), TypeError, "build_optimizer must be callable, got None"),
    (lambda: trainer(build_optimizer=l2l.sgd), ValueError, "build_optimizer must create trainable variables when call"),
    (
        lambda: trainer(build_optimizer=l2l.CoordinatewiseLSTM()),
        TypeError,
        "build_optimizer must be a function without",
    ),
    (lambda: l2l.train_together([], 5), ValueError, "trainers must be a non-empty list of trainers, got []"),
    (lambda: l2l.train_together([l2l.sgd()], 5), TypeError, "trainers[0] must be a Trainer or a Curriculum, got"),
    (lambda: l2l.train_together([trainer()] * 2, 5), ValueError, "trainers must be different ones"),
    (lambda: l2l.train_together([trainer()], [5, 5]), ValueError, "meta_iterations must be one number, or one for"),
    (lambda: l2l.train_together([trainer()], 0), ValueError, "meta_iterations must be a positive integer, got 0"),
    (lambda: l2l.train_together([trainer()], 5, workers=0), ValueError, "workers must be a positive integer, got 0"),
    (lambda: trainer().run(0), ValueError, "meta_iterations must be a positive integer, got 0"),
    (lambda: trainer().run(1e3), TypeError, "meta_iterations must be a positive integer, got 1000.0"),
    (lambda: l2l.evaluate(l2l.Quadratic(2), {}), ValueError, "optimizers must be a non-empty dict from name to opt"),
    (lambda: l2l.evaluate(l2l.Quadratic(2), l2l.sgd()), ValueError, "optimizers must be a non-empty dict from name"),
    (
        lambda: l2l.evaluate(l2l.Quadratic(2), {"a": 1}),
        TypeError,
        "optimizers['a'] must be an optimizer, a function (gradients, state)",
    ),
    (
        lambda: l2l.evaluate(l2l.Quadratic(2), {"a": trainer()}),
        TypeError,
        "or one from tuned.optimizer, trainer.trained() or l2l.load(path), got <Trainer",
    ),
    (lambda: l2l.trace(l2l.Quadratic(2), {"a": "general"}), TypeError, "or l2l.load(path), got 'general'"),
    (lambda: l2l.evaluate(l2l.Quadratic(2), {"a": l2l.CoordinatewiseLSTM()}), TypeError, "without variables, or what"),
    (
        lambda: l2l.evaluate(l2l.Quadratic, {"a": l2l.sgd()}),
        TypeError,
        "problem must be a Problem, such as Quadratic(2)",
    ),
    (lambda: trainer(problem=l2l.Quadratic), TypeError, "problem must be a Problem, such as Quadratic(2), got"),
    (lambda: l2l.learn(tf.reduce_sum, None, l2l.sgd()), TypeError, "problem must be a Problem, such as Quadratic(2)"),
    (lambda: l2l.plot_convergence({"a": trainer()}), TypeError, "runs['a'] must hold histories or arrays [n], got"),
    (
        lambda: l2l.plot_convergence({"a": np.ones(5)}, targets=-18.4),
        TypeError,
        "targets must be a dict from name to log av",
    ),
    (
        lambda: l2l.plot_convergence({"a": np.ones(5)}, targets={"b": [1.0]}),
        TypeError,
        "targets['b'] must be a number, the log average, got [1.0]",
    ),
    (
        lambda: l2l.plot_convergence({"a": np.ones(5)}, targets={"b": "-18.4"}),
        TypeError,
        "targets['b'] must be a number, the log average, got '-18.4'",
    ),
    (lambda: l2l.evaluate(l2l.Quadratic(2), {"a": l2l.sgd()}, draws=0), ValueError, "draws must be a positive integer"),
    (lambda: l2l.evaluate(l2l.Quadratic(2), {"a": l2l.sgd()}, seed=-1), ValueError, "seed must be an integer from 0"),
    (lambda: evaluate(steps=2.0), TypeError, "steps must be a positive integer, got 2.0"),
    (lambda: evaluate(engine="xla_or_graph"), ValueError, "engine must be one of graph, xla, got 'xla_or_graph'"),
    (lambda: evaluate(at=[20]), ValueError, "at must hold integers from 0 to 19, got 20"),
    (lambda: evaluate(at=[-1]), ValueError, "at must hold integers from 0 to 19, got -1"),
    (lambda: evaluate(at=range(0, 30, 10), steps=20), ValueError, "at must hold integers from 0 to 19, got 20"),
    (lambda: evaluate(at=[]), ValueError, "at must name at least one base iteration, got []"),
    (lambda: evaluate(at=[1.0]), TypeError, "at must be a sequence of integers from 0 to 19, got [1.0]"),
    (lambda: evaluate(at=[True]), TypeError, "at must be a sequence of integers from 0 to 19, got [True]"),
    (lambda: evaluate(at=5), TypeError, "at must be a sequence of integers from 0 to 19, got 5"),
    (lambda: evaluate(at="12"), TypeError, "at must be a sequence of integers from 0 to 19, got '12'"),
    (
        lambda: evaluate(problem=Unbatched(2)),
        ValueError,
        "batch_loss of Unbatched must return a loss for each draw (shape (16,)), got shape ()",
    ),
    (
        lambda: evaluate(optimizers={"a": forgetful}, draws=2, engine="graph"),
        ValueError,
        "optimizer's state must keep its structure, shapes and dtypes",
    ),
    (
        lambda: evaluate(optimizers={"a": growing_list}, draws=2),
        ValueError,
        "optimizer's state must keep its structure, shapes and dtypes",
    ),
    (
        lambda: evaluate(optimizers={"a": update_alone}, draws=2),
        TypeError,
        "optimizer must return a pair (update, state), got <tf.Tensor",
    ),
    (
        lambda: evaluate(problem=PastTheEnd(2), draws=2, steps=11),
        ValueError,
        "observe and loss of PastTheEnd must be computable from the first base iteration to the last, 10: ",
    ),
    (
        lambda: trainer(problem=PastTheEnd(2), unroll_length=4, horizon=12),
        ValueError,
        "observe and loss of PastTheEnd must be computable from the first base iteration to the last, 11: ",
    ),
    (
        lambda: trainer(build_optimizer=lambda: l2l.CoordinatewiseLSTM),
        TypeError,
        "build_optimizer must create an optimizer, it returned the class",
    ),
    (
        lambda: with_casting(RemembersTwo()),
        TypeError,
        "remember of RemembersTwo must take the arguments (self, gradients, memory, updates), got (self, gradients, m",
    ),
    (
        lambda: with_casting(AdaptsNothing()),
        ValueError,
        "adapt of AdaptsNothing must return a tuple of as many scalars as there are adapted values, 1, got ()",
    ),
    (
        lambda: with_casting(AdaptsATensor()),
        ValueError,
        "adapt of AdaptsATensor must return a tuple of as many scalars as there are adapted values, 1, got <tf.Tensor",
    ),
    (
        lambda: with_casting(AdaptsVectors()),
        ValueError,
        "adapt of AdaptsVectors must return a tuple of as many scalars as there are adapted values, 1, got (<tf.Tensor",
    ),
    (
        lambda: trainer(problem=OfDoubles()),
        TypeError,
        "loss of OfDoubles failed, perhaps since its data have dtype float64 and x has float32 (data.astype",
    ),
    (
        lambda: evaluate(problem=OfDoubles(), engine="graph"),
        TypeError,
        "loss of OfDoubles failed, perhaps since its data have dtype float64 and x has float32 (data.astype",
    ),
    (
        lambda: l2l.format_table([{"a": 1}, {"b": None}], {"a": "d", "B": ""}),
        ValueError,
        "columns must be keys of the rows (a, b), got 'B'",
    ),
    (lambda: quickly_evaluated().ranking(window=0), ValueError, "window must be a positive integer, got 0"),
    (lambda: quickly_evaluated().ranking(window=1.0), TypeError, "window must be a positive integer, got 1.0"),
    (
        lambda: quickly_evaluated().ranking(window=3),
        ValueError,
        "window must be at most the 2 places of the losses",
    ),
    (lambda: l2l.rolling_log_average([1.0], 0), ValueError, "window must be a positive integer, got 0"),
    (lambda: l2l.rolling_log_average([[1.0]], 5), ValueError, "values must have one dimension, got shape (1, 1)"),
    (lambda: l2l.History().log_average(5, at=3), ValueError, "at must not exceed the 0 meta-iterations of the history"),
    (
        lambda: l2l.plot_losses([1, 2]),
        ValueError,
        "losses must be an Evaluation, or a non-empty dict from name to array",
    ),
    (lambda: l2l.plot_losses({"a": np.ones(5)}), ValueError, "losses['a'] must have shape [draws, steps], got (5,)"),
    (lambda: l2l.plot_losses({"a": np.ones([2, 5])}), ValueError, "draws must be at most the 2 draws of losses, got 3"),
    (
        lambda: l2l.plot_convergence({}),
        ValueError,
        "runs must be a non-empty dict from name to History or array [n], got {}",
    ),
    (lambda: l2l.plot_convergence([]), ValueError, "runs must be a non-empty dict from name to History or array"),
    (lambda: l2l.plot_convergence({"a": np.ones([2, 5])}), ValueError, "runs['a'] must hold histories or arrays [n]"),
    (lambda: l2l.plot_convergence({"a": np.ones(5)}, window=0), ValueError, "window must be a positive integer, got 0"),
]


@pytest.mark.parametrize("call, error, message", BAD_CALLS, ids=[message for _, _, message in BAD_CALLS])
def test_refused(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    assert message in str(caught.value)
