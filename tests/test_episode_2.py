import episode_2
import numpy as np
import pytest

import l2l


@pytest.fixture(autouse=True)
def full_length(monkeypatch):
    monkeypatch.delenv("L2L_LENGTH", raising=False)
    monkeypatch.delenv("L2L_SEEDS", raising=False)


def history_of(name, logs, seed=1):
    history = l2l.History({"name": name, "casting": "c", "meta_loss": "end_log", "weights_seed": seed, "draws_seed": 2})
    losses = 10.0 ** np.asarray(logs, np.float64)
    history.append(np.stack([losses, losses, losses, np.full(len(losses), 0.5)], axis=1))
    return history


def test_windows_are_the_sequels(monkeypatch):
    assert [episode_2.window(name) for name in ["log30", "div_end", "div_sum"]] == [5_000, 5_000, 10_000]
    monkeypatch.setenv("L2L_LENGTH", "0.01")
    assert episode_2.window("div_sum") == 100


def test_parts_shrink_with_the_length(monkeypatch):
    assert episode_2.part(range(10)) == list(range(10))
    monkeypatch.setenv("L2L_LENGTH", "0.25")
    assert episode_2.part("abcdefgh") == ["a", "b"]
    monkeypatch.setenv("L2L_LENGTH", "0.002")
    assert episode_2.part([1, 2, 3]) == []


def test_the_first_moment_below_a_level_is_that_of_the_rolling_average():
    history = history_of("log15", np.repeat([0.0, -2.0, -4.0], 1000))
    assert episode_2.first_below(history, -1.0) == 1000 + 250  # 251 of 500 values are at -2
    assert episode_2.first_below(history, -3.0) == 2000 + 250
    assert episode_2.first_below(history, -5.0) is None
    assert episode_2.first_below(history_of("log15", np.repeat(-9.0, 20)), -5.0) == 10  # a rehearsal


def test_rows_average_as_the_sequel_does_and_say_when_the_fall_began():
    logs = np.repeat(-np.arange(20.0), 1000)
    first, second = episode_2.training_rows([history_of("logdiv_sum", logs)], [3_000, 20_000])
    assert first["average_log_result"] == pytest.approx(-1) and second["average_log_result"] == pytest.approx(-14.5)
    assert (first["falls_at"], second["falls_at"]) == (None, 4000)  # later than the first checkpoint
    assert (first["document"], second["document"]) == (None, -26.11)
    (row,) = episode_2.training_rows([history_of("log15", logs)], [20_000])
    assert row["average_log_result"] == pytest.approx(-17)
    (row,) = episode_2.training_rows([history_of("logdiv_sum", logs)], [20_000], averaged=1000)
    assert row["average_log_result"] == pytest.approx(-19)


def test_the_table_has_the_share_of_runs_that_never_start():
    logs = np.repeat(-np.arange(50.0) / 5, 1000)
    histories = [history_of("log30", shift + logs, seed) for seed, shift in enumerate([0.0, 1.0, 9.0, 9.5])]
    rows = episode_2.training_rows(histories, [50_000])
    names, line = str(episode_2.table(rows)).splitlines()
    assert names.split()[-6:] == ["seeds", "median", "lowest", "highest", "never", "start"]
    assert line.split() == ["log30", "c", "end_log", "50,000", "-20.22", "4", "-4.40", "-9.40", "0.10", "50%"]
    rows = [{**row, "document": None} for row in rows]
    assert "document" not in str(episode_2.table(rows))


def test_the_floor_is_half_an_update_from_the_minimum():
    assert 10 ** episode_2.floor(-15) == pytest.approx((np.exp(-15) / 2) ** 2)
    assert episode_2.floor(-43.06) == pytest.approx(-38, abs=0.01)


def test_the_waiting_time_is_that_of_the_equation_it_is_made_from():
    """`d log g / dn = |m| rate g / epsilon`, integrated in small steps until `g` is a million times as large."""
    m, norm = -30, 1e-9
    g, n, step = norm, 0.0, episode_2.waiting_time(m, norm) / 1e5
    while g < 1e6 * norm:
        g *= np.exp(step * abs(m) * episode_2.ADAM_RATE * g / episode_2.ADAM_EPSILON)
        n += step
    assert n == pytest.approx(episode_2.waiting_time(m, norm), rel=1e-3)
