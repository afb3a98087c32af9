"""One training in TensorFlow: a graph, a session, the learned optimizer's variables and Adam's."""

from collections import OrderedDict

import tensorflow as tf

from l2l import _checks
from l2l.engines import ENGINES
from l2l.meta import meta_step
from l2l.problems import sample
from l2l.session import session_with_threads

# Problems are drawn this many at a time. Part of what a seed means: draw `i` of a run is
# number `i % DRAWS_PER_BLOCK` of block `i // DRAWS_PER_BLOCK`.
DRAWS_PER_BLOCK = 1000


class TrainingGraph:
    """The graph and the session of a trainer, initialized; nothing is compiled yet.

    Args:
      engine: "xla" or "graph".
      The others are those of `Trainer`, checked.

    Attributes:
      optimizer: the learned optimizer.
      draws: dtype and shape of each tensor of a draw, a list of pairs of JSON types.
    """

    def __init__(
        self,
        problem,
        build_optimizer,
        meta_loss,
        learning_rate,
        batch,
        weights_seed,
        draws_seed,
        engine,
        threads,
        **more,
    ):
        self._draws_seed, self._block_number, self._run = draws_seed, None, None
        with tf.Graph().as_default() as graph:
            # First of all in the graph: initial weights then depend on the seed alone, since
            # TensorFlow derives an op's seed from its place in the graph.
            tf.set_random_seed(weights_seed)
            with tf.variable_scope(tf.get_variable_scope(), use_resource=True):  # XLA knows no other variables
                self.optimizer = _checks.function("build_optimizer's result", build_optimizer())
            self._weights = tf.trainable_variables()
            if not self._weights:
                raise ValueError(
                    "build_optimizer must create trainable variables when called, %r created none" % (build_optimizer,)
                )
            self._block_seed = tf.placeholder(tf.int64, [], name="block_seed")
            self._block = sample(problem, DRAWS_PER_BLOCK * batch, self._block_seed)
            if batch > 1:
                self._block = tf.nest.map_structure(
                    lambda many: tf.reshape(many, [DRAWS_PER_BLOCK, batch, *many.shape[1:].as_list()]), self._block
                )
            self.draws = [[many.dtype.name, many.shape.as_list()[1:]] for many in tf.nest.flatten(self._block)]
            adam = tf.train.AdamOptimizer(learning_rate)

            def one_meta_step(draw, loop, **shards):
                return meta_step(
                    problem,
                    draw,
                    self.optimizer,
                    self._weights,
                    adam,
                    meta_loss,
                    loop=loop,
                    batch=batch if batch > 1 else None,
                    **more,
                    **shards,
                )

            self._prepare = ENGINES[engine](one_meta_step, self._block, threads)
            self._variables = OrderedDict((variable.op.name, variable) for variable in tf.global_variables())
            initialize = tf.global_variables_initializer()
        graph.finalize()
        self._session = session_with_threads(graph, threads)
        self._session.run(initialize)

    def prepare(self):
        """Compiles, if there is something to compile; to be called before `run`, and may be again.

        Raises:
          CannotCompileError: XLA cannot compile the problem, the optimizer or the meta-loss.
        """
        if self._run is None:
            self._run = self._prepare(self._session)

    def run(self, index, most):
        """Trains on draw number `index` of the run and on up to `most - 1` after it; what an engine's `run` returns."""
        arrays, place = self.block_with(index)
        return self._run(arrays, place, min(place + most, DRAWS_PER_BLOCK))

    def block_with(self, index):
        """The block that holds draw number `index` of the run, a flat list of arrays, and its place there."""
        block, place = divmod(index, DRAWS_PER_BLOCK)
        if block != self._block_number:
            seed = (self._draws_seed << 32) | block
            self._block_arrays = self._session.run(tf.nest.flatten(self._block), {self._block_seed: seed})
            self._block_number = block
        return self._block_arrays, place

    def weights(self):
        """The weights now, a list of arrays in the order in which they were created."""
        return self._session.run(self._weights)

    def variables(self):
        """Weights, Adam's state and every other variable now: a dict from name to array."""
        return self._session.run(self._variables)

    def load(self, variables):
        """Sets all variables."""
        for name, variable in self._variables.items():
            variable.load(variables[name], self._session)

    def close(self):
        self._session.close()
