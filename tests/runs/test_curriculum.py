"""Training with validation and over growing horizons: which weights are kept, when a stage ends, what is refused."""

import os
import signal

import numpy as np
import pytest
from trainers import learned_momentum, same

import l2l

SETTINGS = {"unroll_length": 4, "learning_rate": 0.03, "weights_seed": 1, "draws_seed": 2, "engine": "graph"}


def curriculum(horizons=(4,), meta_iterations=12, **changes):
    arguments = {"every": 3, "patience": 2, "draws": 5, **SETTINGS, **changes}
    problem = arguments.pop("problem", l2l.Quadratic(2))
    return l2l.Curriculum(
        problem, arguments.pop("build", learned_momentum), horizons, meta_iterations=meta_iterations, **arguments
    )


def by_hand(horizon, numbers, start=learned_momentum, **changes):
    """The figure after each number of meta-iterations, and what was trained, for one stage."""
    trainer = l2l.Trainer(l2l.Quadratic(2), start, horizon=horizon, **{**SETTINGS, **changes})
    found = []
    for number in np.diff([0, *numbers]):
        trainer.run(int(number))
        losses = l2l.evaluate(
            l2l.Quadratic(2), {"it": trainer.trained()}, draws=5, steps=horizon, seed=1, engine="graph"
        )["it"]
        found.append((l2l.log_average(losses), trainer.trained()))
    return found


def test_the_best_weights_on_held_out_draws_are_kept():
    """As a trainer and `evaluate` by hand find them; the last three meta-iterations are fewer than `every`."""
    one = curriculum(meta_iterations=11, patience=9)
    best = one.run()
    expected = by_hand(4, [3, 6, 9, 11])
    figures = [row["figure"] for row in one.validations]
    np.testing.assert_allclose(figures, [figure for figure, _ in expected], rtol=1e-6)
    assert [row["meta_iterations"] for row in one.validations] == [3, 6, 9, 11]
    assert same(best.weights, expected[int(np.argmin(figures))][1].weights)
    least = np.minimum.accumulate(figures)
    assert [row["is_best"] for row in one.validations] == [True, *(np.diff(least) < 0)]


def test_a_stage_ends_when_nothing_is_gained_and_the_next_begins_with_its_best():
    """A measure that is given as a list says which validations are better."""
    given = iter([5, 3, 4, 3, 8, 9, 7, 7, 7])
    one = curriculum((4, 8), 100, measure=lambda losses: next(given))
    best = one.run()
    rows = [(row["stage"], row["horizon"], row["meta_iterations"], row["figure"]) for row in one.validations]
    first = [(0, 4, 3, 5), (0, 4, 6, 3), (0, 4, 9, 4), (0, 4, 12, 3)]
    assert rows == [*first, (1, 8, 3, 8), (1, 8, 6, 9), (1, 8, 9, 7), (1, 8, 12, 7), (1, 8, 15, 7)]
    _, start = by_hand(4, [6])[0]
    second = by_hand(8, [3, 6, 9], start, draws_seed=3)
    assert same(best.weights, second[2][1].weights)
    stages = [(row["stage"], row["horizon"], row["meta_iterations"]) for row in best.record["stages"]]
    assert stages == [(0, 4, 6), (1, 8, 9)]


def test_the_measure_sees_the_losses_of_the_horizon():
    seen = []

    def measure(losses):
        seen.append(losses.shape)
        return losses[:, -1].mean()

    curriculum((4, 12), [3, 3], measure=measure).run()
    assert seen == [(5, 4), (5, 12)]


def test_weights_that_diverge_everywhere_are_replaced_by_later_ones():
    given = iter([np.inf, np.inf, 2.0])
    one = curriculum(meta_iterations=9, patience=9, measure=lambda losses: next(given))
    one.run()
    assert [row["is_best"] for row in one.validations] == [True, True, True]


def test_after_ctrl_c_all_is_kept_and_it_goes_on_where_it_was():
    one, whole = curriculum((4, 8), 6), curriculum((4, 8), 6)
    interrupts = iter([False, True, False, False, False])

    def measure(losses):
        if next(interrupts):
            os.kill(os.getpid(), signal.SIGINT)
        return l2l.log_average(losses)

    one._measure = measure
    with pytest.raises(KeyboardInterrupt, match=r"^stopped in stage 1 after 2 validations, all kept$"):
        one.run()
    assert len(one.validations) == 2 and one.best is not None
    one.run()
    whole.run()
    assert one.validations == whole.validations and same(one.best.weights, whole.best.weights)
    assert one.run() is one.best  # nothing is left


def test_it_begins_with_weights_that_are_given():
    start = by_hand(4, [5])[0][1]
    one = curriculum(meta_iterations=3, build=start)
    assert same(one.run().weights, by_hand(4, [3], start)[0][1].weights)


def test_a_compiled_training_is_validated_compiled():
    one = curriculum(meta_iterations=3, engine="xla")
    np.testing.assert_allclose([row["figure"] for row in _run(one)], [by_hand(4, [3])[0][0]], rtol=1e-4)


def _run(one):
    one.run()
    return one.validations


@pytest.mark.parametrize(
    "changes, error, message",
    [
        ({"horizons": 100}, TypeError, "horizons must be a sequence of positive integers, got 100"),
        ({"horizons": []}, ValueError, r"horizons must have at least one stage, got \[\]"),
        ({"horizons": [6]}, ValueError, "horizon must be a multiple of unroll_length"),
        ({"meta_iterations": 0}, ValueError, r"meta_iterations\[0\] must be a positive integer, got 0"),
        ({"meta_iterations": [1, 2]}, ValueError, r"meta_iterations must be one number or 1 of them, got \[1, 2\]"),
        ({"every": 0}, ValueError, "every must be a positive integer, got 0"),
        ({"patience": 1.5}, TypeError, "patience must be a positive integer, got 1.5"),
        ({"draws": 0}, ValueError, "draws must be a positive integer, got 0"),
        ({"measure": 3}, TypeError, "measure must be callable, got 3"),
        ({"validation_seed": -1}, ValueError, r"validation_seed must be an integer from 0 to 2\*\*31 - 1, got -1"),
        ({"horizon": 8}, ValueError, "horizon must not be given, since horizons say it, got 8"),
        ({"checkpoint_dir": "a"}, ValueError, "checkpoint_dir must not be given, since each stage has a trainer"),
        ({"step": 3}, TypeError, r".*unexpected keyword argument 'step'"),
    ],
)
def test_bad_arguments(changes, error, message):
    with pytest.raises(error, match="^" + message):
        curriculum(**changes)


def test_a_measure_that_gives_no_number_is_refused_and_nothing_is_lost():
    given = iter([1.0, np.nan])
    one = curriculum(measure=lambda losses: next(given))
    with pytest.raises(ValueError, match=r"^measure must give a number, it gave NaN for losses from"):
        one.run()
    assert len(one.validations) == 1 and one.best.record["meta_iterations"] == 3
