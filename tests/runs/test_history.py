import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import l2l
from l2l import archives


@pytest.mark.filterwarnings("error")
def test_nan_is_counted_without_a_warning_of_numpys():
    history = l2l.History({"name": "test"})
    history.append(np.full([5000, 4], np.nan))
    assert l2l.log_average(history.last_loss) == np.inf
    assert "learns little" in history.stalled()[0]
    history.append(np.ones([5000, 4]))
    assert "the log average of the last loss was nan in the first" in history.stalled()[0]


def filled(length=7):
    history = l2l.History({"name": "test", "weights_seed": 3})
    history.append(np.random.RandomState(0).uniform(size=[length, 4]))
    return history


def test_append_goes_on():
    history = filled(3)
    history.append([[1, 2, 3, 4]])
    assert len(history) == 4
    assert (history.meta_loss[3], history.last_loss[3], history.gradient_norm[3], history.seconds[3]) == (1, 2, 3, 4)


def test_log_average_of_a_window_before_a_checkpoint():
    history = l2l.History()
    history.append(np.stack([np.zeros(6), 10.0 ** -np.arange(6), np.zeros(6), np.zeros(6)], axis=1))
    assert history.log_average(2) == pytest.approx(-4.5)
    assert history.log_average(2, at=3) == pytest.approx(-1.5)
    assert history.log_average(100, at=2) == pytest.approx(-0.5)
    for window, error in [(0, ValueError), (2.0, TypeError), ("2", TypeError)]:
        with pytest.raises(error, match="window must be a positive integer, got"):
            history.log_average(window)


def test_saved_and_loaded(tmp_path):
    history = filled()
    history.save(tmp_path / "run")
    loaded = l2l.History.load(tmp_path / "run")
    assert loaded.config == history.config
    for column in l2l.History.COLUMNS:
        np.testing.assert_array_equal(getattr(loaded, column), getattr(history, column))


def test_pickled_objects_are_refused(tmp_path):
    columns = {column: np.array([{}], object) for column in l2l.History.COLUMNS}
    np.savez(tmp_path / "pickled.npz", config=np.array("{}"), **columns)
    with pytest.raises(ValueError, match="must hold plain numbers"):
        l2l.History.load(tmp_path / "pickled.npz")


def test_loading_something_else_says_what_is_missing(tmp_path):
    np.savez(tmp_path / "other.npz", meta_loss=np.zeros(3))
    with pytest.raises(ValueError, match="it lacks config"):
        l2l.History.load(tmp_path / "other.npz")
    archives.write(tmp_path / "more.npz", {}, {"meta_loss": np.zeros(3)})
    with pytest.raises(ValueError, match=r"must hold a history, \('meta_loss', 'last_loss'.*got \['meta_loss'\]"):
        l2l.History.load(tmp_path / "more.npz")


@pytest.mark.parametrize(
    "wrong",
    [
        {"last_loss": np.zeros(3, np.float32)},
        {"seconds": np.zeros(2)},
        {column: np.zeros([3, 1]) for column in l2l.History.COLUMNS},
        {column: np.zeros([]) for column in l2l.History.COLUMNS},
    ],
)
def test_columns_of_another_kind_are_refused(wrong, tmp_path):
    archives.write(tmp_path / "x.npz", {}, {**{column: np.zeros(3) for column in l2l.History.COLUMNS}, **wrong})
    with pytest.raises(ValueError, match=r"must hold float64 columns \[n\] of one length, .* has dtype"):
        l2l.History.load(tmp_path / "x.npz")


def with_last_losses(losses, **config):
    history, losses = l2l.History({"name": "mine", **config}), np.asarray(losses, np.float64)
    history.append(np.stack([losses, losses, np.ones(len(losses)), np.ones(len(losses))], axis=1))
    return history


def test_a_sound_run_has_no_complaints():
    assert with_last_losses(10 ** -np.linspace(0, 8, 6000)).complaints() == []
    assert with_last_losses(np.ones(4000)).complaints() == []  # too short to tell
    assert l2l.History().complaints() == []


def test_a_run_that_has_not_fallen_is_stuck_or_had_converged():
    (complaint,) = with_last_losses(np.full(5000, 10**-0.33)).complaints()
    assert complaint == (
        "mine: the log average of the last loss was -0.33 in the first 1000 meta-iterations and is -0.33 in the last; "
        "it is stuck or had converged by then"
    )


def test_a_collapsed_run_is_found():
    fall, frozen = 10 ** -np.linspace(0, 8, 6000), np.full(2000, 10**-0.8)
    (complaint,) = with_last_losses(np.concatenate([fall, frozen])).complaints()
    assert complaint == (
        "mine has collapsed: the log average of the last loss was down to -7.33 at meta-iteration 6000, "
        "and is -0.80 now"
    )


def test_skipped_meta_iterations_are_found():
    losses = np.full(10, 0.1)
    losses[[3, 7]] = np.nan, np.inf
    history = with_last_losses(losses)
    np.testing.assert_array_equal(np.flatnonzero(history.skipped), [3, 7])
    (complaint,) = history.complaints()
    assert complaint == (
        "mine: 2 of 10 meta-iterations had a NaN or an infinity and changed nothing, the first was number 3"
    )


@pytest.mark.parametrize("skipped, of, is_said", [(10, 19, True), (10, 20, False), (9, 9, False), (5000, 5000, True)])
def test_a_run_of_which_most_is_skipped_learns_little(skipped, of, is_said):
    losses = np.full(of, 0.1)
    losses[-skipped:] = np.nan
    assert with_last_losses(losses).stalled() == is_said * [
        "mine learns little: %d of %d meta-iterations had a NaN or an infinity and changed no weight. Its first steps "
        "may be too long" % (skipped, of)
    ]


SCALE = "build the network with output_scale=0.01"
CASTING = "take a casting whose updates do not grow with the gradients, such as moments or log_and_sign"


def network(casting, output_scale=1.0):
    """A part of the description of a network."""
    return {"class": "CoordinatewiseLSTM", "casting": {"kind": casting}, "output_scale": output_scale}


@pytest.mark.parametrize(
    "optimizer, advice",
    [
        (network("log_ratio"), ": %s, or %s" % (SCALE, CASTING)),
        (network("log_ratio", 0.01), ": " + CASTING),
        (network("log_ratio", 0.0001), ": " + CASTING),
        (network("log_ratio", 0.011), ": %s, or %s" % (SCALE, CASTING)),
        (network("none"), ": " + SCALE),
        (network("log"), ": " + SCALE),
        (network("widening", 0.01), ""),
        (network(None, 0.01), ""),  # a custom one, of which nothing is known
        (network("relative_step"), ": " + SCALE),
        (network("moments"), ": " + SCALE),
        (network("log_and_sign", 0.01), ""),
        ({"class": "Grouped", "groups": {"a": network("moments", 0.01), "b": network("ratio", 0.01)}}, ": " + CASTING),
        ({"class": "Grouped", "groups": {"a": network("moments", 0.01), "b": network("moments")}}, ": " + SCALE),
        ({"class": "AdamController"}, ""),
        ({"class": "Mine", "parameters": {"output_scale": [1], "casting": "own"}}, ""),
        (None, ""),
    ],
)
def test_what_was_done_already_is_not_advised(optimizer, advice):
    (sentence,) = with_last_losses(np.full(10, np.nan), optimizer=optimizer).stalled()
    assert sentence.endswith("changed no weight. Its first steps may be too long" + advice)


def test_the_description_of_a_network_has_what_the_advice_reads():
    with tf.Graph().as_default():
        description = l2l.CoordinatewiseLSTM((2,), "log_ratio", output_scale=0.01).description()
    (sentence,) = with_last_losses(np.full(10, np.nan), optimizer=description).stalled()
    assert sentence.endswith(": " + CASTING)


@pytest.mark.parametrize("negative", [slice(None), slice(4000, None), slice(4999, None)])
def test_of_losses_that_may_be_negative_nothing_is_said(negative):
    losses = np.full(5000, 0.5)
    losses[negative] *= -1
    assert with_last_losses(losses).complaints() == []


def test_reserved_memory_is_used():
    history = filled(3)
    history.reserve(100)
    before = history.meta_loss
    history.append(np.zeros([100, 4]))
    assert np.shares_memory(before, history.meta_loss) and len(history) == 103


@pytest.mark.parametrize("column", range(3))
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_skipped_is_where_any_of_the_figures_is_no_number(column, value):
    history = filled(4)
    row = [1.0, 1.0, 1.0, 1.0]
    row[column] = value
    history.append([row])
    assert history.skipped.tolist() == [False] * 4 + [True]
    history.append([[1.0, 1.0, 1.0, np.nan]])  # of the seconds nothing depends
    assert not history.skipped[-1]


def in_windows(*averages):
    """A history of windows of 1000 meta-iterations with these log averages."""
    return with_last_losses(np.repeat(10.0 ** np.array(averages), 1000))


@pytest.mark.parametrize(
    "averages, found",
    [
        ([0, 0, 0, 0, -0.12], None),
        ([0, 0, 0, 0, -0.08], "stuck"),
        ([0, -5, -5, -5, -2.1], None),
        ([0, -5, -5, -5, -1.9], "collapsed"),
        ([0, -5, -5, -4.5], None),
        ([0, -5, -5, 0.5, 0], "collapsed"),
        ([0, 0, 0, 0, 2.9], "stuck"),
        ([0, 0, 0, 0, 3.1], "collapsed"),
    ],
)
def test_where_a_run_begins_to_be_stuck_or_collapsed(averages, found):
    stalled = in_windows(*averages).stalled()
    assert not stalled if found is None else [found in sentence for sentence in stalled] == [True]


def test_it_becomes_a_table_of_pandas(monkeypatch):
    history = l2l.History()
    history.append([[1.0, 2.0, 3.0, 4.0], [np.nan, 6.0, 7.0, 8.0]])
    frame = history.to_frame()
    assert list(frame.columns) == ["meta_loss", "last_loss", "gradient_norm", "seconds", "skipped"]
    assert list(frame.index) == [1, 2] and frame.index.name == "meta_iteration"
    assert frame.loc[1, "last_loss"] == 2 and list(frame["skipped"]) == [False, True]
    frame.loc[1, "last_loss"] = 5
    assert history.last_loss[0] == 2
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="needs pandas"):
        history.to_frame()


def test_reserved_memory_begins_with_what_there_is():
    history, expected = filled(3), filled(3)
    history.reserve(100)
    assert len(history) == 3
    for column in l2l.History.COLUMNS:
        np.testing.assert_array_equal(getattr(history, column), getattr(expected, column))


def test_a_part_has_its_meta_iterations_and_a_configuration_of_its_own():
    history = filled(7)
    part = history.part(2, 5, {"name": "part"})
    assert len(part) == 3 and part.config == {"name": "part"}
    np.testing.assert_array_equal(part.seconds, history.seconds[2:5])


def test_a_window_cannot_end_after_the_history():
    with pytest.raises(ValueError, match="at must not exceed the 7 meta-iterations of the history, got 8"):
        filled(7).log_average(2, at=8)


def test_columns_of_estimators_are_there_with_one_alone():
    history = l2l.History({"estimator": l2l.PES().description()})
    history.append([[1, 2, 3, 4, 5, 6, 7]])
    assert [history.problem, history.horizon, history.diverged] == [5, 6, 7]
    with pytest.raises(AttributeError, match="a history has 'horizon' only with an estimator"):
        assert filled(1).horizon is None
