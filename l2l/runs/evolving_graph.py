"""A training by evolution strategies: a small graph with the weights, and one for each problem that runs them."""

import concurrent.futures
import functools
from collections import OrderedDict, namedtuple

import numpy as np
import tensorflow.compat.v1 as tf

from l2l.graphs import OwnGraph, load_variables
from l2l.learning.evolution import choices, differences, estimated, unit_noise
from l2l.learning.meta_losses import check_depends_on_losses, floored_log, meta_loss_of
from l2l.learning.segments import MetaGradient
from l2l.learning.updates import MetaOptimizer, update
from l2l.optimizers.first_call import create, in_json
from l2l.optimizers.trained import names_of
from l2l.problems.binding import position_specs
from l2l.problems.problem import sample
from l2l.runs.members import TURNS, Members
from l2l.runs.pair_workers import PairWorkers


class EvolvingGraph:
    """The counterpart of `TrainingGraph` for a training with an estimator: same attributes and methods.

    Each problem has its own graph and session, built and compiled when it is first drawn. All random choices of a
    meta-iteration follow from the seed and its number: the problem, the horizon, the directions and the draws.

    Args:
      recipe: a `Recipe` whose settings have an estimator.
      client: a `distributed.Client`, or the address of a scheduler, whose workers compute the members; None for this
        process.
    """

    def __init__(self, recipe, *, client):
        self._recipe, self._members, self._number = recipe, {}, 0
        settings = recipe.settings
        self._problems, self._estimator = recipe.problems, settings.estimator
        first = next(iter(self._problems.values()))
        self._own, self.draw_by_draw = OwnGraph(), None  # there are no batches
        with self._own.building() as graph:
            tf.set_random_seed(settings.weights_seed)  # first of all, as in a `TrainingGraph`
            created = create(recipe.build_optimizer, functools.partial(position_specs, first), "build_optimizer")
            self.optimizer, self._weights = created.optimizer, created.optimizer.variables
            if not self._weights or any(one.dtype.base_dtype != tf.float32 for one in self._weights):
                raise ValueError(
                    "build_optimizer must create trainable variables of float32 for an estimator, %r created %s"
                    % (recipe.build_optimizer, [one.dtype.base_dtype.name for one in self._weights] or "none")
                )
            self.position = None if created.position is None else in_json(created.position)
            self.variables = names_of(self._weights)
            if recipe.start:
                self._own.load_with(recipe.start.loader(self.optimizer, "build_optimizer"))
            draws = {name: tf.nest.flatten(sample(one, 1, 0)) for name, one in self._problems.items()}
            self.draws = [[[t.dtype.name, t.shape.as_list()[1:]] for t in many] for many in draws.values()]
            self._build_meta_loss(settings)
            self._build_update(settings)
            self._variables = OrderedDict((variable.op.name, variable) for variable in tf.global_variables())
        self.graph, self._session = graph, self._own.start(settings.threads)
        graph.finalize()
        self._figures = self._session.make_callable(*self._figures)
        self._update = self._session.make_callable(*self._update)
        self._shapes = [variable.shape.as_list() for variable in self._weights]
        self._pool = concurrent.futures.ThreadPoolExecutor(settings.threads)
        self._of_members = {
            "build_optimizer": recipe.build_optimizer,
            "engine": recipe.engine,
            "pairs": self._estimator.pairs,
            "turns": settings.unroll_length if self._estimator.persistent else TURNS,
        }
        self._workers = None
        # With persistent strategies: the pairs of each problem, which live on.
        self._pairs = {}
        try:
            if self._estimator.persistent:
                self._pairs = {name: self._begun(name, range(self._estimator.pairs)) for name in self._problems}
            if client is not None:
                self._workers = PairWorkers(client, self._problems, self._of_members, self._estimator.persistent)
        except BaseException:
            self.close()
            raise

    def _build_meta_loss(self, settings):
        """Meta-loss and logarithm of the last loss of one member."""
        losses = tf.placeholder(tf.float32, [None], name="losses")
        value = meta_loss_of(settings.meta_loss, losses)
        # The only loss of a segment has seen updates too, where persistent strategies carry it on.
        check_depends_on_losses(settings.meta_loss, value, losses, max(2, settings.unroll_length))
        self._figures = [value, floored_log(losses[-1])], [losses]

    def _build_update(self, settings):
        gradients = [tf.placeholder(tf.float32, one.shape) for one in self._weights]
        value, last = tf.placeholder(tf.float32, []), tf.placeholder(tf.float32, [])
        meta = MetaGradient(value, value, last, gradients, None, None, [])
        done = update(meta, self._weights, MetaOptimizer(settings), clip_norm=settings.clip_norm)
        with tf.control_dependencies([done.applied]):
            norm = tf.identity(done.gradient_norm)
        self._update = norm, [value, last, *gradients]

    def _chosen(self):
        """`(name of the problem, horizon)` of the next meta-iteration."""
        random = choices(self._recipe.settings.draws_seed, self._number)
        names = list(self._problems)
        return names[random.randint(len(names))], self._recipe.settings.horizon_of(self._number, random)

    def _members_of(self, name):
        if name not in self._members:
            threads = self._recipe.settings.threads
            self._members[name] = Members(self._problems[name], threads=threads, **self._of_members)
        return self._members[name]

    def to_prepare(self):
        """What `prepare` will do, in a word or two, None for nothing."""
        name, _ = self._chosen()
        if self._is_ready(name):
            return None
        word = "building and compiling" if self._recipe.engine == "xla" else "building"
        return word + (" %s" % name if len(self._problems) > 1 else "")

    def prepare(self):
        """Builds and compiles what the next meta-iteration needs.

        Raises:
          CannotCompileError: XLA cannot compile the problem or the optimizer.
          WorkersError: workers cannot build it.
        """
        name, _ = self._chosen()
        if not self._is_ready(name):
            self._members_of(name).prepare() if self._workers is None else self._workers.prepare(name)

    def _is_ready(self, name):
        if self._workers is not None:
            return self._workers.is_ready(name)
        return name in self._members and self._members[name].is_ready

    def run(self, most):
        """Runs one meta-iteration, whatever `most` is.

        Meta-loss and last loss are means over the members that did not diverge; that of last losses is one of
        logarithms.

        Returns:
          An array `[1, 6]`: meta-loss, last loss, gradient norm, problem, horizon, diverged.
        """
        name, horizon = self._chosen()
        estimator, settings = self._estimator, self._recipe.settings
        directions = unit_noise(settings.draws_seed, self._number, estimator.pairs, self._shapes)
        weights, members = self.weights(), self._members_of(name)
        pairs = self._pairs[name] if estimator.persistent else self._begun(name, range(estimator.pairs))

        def task(i, sign):
            pair, factor = pairs[i], np.float32((estimator.sigma, -estimator.sigma)[sign])
            return {
                "weights": [value + factor * one[i] for value, one in zip(weights, directions)],
                "draw": pair.draw,
                "carried": pair.carried[sign],
                "first": pair.age,
                "steps": settings.unroll_length if estimator.persistent else pair.horizon,
                "horizon": pair.horizon,
            }

        tasks = [task(i, sign) for i in range(estimator.pairs) for sign in (0, 1)]
        if self._workers is None:
            results = list(self._pool.map(lambda one: members.run(**one), tasks))
        else:
            results = self._workers.run(name, tasks)
        figures = list(self._pool.map(self._figures_of, [losses for losses, _ in results]))
        ends, lasts = np.transpose(figures).reshape([2, estimator.pairs, 2])
        found, diverged = differences(ends.T, estimator.clip)
        if estimator.persistent:
            for i, pair in enumerate(pairs):
                sums = [before + one[i] for before, one in zip(pair.sums, directions)]
                pairs[i] = pair._replace(carried=[results[2 * i + sign][1] for sign in (0, 1)], sums=sums)
            directions = [np.stack(many) for many in zip(*[pair.sums for pair in pairs])]
        gradients = estimated(found, directions, estimator.sigma)
        value, last = (_mean(figures) for figures in (ends, lasts))
        last = np.exp(last)
        norm = self._update(value, last, *gradients)
        self._number += 1
        if estimator.persistent:
            ages = [pair.age + settings.unroll_length for pair in pairs]
            over = [i for i, age in enumerate(ages) if age >= pairs[i].horizon or not np.isfinite(ends[i]).all()]
            anew = dict(zip(over, self._begun(name, over))) if over else {}
            self._pairs[name] = [anew.get(i, pair._replace(age=ages[i])) for i, pair in enumerate(pairs)]
        return np.array([[value, last, norm, list(self._problems).index(name), horizon, diverged]], np.float64)

    def _figures_of(self, losses):
        """Meta-loss and logarithm of the last loss of one member; NaN of one that diverged."""
        return np.asarray(self._figures(losses) if np.isfinite(losses).all() else [np.nan, np.nan], np.float64)

    def _begun(self, name, which):
        """Returns new pairs with these numbers, a list; draws and horizons are those of the next meta-iteration."""
        draws, (_, horizon) = self._members_of(name).draws(self._seed_of(self._number)), self._chosen()
        sums = [np.zeros(shape, np.float32) for shape in self._shapes]
        return [_Pair(self._number, draws[i], horizon, 0, [None, None], sums) for i in which]

    def _seed_of(self, number):
        return (self._recipe.settings.draws_seed << 32) | number

    def weights(self):
        """The weights now, a list of arrays in the order in which they were created."""
        return self._session.run(self._weights)

    def adapted(self):
        """What the optimizer adapts: nothing."""
        return []

    def snapshot(self):
        """Returns all that the training needs to continue from here, a dict from name to array.

        `variables/NAME` are as for a `TrainingGraph`; `place` holds the number of the next meta-iteration. With
        persistent strategies, `pairs/I/...` is the state of the pairs of problem number `I`. Its `places` `[P, 3]` are
        the meta-iteration in which each pair began, its age and its horizon.
        """
        arrays = {"variables/" + name: value for name, value in self._session.run(self._variables).items()}
        arrays["place"] = np.array([self._number, 0], np.int64)
        weights = self.weights()
        for i, (name, pairs) in enumerate(self._pairs.items()):
            members, prefix = self._members_of(name), "pairs/%d/" % i
            # A pair that has not begun carries nothing yet; the file has arrays of the same shapes for it.
            begun = [members.begun(weights, one.draw, one.horizon) if one.age == 0 else None for one in pairs]
            arrays[prefix + "places"] = np.array([[one.number, one.age, one.horizon] for one in pairs], np.int64)
            for j, many in enumerate(zip(*[one.sums for one in pairs])):
                arrays[prefix + "sums/%d" % j] = np.stack(many)
            for sign in (0, 1):
                carried = [one.carried[sign] if one.age else begun[place] for place, one in enumerate(pairs)]
                for j, many in enumerate(zip(*carried)):
                    arrays[prefix + "carried/%d/%d" % (sign, j)] = np.stack(many)
        return arrays

    def load(self, snapshot):
        """Goes on from a snapshot of a training with the same settings."""
        values = [snapshot["variables/" + name] for name in self._variables]
        load_variables(self._session, self._variables.values(), values)
        self._number = int(snapshot["place"][0])
        for i, (name, pairs) in enumerate(self._pairs.items()):
            prefix = "pairs/%d/" % i

            def part(path, place, prefix=prefix):
                number = sum(key.startswith("%s%s/" % (prefix, path)) for key in snapshot)
                return [snapshot["%s%s/%d" % (prefix, path, j)][place] for j in range(number)]

            for place, (number, age, horizon) in enumerate(snapshot[prefix + "places"].tolist()):
                carried = [part("carried/%d" % sign, place) if age else None for sign in (0, 1)]
                draw = self._members_of(name).draws(self._seed_of(number))[place]
                sums = part("sums", place)
                pairs[place] = _Pair(number, draw, horizon, age, carried, sums)

    def close(self):
        if self._workers is not None:
            self._workers.close()
        self._pool.shutdown()
        for one in [self._own, *self._members.values()]:
            one.close()


_Pair = namedtuple(
    "_Pair",
    [
        "number",  # of the meta-iteration in which it began; it fixes the draw
        "draw",  # a flat list of arrays
        "horizon",
        "age",  # base iterations that it has lived
        "carried",  # position and state of the members with plus and with minus, flat lists of arrays, or None
        "sums",  # of the directions since it began, like the weights
    ],
)


def _mean(figures):
    """The mean of those that are finite; NaN where none is."""
    finite = figures[np.isfinite(figures)]
    return finite.mean() if finite.size else np.nan
