"""Problems made of problems: what is drawn, what the loss is, and what an optimizer sees of it."""

import numpy as np
import pytest
import tensorflow as tf
from other_problems import Nested, Regression
from trainers import assert_close_runs, learned_momentum

import l2l
from l2l.describe import describe
from l2l.problems.binding import BoundProblem

EXAMPLES = l2l.Examples(np.random.RandomState(0).uniform(size=[6, 3]), np.arange(6) % 3)
NETWORK = l2l.MLP(EXAMPLES, (2,), batch_size=4)
HOME = l2l.Quadratic(3, tf.float64)


def losses(problem, optimizer=None, **settings):
    """Of five draws and six base iterations."""
    arguments = {"draws": 5, "steps": 6, "engine": "graph", **settings}
    return l2l.evaluate(problem, {"it": optimizer or l2l.sgd(0.1)}, **arguments)["it"]


def test_scaled_it_starts_with_the_same_loss_and_its_gradients_are_scaled(run):
    problem = l2l.RandomlyScaled(HOME, 2.0)
    draw = problem.draw(1)
    x, within = problem.initial_position(draw), HOME.initial_position(draw["draw"])
    loss, other = problem.loss(x, {"observed": draw["draw"], "scales": draw["scales"]}), HOME.loss(within, draw["draw"])
    gradients, scales = tf.gradients(loss, x)[0], draw["scales"]
    x, within, loss, other, one, two, scales = run(
        [x, within, loss, other, gradients, tf.gradients(other, within)[0], scales]
    )
    np.testing.assert_allclose(scales * x, within)
    np.testing.assert_allclose(loss, other)
    np.testing.assert_allclose(one, scales * two)


def test_scales_are_uniform_in_the_logarithm_and_new_for_each_coordinate(run):
    draws = run(l2l.RandomlyScaled(Nested(), 1.5).sample(2000, 1))
    scales = np.concatenate([one.reshape([2000, -1]) for one in tf.nest.flatten(draws["scales"])], axis=1)
    logs = np.log(scales)
    assert -1.5 <= logs.min() < -1.49 and 1.49 < logs.max() <= 1.5
    assert np.abs(logs.std(axis=0) / (1.5 / np.sqrt(3)) - 1).max() < 0.1
    together = np.concatenate([logs, draws["draw"][:, None]], axis=1)
    assert np.abs(np.corrcoef(together, rowvar=False) - np.eye(6)).max() < 5 / np.sqrt(2000)


def test_a_convex_term_is_added(run):
    """Where the problem's part does not move, the losses differ by those of the term alone."""
    problem = l2l.WithConvexTerm(HOME, 4)
    draw = problem.draw(1)
    x = problem.initial_position(draw)
    observed = problem.observe(draw, tf.constant(0), None)
    loss, term = problem.loss(x, observed), tf.gradients(problem.loss(x, observed), x["z"])[0]
    draw, loss, term, inner = run([draw, loss, term, HOME.loss(x["x"], draw["draw"])])
    np.testing.assert_allclose(loss - inner, np.mean((draw["start"] - draw["target"]) ** 2))
    np.testing.assert_allclose(term, (draw["start"] - draw["target"]) / 2)


def test_the_convex_term_is_drawn_as_stated(run):
    draws = run(l2l.WithConvexTerm(HOME, 2).sample(2000, 1))
    together = np.concatenate([draws["target"], draws["start"], draws["draw"].start], axis=1)
    assert -1 <= together.min() < -0.99 and 0.99 < together.max() <= 1
    assert np.abs(np.corrcoef(together, rowvar=False) - np.eye(7)).max() < 5 / np.sqrt(2000)


@pytest.mark.parametrize("chances, shares", [(None, [1 / 3, 1 / 3, 1 / 3]), ([1, 5, 2], [1 / 8, 5 / 8, 2 / 8])])
def test_a_mixture_is_drawn_as_stated(run, chances, shares):
    problem = l2l.Mixture([HOME, NETWORK, Regression()], chances)
    which = run(problem.sample(4000, 1)["which"])
    found = np.bincount(which, minlength=3) / 4000
    assert np.abs(found - shares).max() < 5 * np.sqrt(0.25 / 4000)
    np.testing.assert_allclose(problem.chances, shares)


def test_the_losses_of_a_mixture_are_those_of_the_problem_that_was_drawn(run):
    mixture = l2l.Mixture([HOME, NETWORK, Regression()])
    draws = mixture.sample(5, -1)  # those of an evaluation with seed 0
    pairs = zip(mixture.problems, draws["draws"])
    alone = [l2l.learn(problem, ones, l2l.sgd(0.1), steps=3, batch=5) for problem, ones in pairs]
    which, alone = run([draws["which"], alone])
    assert len(set(which)) > 1
    np.testing.assert_allclose(losses(mixture, steps=3), [alone[i][:, draw] for draw, i in enumerate(which)], rtol=1e-6)


def test_what_was_not_drawn_has_gradients_of_zero(run):
    problem = l2l.Mixture([HOME, HOME])
    draw = problem.draw(1)
    x = problem.initial_position(draw)
    gradients = tf.gradients(problem.loss(x, problem.observe(draw, 0, None)), list(x))
    which, gradients = run([draw["which"], gradients])
    assert np.all(gradients[which] != 0) and np.all(gradients[1 - which] == 0)


def idle_members(draws):
    """For each draw of `nested_mixture`, which entries of its position, flat, are idle: `[num, 4]`."""
    which, within = draws["which"], draws["draws"][1]["draw"]["draw"]["which"]
    other = which != 1
    return np.stack([which != 0, other | (within != 0), other | (within != 1), other], axis=1)


def nested_mixture():
    inner = l2l.Mixture([l2l.Quadratic(2), l2l.Rosenbrock(3)])
    return l2l.Mixture([l2l.Quadratic(1), l2l.WithConvexTerm(l2l.RandomlyScaled(inner), 2)])


def test_idle_members_stay_at_their_starts(run):
    """Whatever an optimizer makes of a gradient of zero; in an evaluation, in a trace, and in a loop with a state."""

    def drifting(gradients, state):
        return tf.nest.map_structure(lambda one: 0.01 - 0.01 * one, gradients), state

    problem = nested_mixture()
    ends = l2l.evaluate(problem, {"it": drifting}, draws=8, steps=2, engine="graph").positions
    draws = problem.sample(8, -1)
    start, draws = run([BoundProblem(problem, draws, 8).start(), draws])
    pairs = list(zip(tf.nest.flatten(start), tf.nest.flatten(ends["it"])))
    moved = np.stack([(one != other).reshape([8, -1]).any(axis=1) for one, other in pairs], axis=1)
    idle = idle_members(draws)
    assert idle.any(axis=0).all() and not idle.all(axis=0).any()
    np.testing.assert_array_equal(moved, ~idle)
    (trace,) = l2l.trace(problem, {"it": drifting}, draws=8, steps=2).values()
    sizes = [one[0].size for one, _ in pairs]
    still = (trace.positions[:, -1] == trace.positions[:, 0]).astype(int)
    np.testing.assert_array_equal(still, np.repeat(idle, sizes, axis=1))


@pytest.mark.parametrize("casting, batch", [("widening", 1), ("log_ratio", 2)])
def test_idle_members_take_no_part_in_what_is_adapted(casting, batch):
    """A gradient of zero would take `m` by 0.8 a meta-iteration towards -87."""
    trainer = l2l.Trainer(
        l2l.Mixture([l2l.Quadratic(2), l2l.Quadratic(1)]),
        lambda: l2l.CoordinatewiseLSTM((2,), casting),
        unroll_length=2,
        batch=batch,
        engine="graph",
        second_derivatives=False,
        weights_seed=1,
    )
    trainer.run(5)
    (m,) = trainer.trained().adapted
    assert -5.5 < m <= -5


class Cliff(l2l.Problem):
    """Infinite, with a gradient of NaN, wherever it is not near its start."""

    def sample(self, num, seed=None):
        return l2l.uniform([num], 1.0, 2.0, seed=seed)

    def initial_position(self, draw):
        return draw

    def loss(self, x, draw):
        return tf.exp(1e6 * (x - draw)) * x


@pytest.mark.parametrize("nested", [False, True])
def test_what_was_not_drawn_may_overflow_elsewhere(run, nested):
    """Neither first nor second derivatives, nor the losses, see a position at which it is infinite."""
    members = [l2l.Quadratic(2), Cliff()]
    problem = l2l.Mixture([l2l.Quadratic(2), l2l.Mixture(members)] if nested else members)
    draws = problem.sample(12, 1)
    x = tf.nest.map_structure(lambda one: one + 3, BoundProblem(problem, draws, 12).start())
    losses = BoundProblem(problem, draws, 12).loss(x, tf.constant(0))
    gradients = tf.gradients(losses, tf.nest.flatten(x))
    second = tf.gradients([tf.reduce_sum(tf.square(one)) for one in gradients], tf.nest.flatten(x))
    which = tf.equal(draws["which"], 0)
    if nested:
        which |= tf.equal(draws["draws"][1]["which"], 0)
    tame, losses, *gradients = run([which, losses, *gradients, *second])
    assert 0 < tame.sum() < 12
    assert np.isfinite(losses[tame]).all() and np.isinf(losses[~tame]).all()
    assert all(np.isfinite(one[tame]).all() for one in gradients)
    assert np.any(gradients[0][tame]) and not np.any(gradients[-1][tame])


def test_problems_may_lie_within_one_another_with_random_numbers_of_their_own(run):
    """Which problem is drawn does not tell which one within it, nor its scales."""
    inner = l2l.Mixture([HOME, l2l.RandomlyScaled(l2l.RandomlyScaled(HOME))])
    draws = run(l2l.Mixture([inner, inner]).sample(3000, 1))
    first, second = draws["draws"][0]["which"], draws["draws"][0]["draws"][1]
    numbers = [draws["which"], first, second["scales"][:, 0], second["draw"]["scales"][:, 0]]
    numbers = np.stack([*numbers[:2], *np.log(numbers[2:])])
    assert np.abs(np.corrcoef(numbers) - np.eye(4)).max() < 5 / np.sqrt(3000)


class Twice(l2l.Problem):
    """A wrapper as users write them: it asks the problem itself, and twice."""

    def __init__(self, problem):
        self.problem = problem

    def sample(self, num, seed=None):
        return {
            "own": l2l.uniform([num], 0.0, 1.0, seed=seed),
            "of": [self.problem.sample(num, seed) for _ in range(2)],
        }

    def initial_position(self, draw):
        return [self.problem.initial_position(one) for one in draw["of"]]

    def loss(self, x, draw):
        return sum(self.problem.loss(*pair) for pair in zip(x, draw["of"]))


class Drawing(l2l.Problem):
    """Draws one number of each kind, from a function of its own for each call of `sample`."""

    def sample(self, num, seed=None):
        keys = tf.cast(l2l.keys(num, seed), tf.float32)
        return {
            "numbers": tf.stack(
                [l2l.uniform([num], 0.0, 1.0, seed=seed), l2l.normal([num], 1.0, seed=seed), keys], axis=1
            )
        }

    def initial_position(self, draw):
        return draw["numbers"]

    def loss(self, x, draw):
        return tf.reduce_sum(tf.square(x))


class Beside:
    """Not a problem, but a class that one may inherit from."""

    def sample(self, num, seed=None):
        return {"numbers": l2l.uniform([num, 1], 0.0, 1.0, seed=seed)}


class Mixed(Beside, Drawing):
    pass


def _drawn(num, seed=None):
    return {"numbers": l2l.uniform([num, 1], 0.0, 1.0, seed=seed)}


class Static(Drawing):
    sample = staticmethod(_drawn)


class OfTheClass(Drawing):
    sample = classmethod(lambda cls, num, seed=None: _drawn(num, seed))


class Late(Drawing):
    pass


Late.sample = lambda self, num, seed=None: _drawn(num, seed)


class OfTheObject(Drawing):
    def __init__(self):
        self.sample = _drawn


INNER = Drawing()
NESTS = {
    "imitation": lambda: l2l.Mixture([l2l.Imitation(l2l.Mixture([INNER, INNER]), l2l.sgd()), INNER]),
    "twice": lambda: Twice(Twice(INNER)),
    "scaled": lambda: l2l.RandomlyScaled(Twice(l2l.RandomlyScaled(INNER))),
    "convex": lambda: l2l.WithConvexTerm(l2l.Imitation(l2l.WithConvexTerm(INNER, 2), l2l.sgd()), 2),
    "of_whatever_kind": lambda: l2l.Mixture([Twice(make()) for make in (Static, OfTheClass, Late, OfTheObject)]),
    "beside": lambda: Twice(l2l.Mixture([Mixed(), Mixed(), INNER])),
}


@pytest.mark.parametrize("make", NESTS.values(), ids=NESTS)
def test_no_two_problems_within_one_another_draw_alike(run, make):
    """Neither a wrapper that says nothing of streams nor a problem that is asked twice has the numbers of another."""
    number = 2000
    for seed in [None, tf.constant(3, tf.int64)]:
        draws = run([tf.reshape(one, [number, -1]) for one in tf.nest.flatten(make().sample(number, seed))])
        columns = np.concatenate(draws, axis=1).astype(np.float64)
        correlations = np.corrcoef(columns, rowvar=False)
        assert np.abs(correlations - np.eye(len(correlations))).max() < 5 / np.sqrt(number)


def test_draws_follow_from_seed_and_place_alone(run):
    """They are the same whatever was drawn before, and what went wrong within leaves no trace."""
    problem = NESTS["scaled"]()
    first = problem.sample(3, 7)
    with pytest.raises(ValueError, match="num must be"):
        Twice(HOME).sample(0, 7)
    again, alone, before = problem.sample(3, 7), INNER.sample(3, 7), Drawing().sample(3, 7)
    first, again, alone, before = (tf.nest.flatten(one) for one in run([first, again, alone, before]))
    for one, other in zip(first + alone, again + before):
        np.testing.assert_array_equal(one, other)


def test_what_is_drawn_twice_with_one_seed_and_one_stream_is_said(recwarn):
    class Beyond(Drawing):
        """Draws by `super` and, as that does, from stream 0."""

        def sample(self, num, seed=None):
            return {**super().sample(num, seed), "more": l2l.normal([num], 1.0, seed=seed, stream=self.stream)}

    problem, seed = Beyond(), tf.constant(3, tf.int64)
    problem.stream = 1
    problem.sample(3, 7), problem.sample(3, seed), problem.sample(3)
    assert not recwarn.list
    problem.stream = 0
    problem.sample(3)
    assert not recwarn.list
    for one in [7, seed]:
        with pytest.warns(RuntimeWarning, match="^sample of Beyond draws the same random numbers twice") as caught:
            problem.sample(3, one)
        assert len(caught) == 1 and caught[0].filename == __file__


def test_what_a_subclass_draws_by_super_is_what_its_base_draws(run):
    class Again(l2l.Quadratic):
        def sample(self, num, seed=None):
            return super().sample(num, seed)

    for one, other in zip(*run([Again(2).sample(3, 7), l2l.Quadratic(2).sample(3, 7)])):
        np.testing.assert_array_equal(one, other)


def test_members_of_one_kind_see_other_minibatches(run):
    """The keys differ, and so do the examples of base iterations."""
    mixture = l2l.Mixture([Regression(), Regression()])
    draw = mixture.draw(3)
    seen = [mixture.observe(draw, t, mixture.data)["observed"] for t in range(6)]
    keys, seen = run([[one["key"] for one in draw["draws"]], [[one[1] for one in both] for both in seen]])
    assert keys[0] != keys[1]
    assert not any(np.array_equal(*both) for both in seen)


def test_losses_on_the_whole_data_are_those_of_the_problems_within(run):
    """At the start: of scales nothing is seen, a convex term is added, a mixture has one of both."""

    def whole(problem, draw):
        bound = BoundProblem(problem, draw)
        return bound.loss_on_whole_data(bound.start())

    scaled, convex, mixture = l2l.RandomlyScaled(NETWORK), l2l.WithConvexTerm(NETWORK), l2l.Mixture([HOME, NETWORK])
    draws = [problem.draw(3) for problem in [scaled, convex, mixture]]
    ours = run([whole(problem, draw) for problem, draw in zip([scaled, convex, mixture], draws)])
    inner = run([whole(NETWORK, draw["draw"]) for draw in draws[:2]])
    which, members = run([draws[2]["which"], [whole(*pair) for pair in zip([HOME, NETWORK], draws[2]["draws"])]])
    term = run(tf.reduce_mean(tf.square(draws[1]["start"] - draws[1]["target"])))
    np.testing.assert_allclose(ours, [inner[0], inner[1] + term, members[which]], rtol=1e-6)
    imitation = l2l.Imitation(NETWORK, l2l.sgd())
    assert run(whole(imitation, imitation.draw(3))) == 0


@pytest.mark.rehearsal
@pytest.mark.parametrize(
    "problem",
    [
        l2l.RandomlyScaled(NETWORK),
        l2l.WithConvexTerm(NETWORK, 3),
        pytest.param(l2l.Mixture([NETWORK, l2l.Rosenbrock(noise=0.1, dtype="float64")]), marks=pytest.mark.rehearsal),
    ],
    ids=["scaled", "convex", "mixture"],
)
def test_they_keep_the_contract_of_a_problem(problem):
    l2l.testing.check_problem(problem)


def test_the_record_says_what_is_within():
    one, other = (describe("problem", l2l.RandomlyScaled(l2l.Quadratic(dims))) for dims in [2, 3])
    assert one["parameters"]["problem"] == {"class": "Quadratic", "parameters": {"dims": 2, "dtype": "float32"}}
    assert one != other
    mixture = describe("problem", l2l.Mixture([l2l.Quadratic(2), l2l.Rosenbrock()]))["parameters"]
    assert [within["class"] for within in mixture["problems"]] == ["Quadratic", "Rosenbrock"]


def test_data_reach_the_problems_that_have_some(run):
    mixture = l2l.Mixture([HOME, Regression()])
    assert mixture.data[0] == () and mixture.data[1] is mixture.problems[1].data
    assert l2l.Mixture([HOME, HOME]).data is None
    assert l2l.RandomlyScaled(NETWORK).data is NETWORK.data


def test_they_are_trained_on():
    """Both engines see the same draws; a learned rate is trained on a mixture of problems of other sizes."""
    runs = []
    for engine in ["xla", "graph"]:
        problem = l2l.Mixture([l2l.RandomlyScaled(l2l.Quadratic(2), 0.5), l2l.WithConvexTerm(l2l.Rosenbrock())])
        runs.append(
            l2l.Trainer(problem, learned_momentum, "sum_log", engine=engine, unroll_length=2, learning_rate=0.01).run(4)
        )
    assert_close_runs(*runs, 1e-4)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: l2l.RandomlyScaled(3), TypeError, r"problem must be a Problem, such as Quadratic\(2\), got 3"),
        (lambda: l2l.RandomlyScaled(HOME, 0), ValueError, "width must be a positive finite number, got 0"),
        (lambda: l2l.WithConvexTerm(None), TypeError, "problem must be a Problem"),
        (lambda: l2l.WithConvexTerm(HOME, 1.5), TypeError, "dims must be a positive integer, got 1.5"),
        (lambda: l2l.Mixture([]), ValueError, r"problems must be a non-empty sequence of problems, got \[\]"),
        (lambda: l2l.Mixture(HOME), ValueError, "problems must be a non-empty sequence of problems, got "),
        (lambda: l2l.Mixture([HOME, 3]), TypeError, r"problems\[1\] must be a Problem"),
        (lambda: l2l.Mixture([HOME], [1, 2]), ValueError, r"chances must be None or 1 numbers, got \[1, 2\]"),
        (lambda: l2l.Mixture([HOME], [0]), ValueError, r"chances\[0\] must be a positive finite number, got 0"),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match="^" + message):
        call()
