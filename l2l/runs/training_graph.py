"""One training in TensorFlow: a graph, a session, the learned optimizer's variables and the meta-optimizer's."""

import functools
from collections import OrderedDict

import numpy as np
import tensorflow.compat.v1 as tf

from l2l.graphs import OwnGraph, data_as_variables, load_variables
from l2l.learning.engines import At, engine_for
from l2l.learning.meta_iteration import MetaIterations
from l2l.learning.updates import MetaOptimizer
from l2l.optimizers.first_call import create, in_json
from l2l.optimizers.trained import names_of
from l2l.problems.binding import position_specs
from l2l.problems.examining import examined
from l2l.problems.problem import sample

# Problems are drawn this many at a time. Part of what a seed means: draw `i` of a run is
# number `i % DRAWS_PER_BLOCK` of block `i // DRAWS_PER_BLOCK`.
DRAWS_PER_BLOCK = 1000


class TrainingGraph:
    """The graph and the session of a training, initialized; nothing is compiled yet.

    Args:
      recipe: a `Recipe`.

    Attributes:
      graph: the `tf.Graph`.
      optimizer: the learned optimizer, an `Optimizer`.
      variables: names of the variables that are trained, without scopes.
      position: structure, in JSON types, of the position that the optimizer was first called with; None if building the
        optimizer created its variables.
      draws: dtype and shape of each tensor of a draw, a list of pairs of JSON types.
      draw_by_draw: whether a batch is written into the graph draw by draw; see `l2l.mapping`.
    """

    def __init__(self, recipe):
        problem, build_optimizer, settings, engine, start = recipe
        self._word = "compiling" if engine == "xla" else "starting"
        self._draws_seed, self._block_number, self._run = settings.draws_seed, None, None
        batch = settings.batch
        self._own = OwnGraph()
        with self._own.building() as graph:
            # First of all in the graph: initial weights then depend on the seed alone, since
            # TensorFlow derives an op's seed from its place in the graph.
            tf.set_random_seed(settings.weights_seed)
            created = create(build_optimizer, functools.partial(position_specs, problem), "build_optimizer")
            self.optimizer, self._weights = created.optimizer, created.optimizer.variables
            if not self._weights:
                raise ValueError(
                    "build_optimizer must create trainable variables when called, or an optimizer that does so when it "
                    "is called first; %r created none" % (build_optimizer,)
                )
            dtypes = sorted({variable.dtype.base_dtype.name for variable in self._weights})
            if len(dtypes) != 1:
                raise ValueError(
                    "build_optimizer must create trainable variables of one dtype, got %s; trainable=False is for "
                    "what no gradient trains" % " and ".join(dtypes)
                )
            self.position = None if created.position is None else in_json(created.position)
            self.variables = names_of(self._weights)
            if start:
                self._own.load_with(start.loader(self.optimizer, "build_optimizer"))
            at_once = batch // settings.threads
            seeds = self._seed_of(0), self._seed_of(1)
            self.draw_by_draw = examined(
                problem,
                at_once,
                seeds,
                settings.horizon,
                lambda coordinates: at_once,
                second_derivatives=settings.second_derivatives,
            ).draw_by_draw
            self._own.load_with(data_as_variables(problem))
            self._block_seed = tf.placeholder(tf.int64, [], name="block_seed")
            self._block = sample(problem, DRAWS_PER_BLOCK * batch, self._block_seed)
            if batch > 1:
                self._block = tf.nest.map_structure(
                    lambda many: tf.reshape(many, [DRAWS_PER_BLOCK, batch, *many.shape[1:].as_list()]), self._block
                )
            self.draws = [[many.dtype.name, many.shape.as_list()[1:]] for many in tf.nest.flatten(self._block)]
            meta_optimizer = MetaOptimizer(settings)
            with tf.name_scope("first_draw"):
                first = tf.nest.map_structure(lambda many: many[0], self._block)
            meta_iterations = MetaIterations(
                problem, self.optimizer, self._weights, meta_optimizer, settings, first, draw_by_draw=self.draw_by_draw
            )
            self._prepare = engine_for(engine, settings)(meta_iterations, self._block)
            self._variables = OrderedDict((variable.op.name, variable) for variable in tf.global_variables())
        self.graph, self._session = graph, self._own.start(settings.threads)
        graph.finalize()
        self._number, self._failed = 0, None  # of the draw
        self._age = 0  # base iterations that it has lived
        self._carried = [np.zeros(t.shape.as_list(), t.dtype.as_numpy_dtype) for t in meta_iterations.start.carried]

    def to_prepare(self):
        """Says what `prepare` will do, in a word or two; None for nothing."""
        return self._word if self._run is None else None

    def prepare(self):
        """Compiles, if that is still to be done. Call it before `run`; it may be called again.

        Raises:
          CannotCompileError: XLA cannot compile the problem, the optimizer, the meta-loss or the meta-optimizer.
        """
        if self._run is None:
            self._run = self._prepare(self._session)

    def run(self, most):
        """Runs up to `most` meta-iterations: an array `[n, 3]` of meta-loss, last loss and gradient norm.

        A meta-iteration with a NaN or an infinity is the last one of a call; the next call begins with a new draw.
        """
        block, place = divmod(self._number, DRAWS_PER_BLOCK)
        rows, at = self._run(self._draws_of(block), At(place, self._age, self._carried), most)
        self._number, self._age, self._carried = block * DRAWS_PER_BLOCK + at.place, at.age, at.carried
        if not np.isfinite(rows[-1]).all():
            self._failed = self._number, at
            self._number, self._age = self._number + 1, 0
        return rows

    def _seed_of(self, block):
        return (self._draws_seed << 32) | block

    def _draws_of(self, block):
        if block != self._block_number:
            feed = {self._block_seed: self._seed_of(block)}
            self._block_arrays = self._session.run(tf.nest.flatten(self._block), feed)
            self._block_number = block
        return self._block_arrays

    def failure(self):
        """Returns the start of the last call's last meta-iteration, if that has a NaN or an infinity: a dict of arrays.

        `draw/i` is the draw, and `age` how many base iterations it had lived. The others are as in `snapshot`. The
        weights are the current ones, since that meta-iteration did not change them.
        """
        number, at = self._failed
        block, place = divmod(number, DRAWS_PER_BLOCK)
        arrays = {"draw/%d" % i: array[place] for i, array in enumerate(self._draws_of(block))}
        arrays.update({"carried/%d" % i: array for i, array in enumerate(at.carried)})
        return {**arrays, **self._variables_now(), "age": np.array(at.age)}

    def _variables_now(self):
        return {"variables/" + name: value for name, value in self._session.run(self._variables).items()}

    def weights(self):
        """The weights now, a list of arrays in the order in which they were created."""
        return self._session.run(self._weights)

    def adapted(self):
        """What the optimizer adapts, as it is now, a list of arrays."""
        return self._session.run(self.optimizer.adapted)

    def snapshot(self):
        """Returns all that the training needs to continue from here, a dict from name to array.

        `variables/NAME` are weights, the meta-optimizer's state and every other variable; `place` is the number of the
        draw and the base iterations that it has lived; `carried/i` are position and state.
        """
        arrays = self._variables_now()
        arrays["place"] = np.array([self._number, self._age], np.int64)
        arrays.update({"carried/%d" % i: array for i, array in enumerate(self._carried)})
        return arrays

    def load(self, snapshot):
        """Continues from a snapshot of a training with the same settings."""
        values = [snapshot["variables/" + name] for name in self._variables]
        load_variables(self._session, self._variables.values(), values)
        self._number, self._age = snapshot["place"].tolist()
        self._carried = [snapshot["carried/%d" % i] for i in range(len(self._carried))]

    def loader(self, trained, name):
        """Function without arguments that gives the optimizer the weights of a `Trained`.

        Raises:
          ValueError: they do not fit, see `Trained.loader`.
        """
        load = trained.loader(self.optimizer, name)
        return lambda: load(self._session)

    def close(self):
        self._own.close()
