import pickle

import numpy as np
import pytest
import tensorflow as tf

import l2l
from l2l.optimizers import rules
from l2l.optimizers.prodigy import ProdigyState

START = {"a": np.float32([[0.5, -1.0], [2.0, 0.25]]), "b": np.float32([0.1, -0.2, 0.3])}
FIRST = {"a": np.float32([[0.3, -0.2], [0.1, 0.4]]), "b": np.float32([-1.0, 0.5, 0.05])}


def gradients_at(t):
    return {"a": FIRST["a"] * np.float32(1 - 0.05 * t), "b": FIRST["b"] * np.float32(1 + 0.1 * t)}


# Updates 1, 5 and 10 of all seven coordinates for these gradients, and the estimate after them: what
# `optax.contrib.prodigy` of optax 0.2.8 (jax 0.6.2, float32) gives, called as
# `updates, state = optimizer.update(gradients, state, x)`. First with its defaults; then with
# learning_rate=lambda t: 1.0 - 0.08 * t, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.5.
PLAIN = {
    0: (
        [-9.999924e-07, 9.999917e-07, -9.999901e-07, -9.999925e-07, 9.999929e-07, -9.999926e-07, -9.999869e-07],
        1e-06,
    ),
    4: (
        [-1.3161413e-06, 1.3161406e-06, -1.3161387e-06, -1.3161416e-06]
        + [1.3255827e-06, -1.3255825e-06, -1.3255773e-06],
        2.021333557422622e-06,
    ),
    9: (
        [-1.1616320e-05, 1.1616308e-05, -1.1616274e-05, -1.1616325e-05]
        + [1.05451263e-05, -1.05451245e-05, -1.05450854e-05],
        1.8026903489953838e-05,
    ),
}
OTHER = {
    0: (
        [-1.2648206e-06, 1.5371456e-06, -2.0752273e-06, -1.1286977e-06]
        + [9.3964633e-07, -8.7933182e-07, -1.0856058e-06],
        1e-06,
    ),
    4: (
        [-1.0150660e-06, 1.1638746e-06, -1.4562274e-06, -9.4069020e-07, 8.620155e-07, -8.285406e-07, -9.391867e-07],
        1.8308249991605408e-06,
    ),
    9: (
        [-2.2478848e-06, 2.5484414e-06, -3.1329830e-06, -2.0977445e-06]
        + [1.8275889e-06, -1.7598826e-06, -2.0122609e-06],
        7.81529161031358e-06,
    ),
}
SETTINGS = {"beta1": 0.8, "beta2": 0.95, "epsilon": 1e-3, "weight_decay": 0.5}


def falling(t):
    return 1.0 - 0.08 * tf.cast(t, tf.float32)


def steps_of(rule, number=10, start=START, gradients_at=gradients_at):
    """Updates and states of some steps, the last ones as the rule returns them."""
    x, state, found = tf.nest.map_structure(tf.constant, start), None, []
    for t in range(number):
        update, state = rule(tf.nest.map_structure(tf.constant, gradients_at(t)), state, x)
        x = tf.nest.map_structure(tf.add, x, update)
        found.append((update, state))
    return found


@pytest.mark.parametrize(
    "rule, pinned",
    [(l2l.prodigy(), PLAIN), (l2l.prodigy(falling, **SETTINGS), OTHER)],
    ids=["defaults", "schedule"],
)
def test_it_is_the_one_of_optax(run, rule, pinned):
    found = steps_of(rule)
    states = [state if isinstance(state, ProdigyState) else state.states for _, state in found]
    updates, estimates, after = run([[update for update, _ in found], [state.estimate for state in states], states[0]])
    for t, (update, estimate) in pinned.items():
        ours = np.concatenate([updates[t]["a"].ravel(), updates[t]["b"]])
        np.testing.assert_allclose(ours, update, rtol=5e-6)
        assert estimates[t] == pytest.approx(estimate, rel=5e-6)
    if rule == l2l.prodigy():  # sums of gradients in units of the first estimate: r g, with the first rate r
        np.testing.assert_allclose(after.weighted_sum[1], 1e-6 * np.sqrt(1e-3) / 0.1 * FIRST["b"], rtol=1e-4)


def test_the_estimate_is_of_all_tensors_together(run):
    """Cut into other tensors, a position gets the same updates; tensors alone get others."""

    def joined(nest):
        return np.concatenate([nest["a"].ravel(), nest["b"]])

    whole, _ = steps_of(l2l.prodigy())[-1]
    flat, _ = steps_of(l2l.prodigy(), start=joined(START), gradients_at=lambda t: joined(gradients_at(t)))[-1]
    alone, _ = steps_of(l2l.prodigy(), start=START["b"], gradients_at=lambda t: gradients_at(t)["b"])[-1]
    whole, flat, alone = run([whole, flat, alone])
    np.testing.assert_allclose(joined(whole), flat, rtol=1e-5)
    assert np.abs(alone / whole["b"] - 1).min() > 0.05


def test_a_distance_is_found_and_kept(run, fixed_draw):
    """On a quadratic the estimate grows from 1e-6 to the order of the distance, about 1, and the loss falls."""
    problem, draw = l2l.Quadratic(2), fixed_draw()
    losses, _, state = l2l.unroll(problem, draw, l2l.prodigy(), steps=200, loop="while")
    losses, estimate = run([losses, state.estimate])
    assert 0.1 < estimate < 2 and losses[-1] < 1e-2 * losses[0]


@pytest.mark.parametrize("engine", ["graph", "xla"])
def test_a_batch_over_draws_equals_single_draws(engine, run):
    """Draws have different distances, so that one estimate for all would show."""
    problem, steps = l2l.Quadratic(3), 60
    found = l2l.evaluate(problem, {"it": l2l.prodigy(l2l.cosine_decay(1.0, 80))}, draws=3, steps=steps, engine=engine)
    losses = found["it"]
    draws = problem.sample(3, -1)
    singles = [tf.nest.map_structure(lambda many, i=i: many[i], draws) for i in range(3)]
    rule = l2l.prodigy(l2l.cosine_decay(1.0, 80))
    alone = run([l2l.learn(problem, draw, rule, steps=steps, loop="while") for draw in singles])
    np.testing.assert_allclose(losses, alone, rtol=1e-3)
    assert (losses[:, -1] < 0.05 * losses[:, 0]).all()


def test_it_keeps_the_contract_with_a_schedule():
    l2l.testing.check_optimizer(lambda: l2l.prodigy(falling))


@pytest.mark.parametrize("compiled", [False, True])
def test_without_gradients_it_stays_where_it_is(run, compiled):
    """XLA's maximum of a number and NaN is NaN."""
    place = tf.placeholder(tf.float32, [3])

    def step(zeros):
        update, state = l2l.prodigy()(zeros, None, tf.constant(START["b"]))
        return [update, state.estimate]

    results = tf.xla.experimental.compile(step, [place]) if compiled else step(place)
    update, estimate = run(results, {place: np.zeros(3)})
    assert not update.any() and estimate == np.float32(1e-6)


def test_a_schedule_goes_on_where_an_unroll_is_continued(run, fixed_draw):
    rule, problem, draw = l2l.prodigy(l2l.cosine_decay(1.0, 30)), l2l.Quadratic(2), fixed_draw()
    whole = l2l.unroll(problem, draw, rule, steps=30, loop="while").losses
    half = l2l.unroll(problem, draw, rule, steps=15, loop="while")
    rest = l2l.unroll(problem, draw, rule, steps=15, x=half.x, state=half.state, first=15, loop="while")
    whole, parts = run([whole, tf.concat([half.losses, rest.losses], axis=0)])
    np.testing.assert_allclose(parts, whole, rtol=1e-5)


def test_it_is_a_value_with_a_description(run):
    rule = l2l.prodigy()
    values = {"learning_rate": 1.0, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.0}
    assert rule.description() == {"rule": "prodigy", **values} and rule.coordinatewise is False
    assert eval(repr(rule), {"prodigy": l2l.prodigy}) == rule != l2l.prodigy(0.5)
    assert pickle.loads(pickle.dumps(rule)) == rule
    scheduled = l2l.prodigy(l2l.cosine_decay(1.0, 10)).description()["learning_rate"]
    assert scheduled == l2l.cosine_decay(1.0, 10).description()
    first = l2l.prodigy(falling).initial_state(tf.constant([1.0]))
    assert isinstance(first, rules.ScheduledState) and run(first.t) == 0


def test_bad_arguments_are_refused():
    for argument in ["learning_rate", "epsilon"]:
        with pytest.raises(ValueError, match=r"^%s must be a positive" % argument):
            l2l.prodigy(**{argument: 0})
    for argument in ["beta1", "beta2"]:
        with pytest.raises(ValueError, match=r"^%s must be a number in \[0, 1\)" % argument):
            l2l.prodigy(**{argument: 1})
    with pytest.raises(ValueError, match=r"^weight_decay must be a finite number, 0 or above, got -1"):
        l2l.prodigy(weight_decay=-1)
    with pytest.raises(TypeError, match="positional argument"):
        l2l.prodigy(1.0, 0.9)
    with pytest.raises(ValueError, match=r"^prodigy looks at the position"):
        l2l.prodigy()(tf.constant([1.0]), None)
    with pytest.raises(ValueError, match=r"^x must have the structure of the gradients"):
        l2l.prodigy()(tf.constant([1.0]), None, [tf.constant([1.0])])
    both = [tf.constant([1.0]), tf.constant([1.0], tf.float64)]
    with pytest.raises(ValueError, match=r"^gradients must have one dtype for prodigy, got float32 and float64"):
        l2l.prodigy()(both, None, both)
    with pytest.raises(TypeError, match="call it first"):
        l2l.evaluate(l2l.Quadratic(2), {"it": l2l.prodigy}, draws=1, steps=1, engine="graph")
