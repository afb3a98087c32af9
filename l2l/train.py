"""The trainer: it owns one graph, one session, one learned optimizer and one history."""

import time

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from l2l import _checks
from l2l.engines import ENGINES
from l2l.history import History, log_average
from l2l.interrupt import delayed_interrupt
from l2l.meta import get_meta_loss, meta_step
from l2l.networks import Trained
from l2l.problems import sample
from l2l.session import single_thread_session

# Problems are drawn this many at a time. Part of what a seed means: draw `i` of a run is
# number `i % DRAWS_PER_BLOCK` of block `i // DRAWS_PER_BLOCK`.
DRAWS_PER_BLOCK = 1000

# The progress line is refreshed after so many meta-iterations, and averages over so many.
PROGRESS_EVERY = 100
PROGRESS_WINDOW = 2000


class Trainer:
    """Trains a learned optimizer on fresh draws of a problem.

    A trainer has a graph and a session of its own: trainers live side by side, each keeps its
    weights, and none slows another. The same arguments give bit-identical histories and
    weights on the same machine.

    Args:
      problem: a `Problem`.
      build_optimizer: function without arguments that creates the learned optimizer, a callable
        `(gradients, state) -> (update, state)` with trainable variables, in the trainer's graph.
        `CoordinatewiseLSTM` is one; `lambda: CoordinatewiseLSTM(casting="log")` another.
      meta_loss: "sum", "end", "end_log", "sum_log", or a function of the losses `[T]` to a scalar.
      steps: `T`, base iterations of an unroll; a positive integer.
      learning_rate: of Adam, whose other parameters are TensorFlow's defaults.
      clip_norm: the meta-gradient's global norm is clipped at this.
      second_derivatives: False stops meta-gradients from flowing through the optimizee's gradients.
      batch: the meta-loss is averaged over so many draws in each meta-iteration. Above 1, the
        problem's loss must keep a leading axis of draws, and a meta-loss of your own the last
        axis of the losses `[T, B]`.
      engine: "xla" compiles the meta-iterations, some thousand to a call; "graph" runs them op by op in the
        session, about ten times slower. Both see the same draws and the same initial weights.
      weights_seed: integer that fixes the initial weights.
      draws_seed: integer that fixes the problems drawn.
      name: for the progress display and the history.

    Attributes:
      history: a `History`, all meta-iterations so far.

    Raises:
      TypeError, ValueError: an argument out of range, an optimizer without variables, and all
        that `meta_step` raises.
    """

    def __init__(
        self,
        problem,
        build_optimizer,
        meta_loss="sum",
        steps=20,
        learning_rate=3e-4,
        clip_norm=1.0,
        second_derivatives=True,
        batch=1,
        engine="xla",
        weights_seed=0,
        draws_seed=0,
        name="training",
    ):
        _checks.problem("problem", problem)
        steps = _checks.positive_integer("steps", steps)
        batch = _checks.positive_integer("batch", batch)
        learning_rate = _checks.positive_number("learning_rate", learning_rate)
        weights_seed = _checks.seed("weights_seed", weights_seed)
        self._draws_seed = _checks.seed("draws_seed", draws_seed)
        self._build_optimizer = _checks.function_without_arguments("build_optimizer", build_optimizer)
        get_meta_loss(meta_loss)
        build_engine = ENGINES[_checks.one_of("engine", engine, ENGINES)]
        self._session = None
        self._block_number = None

        graph = tf.Graph()
        with graph.as_default():
            # First of all in the graph: initial weights then depend on the seed alone, since
            # TensorFlow derives an op's seed from its place in the graph.
            tf.set_random_seed(weights_seed)
            with tf.variable_scope(tf.get_variable_scope(), use_resource=True):  # XLA knows no other variables
                optimizer = _checks.function("build_optimizer's result", build_optimizer())
            self._variables = tf.trainable_variables()
            if not self._variables:
                raise ValueError(
                    "build_optimizer must create trainable variables when called, %r created none" % (build_optimizer,)
                )
            self._block_seed = tf.placeholder(tf.int64, [], name="block_seed")
            self._block = sample(problem, DRAWS_PER_BLOCK * batch, self._block_seed)
            if batch > 1:
                self._block = tf.nest.map_structure(
                    lambda many: tf.reshape(many, [DRAWS_PER_BLOCK, batch, *many.shape[1:].as_list()]), self._block
                )
            adam = tf.train.AdamOptimizer(learning_rate)

            def one_meta_step(draw, loop):
                return meta_step(
                    problem,
                    draw,
                    optimizer,
                    self._variables,
                    adam,
                    meta_loss,
                    steps,
                    clip_norm,
                    second_derivatives,
                    loop,
                    batch if batch > 1 else None,
                )

            self._prepare = build_engine(one_meta_step, self._block)
            initialize = tf.global_variables_initializer()
        graph.finalize()
        self._session = single_thread_session(graph)
        self._session.run(initialize)
        self._run_meta_steps = None
        # Between two calls of an engine, Ctrl-C can stop a run.
        self._most_per_call = DRAWS_PER_BLOCK if engine == "xla" else 1
        self.history = History(
            {
                "name": str(name),
                "problem": type(problem).__name__,
                "casting": getattr(getattr(optimizer, "casting", None), "name", None),
                "meta_loss": meta_loss if isinstance(meta_loss, str) else getattr(meta_loss, "__name__", "custom"),
                "steps": steps,
                "learning_rate": learning_rate,
                "clip_norm": float(clip_norm),
                "second_derivatives": bool(second_derivatives),
                "batch": batch,
                "engine": engine,
                "weights_seed": weights_seed,
                "draws_seed": self._draws_seed,
            }
        )

    def run(self, meta_iterations):
        """Trains for so many meta-iterations more; called again, it goes on where it stopped.

        Shows progress, time left and the running log average on standard error. Ctrl-C lets the
        engine's current call finish, up to a thousand meta-iterations with "xla", keeps all that
        was computed, and then raises `KeyboardInterrupt`; `run` can be called again. A second
        Ctrl-C does not wait.

        Args:
          meta_iterations: a positive integer.

        Returns:
          The history, of all meta-iterations so far.

        Raises:
          TypeError, ValueError: `meta_iterations` is not a positive integer.
          ValueError: the trainer is closed, or XLA cannot compile the problem, the optimizer or the
            meta-loss, which shows at the first run.
        """
        meta_iterations = _checks.positive_integer("meta_iterations", meta_iterations)
        self._check_open()
        progress = tqdm(total=meta_iterations, desc=self.history.config["name"], unit="it", mininterval=0.5)

        def report(finished, average):
            progress.set_postfix_str("log average %.2f" % average, refresh=False)
            progress.update(finished)

        with progress, delayed_interrupt() as interrupted:
            done = self._run(meta_iterations, report, interrupted)
        if interrupted.is_set():
            raise KeyboardInterrupt("stopped after %d of %d meta-iterations, all kept" % (done, meta_iterations))
        return self.history

    def _run(self, meta_iterations, report, interrupted):
        """Trains until done or interrupted, and keeps all that was computed; returns how many meta-iterations.

        `report(finished, log average)` is called now and then, `finished` being how many since the last call.
        """
        if self._run_meta_steps is None:
            self._run_meta_steps = self._prepare(self._session)  # here, so that trainings side by side also compile so
        rows = np.zeros([meta_iterations, len(History.COLUMNS)])
        done = reported = 0
        try:
            while done < meta_iterations and not interrupted.is_set():
                start = time.perf_counter()
                arrays, place = self._draws(len(self.history) + done)
                number = min(self._most_per_call, DRAWS_PER_BLOCK - place, meta_iterations - done)
                rows[done : done + number, :3] = self._run_meta_steps(arrays, place, place + number)
                rows[done : done + number, 3] = (time.perf_counter() - start) / number
                done += number
                if done - reported >= PROGRESS_EVERY or done == meta_iterations:
                    report(done - reported, log_average(rows[max(0, done - PROGRESS_WINDOW) : done, 1]))
                    reported = done
        finally:
            self.history.append(rows[:done])
        return done

    def weights(self):
        """The weights now: a list of arrays, in the order in which the variables were created.

        Raises:
          ValueError: the trainer is closed.
        """
        self._check_open()
        return self._session.run(self._variables)

    def trained(self):
        """The optimizer with its weights now, a `Trained`, for `evaluate`. Training on does not change it.

        Raises:
          ValueError: the trainer is closed.
        """
        return Trained(self._build_optimizer, self.weights())

    def close(self):
        """Frees the session. The history stays."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _check_open(self):
        if self._session is None:
            raise ValueError("trainer %r is closed; create a new one" % self.history.config["name"])

    def _draws(self, index):
        """The block that holds draw number `index` of the run, a flat list of arrays, and its place there."""
        block, place = divmod(index, DRAWS_PER_BLOCK)
        if block != self._block_number:
            seed = (self._draws_seed << 32) | block
            arrays = self._session.run(tf.nest.flatten(self._block), {self._block_seed: seed})
            self._block_arrays, self._block_number = arrays, block
        return self._block_arrays, place
