import copy
import json
from pathlib import Path

import episode_1
import numpy as np
import pytest

import l2l

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def full_length(monkeypatch):
    monkeypatch.delenv("L2L_LENGTH", raising=False)
    monkeypatch.delenv("L2L_SEEDS", raising=False)


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


def test_the_seeds_come_from_the_environment(monkeypatch):
    assert episode_1.seeds() == [1]
    monkeypatch.setenv("L2L_SEEDS", "7, 8,20")
    assert episode_1.seeds() == [7, 8, 20]
    for value in ["", "-1", "one", "1,,2", "3,3", str(2**31)]:
        monkeypatch.setenv("L2L_SEEDS", value)
        with pytest.raises(ValueError, match="L2L_SEEDS must be different integers from 0"):
            episode_1.seeds()


def test_rows_average_over_the_documents_windows():
    first, second = episode_1.training_rows([history_of(50_000)], [20_000, 50_000])
    assert first["average_log_result"] == pytest.approx(-18.5)  # -18 and -19, over 2,000
    assert second["average_log_result"] == pytest.approx(np.mean(np.log10(10.0 ** -np.arange(45, 50) + 1e-38)))
    assert (first["document"], second["document"]) == (-7.33, -8.17)
    assert (first["seed"], first["draws_seed"], first["seconds"]) == (1, 2, 10_000)


def test_rows_of_a_shortened_run_have_no_document_beside_them(monkeypatch):
    monkeypatch.setenv("L2L_LENGTH", "0.1")
    (row,) = episode_1.training_rows([history_of(5_000)], [50_000])
    assert row["meta_iterations"] == 5_000 and row["document"] is None


def test_trial_rows_average_the_summed_loss_over_each_1000():
    losses = np.repeat([4.0, 3.0, 2.0, 1.0], 1000)[:, None] * np.ones([1, 20])
    rows = episode_1.trial_rows(losses, seed=1, seconds=8.0)
    assert [row["mean_summed_loss"] for row in rows] == [80, 60, 40, 20]
    assert [row["document_summed_loss"] for row in rows] == [1.327, 0.797, 0.776, 0.777]
    assert [row["seconds"] for row in rows] == [2, 4, 6, 8]


def test_table_shows_median_range_and_difference():
    histories = [history_of(20_000) for _ in range(3)]
    for seed, (history, shift) in enumerate(zip(histories, [0, 1, 5])):
        history.config["weights_seed"] = seed
        history.last_loss[:] *= 10.0**shift
    rows = episode_1.training_rows(histories, [20_000])
    (row,) = episode_1.summary(rows)
    figures = [row[key] for key in ["median", "lowest", "highest", "difference"]]
    np.testing.assert_allclose(figures, [-17.5, -18.5, -13.5, -17.5 + 7.33])
    names, line = str(episode_1.table(rows)).splitlines()
    assert names.split()[-5:] == ["seeds", "median", "lowest", "highest", "difference"]
    assert line.split() == ["RNN_simple_end_res", "20,000", "-7.33", "3", "-17.50", "-18.50", "-13.50", "-10.17"]


def test_one_seed_has_one_figure_and_says_so():
    losses = {"SGD": np.full([5, 20], 1e-4), "RMSProp": np.full([5, 20], 1e-18)}
    rows = episode_1.trial_rows(np.ones([4000, 20]), 3, 8.0) + episode_1.baseline_rows(losses, 3)
    names, *lines = str(episode_1.table(rows)).splitlines()
    assert names.endswith("document  ours, seed 3  difference")
    assert [line.split() for line in lines] == [["SGD", "0", "-4.00"], ["RMSProp", "0", "-18.40", "-18.00", "+0.40"]]
    names, *lines = str(episode_1.trial_table(rows)).splitlines()
    assert names.endswith("document  ours, seed 3")
    assert [line.split()[-3:] for line in lines[:2]] == [["1,000", "1.327", "20.000"], ["2,000", "0.797", "20.000"]]


def test_baselines_of_several_seeds_have_a_range():
    rows = []
    for seed, last in [(1, 1e-3), (2, 1e-4), (3, 1e-6)]:
        rows += episode_1.baseline_rows({"SGD": np.full([5, 20], last)}, seed)
    assert str(episode_1.table(rows)).splitlines()[1].split() == ["SGD", "0", "3", "-4.00", "-6.00", "-3.00"]


@pytest.fixture
def committed_rows():
    return json.loads((ROOT / "results" / "episode_1.json").read_text())["rows"]


def test_the_committed_run_is_near_the_document(committed_rows):
    assert episode_1.complaints(committed_rows) == []


@pytest.mark.parametrize("experiment, change", [("RNN_simple_end_res", 1.5), ("RNN_log15_end_res", -3), ("RMSProp", 1)])
def test_a_figure_far_off_is_found(committed_rows, experiment, change):
    wrong = copy.deepcopy(committed_rows)
    for row in wrong:
        if row["experiment"] == experiment:
            row["average_log_result"] += change
    assert any(sentence.startswith(experiment) for sentence in episode_1.complaints(wrong))


def test_a_missing_row_is_found(committed_rows):
    assert episode_1.complaints([row for row in committed_rows if row["experiment"] != "RNN_log15_end_log_res"])
