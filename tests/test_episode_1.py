import numpy as np
import pytest

import l2l
from l2l import episode_1


@pytest.fixture(autouse=True)
def full_length(monkeypatch):
    monkeypatch.delenv("L2L_LENGTH", raising=False)
    monkeypatch.delenv("L2L_SEED", raising=False)


def history_of(length, name="RNN_simple_end_res"):
    history = l2l.History({"name": name, "casting": "none", "meta_loss": "end", "weights_seed": 1, "draws_seed": 2})
    losses = 10.0 ** -np.repeat(np.arange(length // 1000), 1000)
    history.append(np.stack([losses, losses, losses, np.full(length, 0.5)], axis=1))
    return history


def test_length_is_the_documents_unless_shortened(monkeypatch):
    assert episode_1.length(50_000) == 50_000
    monkeypatch.setenv("L2L_LENGTH", "0.001")
    assert episode_1.length(50_000) == 50
    assert episode_1.length(20) == 1


@pytest.mark.parametrize("value", ["", "0", "-1", "2", "nan", "ten"])
def test_a_length_out_of_range_is_refused(monkeypatch, value):
    monkeypatch.setenv("L2L_LENGTH", value)
    with pytest.raises(ValueError, match="L2L_LENGTH must be a number above 0 and up to 1, got"):
        episode_1.length(10)


def test_the_seed_comes_from_the_environment(monkeypatch):
    assert episode_1.seed() == 1
    monkeypatch.setenv("L2L_SEED", "7")
    assert episode_1.seed() == 7
    for value in ["-1", "one", str(2**31)]:
        monkeypatch.setenv("L2L_SEED", value)
        with pytest.raises(ValueError, match="L2L_SEED must be an integer from 0"):
            episode_1.seed()


def test_rows_average_over_the_documents_windows():
    first, second = episode_1.training_rows(history_of(50_000), [20_000, 50_000])
    assert first["average_log_result"] == pytest.approx(-18.5)  # -18 and -19, over 2,000
    assert second["average_log_result"] == pytest.approx(np.mean(np.log10(10.0 ** -np.arange(45, 50) + 1e-38)))
    assert (first["document"], second["document"]) == (-7.33, -8.17)
    assert (first["seed"], first["draws_seed"], first["seconds"]) == (1, 2, 10_000)


def test_rows_of_a_shortened_run_have_no_document_beside_them(monkeypatch):
    monkeypatch.setenv("L2L_LENGTH", "0.1")
    (row,) = episode_1.training_rows(history_of(5_000), [50_000])
    assert row["meta_iterations"] == 5_000 and row["document"] is None


def test_trial_rows_average_the_summed_loss_over_each_1000():
    losses = np.repeat([4.0, 3.0, 2.0, 1.0], 1000)[:, None] * np.ones([1, 20])
    rows = episode_1.trial_rows(losses, seed=1, seconds=8.0)
    assert [row["mean_summed_loss"] for row in rows] == [80, 60, 40, 20]
    assert [row["document_summed_loss"] for row in rows] == [1.327, 0.797, 0.776, 0.777]
    assert [row["seconds"] for row in rows] == [2, 4, 6, 8]


def test_table_shows_the_difference():
    losses = {"SGD": np.full([5, 20], 1e-4), "RMSProp": np.full([5, 20], 1e-18)}
    sgd, rmsprop = episode_1.table(episode_1.baseline_rows(losses, 3)).splitlines()[1:]
    assert sgd.split() == ["SGD", "0", "-4.00"]
    assert rmsprop.split() == ["RMSProp", "0", "-18.00", "-18.40", "+0.40"]
