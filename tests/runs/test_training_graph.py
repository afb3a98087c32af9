"""One training in TensorFlow: seeds, draws, snapshots, and what is checked when it is built."""

import numpy as np
import numpy_training
import pytest
import tensorflow as tf
from trainers import ENGINES, learned_momentum, losses_on_draws, recorded_graphs, same, small

import l2l
from l2l import graphs
from l2l.runs import nonfinite, training_graph


def start_loss(losses):
    """A meta-loss that shows which draw it was: the first loss is the start's, whatever the optimizer."""
    return losses[0] + 1e-20 * losses[-1]


def test_draws_do_not_depend_on_the_weights_and_go_on_from_block_to_block(monkeypatch):
    monkeypatch.setattr(training_graph, "DRAWS_PER_BLOCK", 8)
    one = small(weights_seed=1, meta_loss=start_loss).run(20).meta_loss
    np.testing.assert_array_equal(one, small(weights_seed=9, meta_loss=start_loss).run(20).meta_loss)
    assert not np.any(one == small(draws_seed=3, meta_loss=start_loss).run(20).meta_loss)
    assert len(set(one)) == 20


def test_weights_depend_on_their_seed_alone():
    one = small()
    assert same(one.weights(), small(draws_seed=9, unroll_length=7, horizon=14, batch=2, meta_loss="end_log").weights())
    assert not same(one.weights(), small(weights_seed=9).weights())


def test_trainers_leave_the_default_graph_alone_and_finalize_their_own(monkeypatch):
    started, session_with_threads = [], graphs.session_with_threads

    def recording(graph, *arguments):
        started.append(graph)
        return session_with_threads(graph, *arguments)

    monkeypatch.setattr(graphs, "session_with_threads", recording)
    operations = len(tf.get_default_graph().get_operations())
    small().run(2)
    assert len(tf.get_default_graph().get_operations()) == operations
    assert all(graph is not tf.get_default_graph() for graph in started)
    assert started[-1].finalized  # the one before looked at the problem, and is thrown away


def test_a_snapshot_is_all_that_a_training_needs_to_go_on(monkeypatch):
    graphs = recorded_graphs(monkeypatch)
    one, other = small(horizon=8), small(horizon=8)
    one.run(3)
    snapshot = one.snapshot()
    assert snapshot["place"].tolist() == [1, 4]  # the second draw, which has lived one segment of four
    assert {"variables/r", "carried/0"} < set(snapshot)
    graphs[1].load(snapshot)
    assert same(other.snapshot(), snapshot)
    np.testing.assert_array_equal(one.run(5).meta_loss[3:], other.run(5).meta_loss)
    assert same(one.snapshot(), other.snapshot())
    other.close()
    with pytest.raises(RuntimeError, match="closed"):
        graphs[1].weights()


def test_without_a_horizon_nothing_is_carried(recwarn):
    trainer = small()
    trainer.run(3)
    assert RuntimeWarning not in [one.category for one in recwarn]  # its draws follow from their seed, for one
    snapshot = trainer.snapshot()
    assert snapshot["place"].tolist() == [3, 0] and not [name for name in snapshot if name.startswith("carried")]


def test_a_training_is_prepared_once(monkeypatch):
    prepared, engine_for = [], training_graph.engine_for

    def recording_engine_for(name, settings):
        def engine(*arguments):
            prepare = engine_for(name, settings)(*arguments)

            def recording_prepare(session):
                prepared.append(name)
                return prepare(session)

            return recording_prepare

        return engine

    monkeypatch.setattr(training_graph, "engine_for", recording_engine_for)
    graphs = recorded_graphs(monkeypatch)
    trainer = small(engine="xla")
    assert prepared == [] and graphs[0].to_prepare() == "compiling"  # which waits for the first run
    for number in [1, 2, 50]:
        trainer.run(number)
    assert prepared == ["xla"] and graphs[0].to_prepare() is None


@pytest.mark.parametrize("engine", ENGINES)
def test_a_batch_averages_the_meta_loss_over_its_draws(engine):
    """The same draws one at a time, by a plain unroll with the same weights."""
    problem = l2l.Quadratic(2)
    trainer = small(batch=3, engine=engine, meta_loss="sum_log")
    losses = losses_on_draws(
        problem,
        lambda: tf.nest.map_structure(
            lambda many: many[:3], problem.sample(3 * training_graph.DRAWS_PER_BLOCK, 2 << 32)
        ),
        trainer.weights(),
        learned_momentum,
        steps=4,
    )
    history = trainer.run(1)
    np.testing.assert_allclose(history.meta_loss[0], np.log(losses).sum(axis=1).mean(), rtol=1e-5)
    np.testing.assert_allclose(history.last_loss[0], 10 ** np.mean(np.log10(losses)[:, -1]), rtol=1e-5)


def test_a_meta_loss_of_ones_own_sees_one_draw_of_a_batch():
    """Losses `[T]`: one that would mix up draws if it saw all of them, beside the same by name."""
    ours, named = (small(batch=3, meta_loss=meta_loss).run(3) for meta_loss in (tf.reduce_sum, "sum"))
    np.testing.assert_allclose(ours.meta_loss, named.meta_loss, rtol=1e-6)
    np.testing.assert_allclose(ours.gradient_norm, named.gradient_norm, rtol=1e-5)


def test_a_loss_for_one_draw_is_mapped_over_a_batch():
    """It may add up over everything it sees, which is one draw; so a batch averages over what each draw gives alone."""

    class Everything(l2l.Quadratic):
        batch_loss = l2l.Problem.batch_loss

        def loss(self, x, draw):
            return tf.reduce_sum(tf.square(draw.scale * x))

    ours, library = small(problem=Everything(2), batch=3).run(3), small(batch=3).run(3)
    np.testing.assert_allclose(ours.meta_loss, library.meta_loss, rtol=1e-5)
    np.testing.assert_allclose(ours.gradient_norm, library.gradient_norm, rtol=1e-4)


class Branching(l2l.Quadratic):
    """A loss with an op that no mapping over draws can take: each draw is written into the graph."""

    batch_loss = l2l.Problem.batch_loss

    def loss(self, x, draw):
        loss = super().loss(x, draw)
        return tf.cond(loss > 1, lambda: loss, lambda: 2 * loss)


@pytest.mark.parametrize("engine", ["graph", pytest.param("xla", marks=pytest.mark.rehearsal)])
def test_a_branch_in_the_loss_of_a_batch(engine, tmp_path, run):
    """Which no mapping over draws can take: said once. As a plain unroll of each draw has it; and replayed."""
    problem = Branching(2)
    with pytest.warns(RuntimeWarning, match="^Branching is computed draw by draw, not vectorized") as caught:
        trainer = small(problem=problem, batch=2, engine=engine)

        def first_two():
            draws = problem.sample(2 * training_graph.DRAWS_PER_BLOCK, 2 << 32)
            return tf.nest.map_structure(lambda many: many[:2], draws)

        losses = losses_on_draws(problem, first_two, trainer.weights(), learned_momentum, 4)
        arrays = {"draw/%d" % i: array for i, array in enumerate(run(tf.nest.flatten(first_two())))}
        start = {**arrays, **trainer.snapshot(), "age": np.array(0)}
        replay = trainer.replay(nonfinite.write(str(tmp_path), 0, trainer.history.config, start))
        np.testing.assert_allclose(replay.losses, np.transpose(losses), rtol=1e-5)
        np.testing.assert_allclose(trainer.run(1).meta_loss, [np.mean(np.sum(losses, axis=1))], rtol=1e-5)
    assert [one.category for one in caught].count(RuntimeWarning) == 1


class Wrong(l2l.Quadratic):
    """A form for many draws that is not the one for each of them, in what is named."""

    def __init__(self, what):
        super().__init__(2)
        self.what = what

    def batch_loss(self, x, draw):
        right = super().batch_loss(x, draw)
        more = right - tf.stop_gradient(right)  # 0, which has a gradient
        return {"losses": 1.1 * right, "gradients": right + more, "second": right + tf.square(more)}[self.what]


@pytest.mark.parametrize("what, more", [("losses", {}), ("gradients", {"batch": 6, "threads": 2}), ("second", {})])
def test_a_batch_loss_that_is_not_the_loss_is_refused_when_a_trainer_is_built(what, more):
    with pytest.raises(ValueError, match="batch_loss of Wrong must be loss of each draw; for 3 draws it has .*" + what):
        small(problem=Wrong(what), **{"batch": 3, **more})


def test_a_wrong_batch_loss_is_accepted_where_nothing_uses_it():
    small(problem=Wrong("losses"))


CUT = {"meta_loss": "sum_log", "second_derivatives": False, "batch": 2, "horizon": 8, "clip_norm": 100.0}


@pytest.mark.parametrize("engine, changes", [("graph", {}), ("xla", {}), ("graph", CUT)], ids=str)
def test_several_whole_meta_iterations_against_numpy(engine, changes):
    """A trainer as it is, and all that it does computed again: draws, unroll, meta-gradient, clipping, Adam.

    The reference has the float32 numbers that TensorFlow makes of Adam's constants; all else is float64 in both, so
    they agree to its rounding, 1e-16 an operation in chains of some hundreds: 1e-14 was measured.
    """
    settings = {"meta_loss": "sum", "second_derivatives": True, "batch": 1, "horizon": 4, "clip_norm": 2.0, **changes}
    problem, rate, number = l2l.Quadratic(2, tf.float64), 0.01, 5
    trainer = small(
        problem=problem,
        build_optimizer=lambda: l2l.CoordinatewiseLSTM((3,), dtype=tf.float64),
        learning_rate=rate,
        engine=engine,
        **settings,
    )
    batch = settings["batch"]
    with tf.Session() as session:
        draws = session.run(problem.sample(training_graph.DRAWS_PER_BLOCK * batch, 2 << 32))
    draws = [many.reshape([-1, batch, 2]) for many in draws]
    start = trainer.weights()
    figures, weights = numpy_training.trained(
        start,
        draws,
        number,
        rate,
        settings["clip_norm"],
        steps=4,
        segments=settings["horizon"] // 4,
        in_logs=settings["meta_loss"] == "sum_log",
        second_derivatives=settings["second_derivatives"],
    )
    history = trainer.run(number)
    ours = np.stack([history.meta_loss, history.last_loss, history.gradient_norm], axis=1)
    np.testing.assert_allclose(ours, figures, rtol=1e-10)
    for one, other, before in zip(trainer.weights(), weights, start):
        np.testing.assert_allclose(one - before, other - before, rtol=1e-9)
    norms = figures[:, 2]
    assert norms.min() < settings["clip_norm"] < norms.max()  # so that some were clipped, and some were not


class WithData(l2l.Quadratic):
    """A quadratic with data, of which each base iteration sees a row."""

    data = np.ones([4, 2], np.float32)

    def observe(self, draw, t, data):
        return draw._replace(scale=draw.scale * data[t])


def test_data_are_in_variables_of_the_graph_and_no_constants(monkeypatch):
    graphs = recorded_graphs(monkeypatch)
    small(problem=WithData(2))
    ((_, tensors),) = graphs[0].graph.get_collection("l2l_data")
    assert tensors.op.type != "Const"


# Of `draws_seed=2`: draws 0, 1 and 999 of block 0, and the same of block 1.
GOLDEN_DRAWS = [
    (
        [[1.3685944, 0.8306055], [0.88412786, 0.89851844], [0.83842266, 0.61784697]],
        [[-0.38228226, 0.7374778], [0.7874129, 0.50144506], [0.9122627, 0.16707778]],
    ),
    (
        [[0.7049421, 0.7738297], [0.60075545, 0.78786373], [1.0217177, 0.748153]],
        [[0.75022817, 0.37697744], [0.2517829, -0.025736809], [0.3552084, 0.34052086]],
    ),
]


def test_what_a_seed_means_is_pinned(monkeypatch):
    """Draws as numbers: a record's seeds, and every published figure, mean these and no others."""
    graphs = recorded_graphs(monkeypatch)
    trainer, losses = small(meta_loss=start_loss), []
    for number in [0, 1, 999, 1000, 1001, 1999]:
        graphs[0].load({**trainer.snapshot(), "place": np.array([number, 0], np.int64)})
        losses.append(trainer.run(1).meta_loss[-1])
    expected = [
        np.sum(np.square(np.multiply(scale, start, dtype=np.float32)))
        for scales, starts in GOLDEN_DRAWS
        for scale, start in zip(scales, starts)
    ]
    np.testing.assert_allclose(losses, expected, rtol=1e-6)


class Overflowing(l2l.Quadratic):
    """A quadratic whose loss is infinite at base iteration 2, and its gradient is not."""

    batch_loss = l2l.Problem.batch_loss

    def observe(self, draw, t, data):
        return draw, tf.where(tf.equal(t, 2), np.float32(np.inf), np.float32(0))

    def loss(self, x, observed):
        draw, more = observed
        return super().loss(x, draw) + more


def test_a_last_loss_that_is_not_finite_counts_beside_a_finite_meta_loss():
    trainer = small(problem=Overflowing(2), unroll_length=3, meta_loss=lambda losses: losses[1], engine="xla")
    before = trainer.snapshot()
    with pytest.warns(RuntimeWarning, match="meta-iteration 0 has meta-loss .*, last loss inf"):
        history = trainer.run(8)
    assert np.isfinite(history.meta_loss).all() and np.isfinite(history.gradient_norm).all()
    assert np.isinf(history.last_loss).all() and history.skipped.all()
    after = trainer.snapshot()
    assert after.pop("place").tolist() == [8, 0] and before.pop("place").tolist() == [0, 0]
    assert same(before, after)
