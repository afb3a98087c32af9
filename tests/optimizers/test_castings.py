"""Castings: the library's by their formulas, and one of one's own that remembers and adapts, all the way through."""

import inspect
import json

import numpy as np
import pytest
import tensorflow as tf
from numpy_networks import network, random_weights, zero_states
from trainers import small

import l2l
from l2l.graphs import session_with_threads
from l2l.nests import tensors_of, with_tensors
from l2l.optimizers import castings

LOG_CASTS = [-1.0, -15.0, -30.0]


def encode(run, casting, gradients):
    return run(casting.encode(tf.constant(np.array(gradients, np.float32))))


def decode(run, casting, outputs):
    return run(casting.decode(tf.constant(np.array(outputs, np.float32))))


def test_no_casting_changes_nothing(run):
    values = np.array([-2.0, 0.0, 1e-38, 3.0], np.float32)
    np.testing.assert_array_equal(encode(run, l2l.no_casting(), values), values[:, None])
    np.testing.assert_array_equal(decode(run, l2l.no_casting(), values), values)


@pytest.mark.parametrize("m", LOG_CASTS)
def test_log_cast_is_its_formula(run, m):
    gradients = np.array([-3.0, -1e-3, 2e-7, 0.5, 1.0], np.float32)
    expected = np.sign(gradients) * (np.log(np.abs(gradients) + np.exp(m - 5)) - m) / -m
    np.testing.assert_allclose(encode(run, l2l.log_cast(m), gradients)[:, 0], expected, rtol=1e-5, atol=1e-6)
    outputs = np.array([-1.0, -0.25, 0.0, 0.5, 1.0], np.float32)
    expected = np.sign(outputs) * np.exp(np.abs(outputs) * -m + m)
    np.testing.assert_allclose(decode(run, l2l.log_cast(m), outputs), expected, rtol=1e-5)


@pytest.mark.parametrize("m", LOG_CASTS)
def test_log_cast_maps_its_range_onto_0_to_1(run, m):
    ends = encode(run, l2l.log_cast(m), [np.exp(m), 1.0])[:, 0]
    # exp(m - 5) under the log moves the ends by log(1 + exp(-5)) / -m and less.
    np.testing.assert_allclose(ends, [0, 1], atol=1.01 * np.log1p(np.exp(-5)) / -m)


@pytest.mark.parametrize("m", LOG_CASTS)
def test_log_cast_round_trip(run, m):
    gradients = np.exp(np.linspace(m, 0, 50)).astype(np.float32)
    gradients = np.concatenate([gradients, -gradients])
    there = encode(run, l2l.log_cast(m), gradients)[:, 0]
    # What comes back is |g| + exp(m - 5). A float32 near 1 has 6e-8 of error, exp(-m) times as much after decoding.
    np.testing.assert_allclose(
        decode(run, l2l.log_cast(m), there), gradients + np.sign(gradients) * np.exp(m - 5), rtol=1e-5
    )


@pytest.mark.parametrize("kind", castings.CASTINGS)
def test_what_is_left_out_is_what_the_contract_says(kind):
    """A casting that remembers would else take some number for the memory that nobody gave it, and no one would see."""
    casting = castings.CASTINGS[kind]()
    for method in ["encode", "decode"]:
        contract, own = (inspect.signature(getattr(each, method)).parameters for each in [l2l.Casting, type(casting)])
        for name in contract:
            assert own[name].default == contract[name].default, (method, name)


@pytest.mark.parametrize("casting", [l2l.log_cast(-15), l2l.log_cast(-30)], ids=lambda c: c.name)
def test_encode_is_odd(run, casting):
    gradients = np.array([1e-38, 1e-20, 1e-3, 1.0, 50.0, 1e30], np.float32)
    np.testing.assert_array_equal(encode(run, casting, gradients), -encode(run, casting, -gradients))
    np.testing.assert_array_equal(decode(run, casting, gradients[:4]), -decode(run, casting, -gradients[:4]))


@pytest.mark.parametrize(
    "casting", [l2l.log_cast(-15), l2l.log_cast(-82), l2l.log_and_sign(), l2l.log_and_sign(87)], ids=lambda c: c.name
)
def test_encode_and_its_derivative_are_finite_everywhere(run, casting):
    gradients = tf.constant([0.0, 1e-38, -1e-38, 1e-30, 1.0, 1e38, -1e38])
    encoded = casting.encode(gradients)
    values, slopes = run([encoded, tf.gradients(encoded, gradients)[0]])
    assert np.isfinite(values).all() and np.isfinite(slopes).all()


def test_log_cast_of_zero_is_zero(run):
    assert encode(run, l2l.log_cast(-15), [0.0]) == 0
    assert decode(run, l2l.log_cast(-15), [0.0]) == 0


def test_log_cast_below_its_range_goes_on_to_5_over_m(run):
    np.testing.assert_allclose(encode(run, l2l.log_cast(-15), [1e-30]), [[5 / -15]], rtol=1e-5)


@pytest.mark.parametrize("k", [5.0, 10.0])
def test_log_and_sign_is_the_papers_formula(run, k):
    gradients = np.array([-1e6, -1.0, -np.exp(-k) * 0.9, -1e-38, 0, 1e-9, np.exp(-k) * 1.1, 0.3], np.float32)
    large = np.abs(gradients) >= np.exp(-k)
    with np.errstate(divide="ignore"):
        first = np.where(large, np.log(np.abs(gradients)) / k, -1)
    second = np.where(large, np.sign(gradients), np.exp(k) * gradients)
    encoded = encode(run, l2l.log_and_sign(k), gradients)
    np.testing.assert_allclose(encoded, np.stack([first, second], axis=1), rtol=1e-5, atol=1e-6)


def test_log_and_sign_returns_the_raw_output(run):
    np.testing.assert_array_equal(decode(run, l2l.log_and_sign(), [-0.5, 2.0]), [-0.5, 2.0])


def test_castings_by_name():
    assert castings.get("none").name == "none"
    assert castings.get("log").name == "log(-15)"
    assert castings.get("log_and_sign").features == 2
    own = l2l.log_cast(-20)
    assert castings.get(own) is own
    known = ["log", "log_and_sign", "log_ratio", "moments", "none", "ratio", "relative_step", "secant", "widening"]
    assert sorted(l2l.CASTINGS) == known
    with pytest.raises(ValueError, match="casting must be one of %s, got 'mine'" % ", ".join(known)):
        castings.get("mine")
    with pytest.raises(TypeError, match="casting must be a Casting or one of %s, got 3" % ", ".join(known)):
        castings.get(3)


@pytest.mark.parametrize("casting", [l2l.no_casting(), l2l.log_cast(-20), l2l.log_and_sign(10)], ids=str)
def test_the_librarys_castings_are_descriptions_and_can_be_described(casting):
    assert isinstance(casting, l2l.Casting)
    assert casting.adapted == () and casting.initial_memory(tf.zeros([2])) is None
    assert casting.remember(tf.zeros([2]), None, tf.zeros([2])) is None and casting.adapt(tf.zeros([2]), None, ()) == ()


@pytest.mark.parametrize(
    "casting",
    [
        *[l2l.no_casting(), l2l.log_cast(-20), l2l.log_and_sign(10), l2l.widening_log_cast(), l2l.ratio_cast()],
        *[
            l2l.log_ratio_cast(),
            l2l.log_ratio_cast(-8),
            l2l.moments_cast(0.9),
            l2l.moments_cast([0.5, 0.9], smallest=1e-8),
            l2l.secant_cast(),
        ],
    ],
    ids=str,
)
def test_a_description_makes_the_same_casting_again(casting):
    again = castings.from_description(json.loads(json.dumps(castings.described(casting))))
    assert type(again) is type(casting) and castings.described(again) == castings.described(casting)
    assert (again.name, again.features, again.adapted) == (casting.name, casting.features, casting.adapted)


def test_names_tell_parameters_apart():
    assert [each.name for each in [l2l.no_casting(), l2l.log_cast(-20), l2l.log_and_sign(7.5)]] == [
        "none",
        "log(-20)",
        "log_and_sign(7.5)",
    ]
    more = [l2l.widening_log_cast(), l2l.log_ratio_cast(), l2l.log_ratio_cast(-8), l2l.moments_cast(0.5)]
    more += [l2l.moments_cast((0.5, 0.99)), l2l.moments_cast(0.5, smallest=1e-8)]
    names = [
        "widening",
        "log_ratio",
        "log_ratio(-8)",
        "moments(0.5)",
        "moments(0.5, 0.99)",
        "moments(0.5, smallest=1e-08)",
    ]
    assert [each.name for each in more] == names
    assert repr(l2l.log_cast(-20)) == "<casting log(-20)>"


def test_parameters_are_those_that_files_have():
    assert l2l.moments_cast(0.5).parameters == {"beta": 0.5}
    assert l2l.moments_cast([0.5, 0.9], smallest=1).parameters == {"beta": [0.5, 0.9], "smallest": 1.0}
    assert l2l.log_ratio_cast().parameters == {"min_log_ratio": None}
    assert l2l.relative_step_cast(0.5, floor=1).parameters == {"beta": 0.5, "floor": 1.0}


def test_the_widest_ranges():
    """Beyond them a number of the formula is no normal float32."""
    assert [l2l.log_cast(-82).name, l2l.log_ratio_cast(-87).name] == ["log(-82)", "log_ratio(-87)"]
    assert l2l.log_and_sign(87).parameters == {"k": 87.0}
    for make in [lambda: l2l.log_cast(-82.1), lambda: l2l.log_ratio_cast(-87.1), lambda: l2l.log_and_sign(87.1)]:
        with pytest.raises(ValueError, match=r"must be at (least|most) -?8[27], got"):
            make()


def test_a_casting_that_defines_nothing_says_what_is_missing():
    class Mine(l2l.Casting):
        pass

    own = Mine()
    own.parameters, own.factor = {"k": 1}, 2
    assert castings.described(own)["parameters"] == {"k": 1, "factor": 2}
    described = castings.described(Mine())
    assert Mine().name == "Mine" and len(described.pop("code")) == 16
    assert described == {"kind": None, "name": "Mine", "class": "Mine", "parameters": {}}
    with pytest.raises(NotImplementedError, match="Mine does not define encode"):
        Mine().encode(tf.zeros([2]))
    with pytest.raises(NotImplementedError, match="Mine does not define decode"):
        Mine().decode(tf.zeros([2]))
    with pytest.raises(ValueError, match="is none of the library's own"):
        castings.from_description(castings.described(Mine()))


TINY = 1e-30


class Ratio(l2l.Casting):
    """The ratio of successive gradients, and their size compared with the smallest that were met so far.

    It remembers `|g|` of the step before, 0 for none yet, and adapts `m`, a running minimum of `log|g|`.
    """

    features, adapted = 2, (-1.0,)

    def initial_memory(self, gradients):
        return tf.zeros_like(gradients)

    def encode(self, gradients, memory=None, adapted=()):
        (m,) = adapted
        sizes = tf.abs(gradients)
        ratios = gradients / (tf.where(tf.equal(memory, 0), sizes, memory) + 1e-8)
        return tf.stack([ratios, tf.log(sizes + TINY) / m], axis=1)

    def decode(self, outputs, gradients=None, memory=None, adapted=()):
        (m,) = adapted
        return outputs * (tf.abs(gradients) + memory) / (1 + tf.exp(m))

    def remember(self, gradients, memory, updates):
        return tf.abs(gradients)

    def adapt(self, gradients, memory, adapted):
        (m,) = adapted
        return (tf.minimum(m, 0.99 * m + 0.01 * tf.reduce_min(tf.log(tf.abs(gradients) + TINY))),)


class NumpyRatio:
    """The same with a memory of its own."""

    def __init__(self, rows, m):
        self.memory, self.m = np.zeros(rows), m

    def step(self, gradients, states, weights):
        sizes = np.abs(gradients)
        ratios = gradients / (np.where(self.memory == 0, sizes, self.memory) + 1e-8)
        outputs, states = network(np.stack([ratios, np.log(sizes + TINY) / self.m], axis=1), states, weights)
        update = outputs * (sizes + self.memory) / (1 + np.exp(self.m))
        self.memory = sizes
        return update, states

    def adapted(self, gradients):
        return min(self.m, 0.99 * self.m + 0.01 * np.log(np.abs(gradients) + TINY).min())


def test_a_casting_that_remembers_and_adapts_against_numpy():
    optimizer = l2l.CoordinatewiseLSTM((3, 4), Ratio(), dtype=tf.float64)
    assert len(optimizer.adapted) == 1 and optimizer.adapted[0] not in optimizer.variables
    assert optimizer.variables == tf.trainable_variables()
    gradients = [[0.7, -1e-4, 0.0], [0.1, 2e-5, -3.0], [-0.2, 1e-9, 0.5], [0.3, 0.0, 1.0]]
    state, updates, memories, adapted = None, [], [], []
    for gradient in np.array(gradients):
        update, state = optimizer(tf.constant(gradient), state)
        updates.append(update)
        memories.append(state.memory)
        adapted.append(optimizer.adapt(tf.constant(gradient), state)[0])

    weights, m = random_weights(optimizer.variables), -2.5
    with tf.Session() as session:
        for variable, value in zip(optimizer.variables + optimizer.adapted, [*weights, m]):
            variable.load(value, session)
        updates, memories, adapted = session.run([updates, memories, adapted])

    reference, states = NumpyRatio(3, m), zero_states(3, (3, 4))
    for t, gradient in enumerate(np.array(gradients)):
        update, states = reference.step(gradient, states, weights)
        np.testing.assert_allclose(updates[t], update, rtol=1e-9)
        np.testing.assert_allclose(memories[t], reference.memory, rtol=1e-12)
        np.testing.assert_allclose(adapted[t], reference.adapted(gradient), rtol=1e-12)


def test_its_memory_is_that_of_each_draw_in_a_batch_and_goes_round_a_loop(run):
    optimizer, problem = l2l.CoordinatewiseLSTM((3,), Ratio(), dtype=tf.float64), l2l.Quadratic(2, tf.float64)
    draws = problem.sample(3, 1)
    alone = [
        l2l.learn(problem, tf.nest.map_structure(lambda many, i=i: many[i], draws), optimizer, steps=4)
        for i in range(3)
    ]
    together = [l2l.learn(problem, draws, optimizer, steps=4, loop=loop, batch=3) for loop in ["python", "while"]]
    alone, *together = run([tf.stack(alone, axis=1), *together])
    for losses in together:
        np.testing.assert_allclose(losses, alone, rtol=1e-9)


@pytest.mark.rehearsal
def test_a_casting_that_remembers_and_adapts_is_trained_alike_by_both_engines():
    results, horizon = [], 8
    for engine in ["graph", "xla"]:
        trainer = small(
            build_optimizer=lambda: l2l.CoordinatewiseLSTM((5,), Ratio()), engine=engine, horizon=horizon, batch=2
        )
        (name,) = (name for name in trainer.snapshot() if "adapted" in name)
        assert trainer.snapshot()[name] == -1
        history = trainer.run(30)
        results.append((history, trainer.snapshot(), trainer.trained()))
        trainer.close()
    (graph, graph_end, graph_trained), (xla, xla_end, xla_trained) = results
    for column in ["meta_loss", "last_loss", "gradient_norm"]:
        np.testing.assert_allclose(getattr(xla, column), getattr(graph, column), rtol=1e-4)
    assert graph_end[name] < -1 - 1e-3
    assert sorted(graph_end) == sorted(xla_end)
    for key in graph_end:
        np.testing.assert_allclose(xla_end[key], graph_end[key], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(xla_end[name], graph_end[name], rtol=1e-4)
    np.testing.assert_array_equal(graph_trained.adapted, [graph_end[name]])
    np.testing.assert_array_equal(xla_trained.adapted, [xla_end[name]])
    np.testing.assert_array_equal(xla_end["place"], [30 * 4 // horizon, 30 * 4 % horizon])


def test_what_a_training_adapts_follows_from_the_last_gradients():
    """Each meta-iteration moves `m` once, by the gradients at the last loss of its segment, and to nowhere else."""
    problem, build = l2l.Quadratic(2), lambda: l2l.CoordinatewiseLSTM((5,), Ratio())
    trainer = small(build_optimizer=build)
    m = -1.0
    for number in range(2):
        trained = trainer.trained()
        with tf.Graph().as_default(), tf.Session() as session:
            optimizer, load = trained.create("trained")
            load(session)
            draws = problem.sample(1000, 2 << 32)  # block 0 of `draws_seed=2`
            draw = tf.nest.map_structure(lambda many, number=number: many[number], draws)
            x = l2l.unroll(problem, draw, optimizer, steps=3).x
            gradients = session.run(tf.gradients(problem.loss(x, draw), x)[0])
        m = NumpyRatio(2, m).adapted(gradients)
        trainer.run(1)
        np.testing.assert_allclose(trainer.trained().adapted, [m], rtol=1e-5)


def extreme_gradients(steps):
    """Sequences `[steps, N]` of finite float32 numbers, from the smallest to the largest, and back and forth."""
    smallest, largest = 1.2e-38, 3.4e38
    one_by_one = [[value] * steps for value in [0, 1e-40, smallest, 1e-19, 1e19, 1e20, largest, -largest]]
    pairs = [(largest, -largest), (largest, smallest), (0, largest), (1e19, -1e-19), (0, 1), (smallest, -smallest)]
    in_turn = [[pair[i % 2] for i in range(steps)] for pair in pairs]
    once = [[largest] + [0] * (steps - 1), [smallest] + [largest] * (steps - 1)]
    growing = np.logspace(-38, 38, steps)
    return np.array([*one_by_one, *in_turn, *once, growing, growing[::-1]], np.float32).T


@pytest.mark.parametrize("engine", ["graph", "xla"])
def test_finite_gradients_have_finite_inputs_updates_and_memories(engine):
    """Also near the ends of float32, and whatever XLA's fast math makes of the formulas."""
    every = [castings.get(name) for name in l2l.CASTINGS] + [l2l.moments_cast([0.5, 0.9, 0.99], smallest=3e-7)]
    gradients = extreme_gradients(10)
    memories = [casting.initial_memory(tf.zeros([gradients.shape[1]])) for casting in every]
    places = [tf.placeholder(tensor.dtype, tensor.shape) for tensor in tensors_of(memories)]
    gradient = tf.placeholder(tf.float32, gradients.shape[1:])

    def step(gradient, *tensors):
        seen, after = [], []
        for casting, memory in zip(every, with_tensors(memories, tensors)):
            adapted = tuple(map(tf.constant, casting.adapted))
            more, x = {}, gradient[tf.newaxis]  # positions as extreme as the gradients
            if casting.facts is not None:
                more["facts"] = casting.facts(x, None, x, x.shape[1:].as_list()) * tf.ones_like(gradient)
            updates = casting.decode(0.9 * tf.ones_like(gradient), gradient, memory, adapted, **more)
            seen += [casting.encode(gradient, memory, adapted), updates]
            after.append(casting.remember(gradient, memory, updates))
        return [*tensors_of(after), *seen]

    inputs = [gradient, *places]
    results = step(*inputs) if engine == "graph" else tf.xla.experimental.compile(step, inputs)
    with session_with_threads(tf.get_default_graph()) as session:
        values = session.run(tensors_of(memories))
        for row in gradients:
            found = session.run(results, dict(zip(inputs, [row, *values])))
            assert all(np.isfinite(array).all() for array in found)
            values = found[: len(values)]


def test_what_is_not_finite_stays_in_sight(run):
    """An infinite gradient is not taken for a large one."""
    casting, gradients = l2l.moments_cast(), tf.constant([np.inf, -np.inf, np.nan, 1.0])
    inputs = run(casting.encode(gradients, casting.initial_memory(gradients)))
    np.testing.assert_array_equal(np.isfinite(inputs).all(axis=1), [False, False, False, True])
