"""Trained optimizers that come with the package, and their cards."""

import json
import math
import re

import bs4
import numpy as np
import pytest

import l2l
from l2l.optimizers import cards

NAMES = ["episode_1", "general", "paper_mlp", "paper_quadratic", "small_networks", "zero"]


def test_every_file_has_a_card_and_every_card_a_file():
    assert list(l2l.pretrained()) == NAMES
    assert sorted(path.name for path in cards.FOLDER.iterdir()) == sorted(
        name + end for name in NAMES for end in [".json", ".npz"]
    )
    assert all(path.stat().st_size < 100_000 for path in cards.FOLDER.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_a_name_loads_an_optimizer_and_its_card_has_all_its_parts(name):
    trained, card = l2l.load(name), l2l.pretrained()[name]
    assert card.name == name and card.command == ".venv/bin/python notebooks/pretrained.py " + name
    assert all(isinstance(text, str) and text for text in [card.trained_on, card.works, card.fails, card.measure])
    assert str(trained.record["weights_seed"]) in card.seeds
    assert min(card.seeds, key=lambda seed: card.seeds[seed]) == str(trained.record["weights_seed"])
    assert set(card.measured_with) == {"versions", "machine", "date"}
    for row in card.figures:
        assert list(row) == ["place", "steps", "learned", "worst", "Adam, 0.001", "Adam, best rate", "rate"]
        assert all(value is None or math.isfinite(value) for value in list(row.values())[1:])
    assert repr(card) == "<Card of %r: trained on %s>" % (name, card.trained_on)


def test_all_are_measured_in_the_same_places():
    """And `general` on the ordinary tasks too."""
    places = {name: [(row["place"], row["steps"]) for row in card.figures] for name, card in l2l.pretrained().items()}
    first, others = places["zero"], places["general"][len(places["zero"]) :]
    assert all(one[: len(first)] == first for one in places.values()) and len(first) >= 15
    assert len(others) == 38 and all(len(one) == len(first) for name, one in places.items() if name != "general")


def test_a_printed_card_says_where_it_fails_and_has_a_line_for_each_figure(tmp_path, monkeypatch):
    card = {
        "trained_on": " ".join(["this"] * 25),
        "command": "that",
        "works": "here",
        "fails": "there",
        "measure": "how",
        "figures": [
            {
                "place": "a place",
                "steps": 1000,
                "learned": -0.5,
                "worst": None,
                "Adam, 0.001": -1.256,
                "Adam, best rate": 0.0,
            }
        ],
        "seeds": {"1": 0.0},
        "measured_with": {},
    }
    (tmp_path / "one.json").write_text(json.dumps(card))
    monkeypatch.setattr(cards, "FOLDER", tmp_path)
    *about, empty, heads, line = str(l2l.pretrained()["one"]).splitlines()
    assert about[:2] == ["trained on: " + " ".join(["this"] * 17), "    " + " ".join(["this"] * 8)]
    assert about[2:] == ["command: that", "works: here", "fails: there", "measure: how"] and not empty
    assert re.split(" {2,}", heads.strip()) == ["place", "steps", "learned", "worst", "Adam, 0.001", "Adam, best rate"]
    assert re.split(" {2,}", line.strip()) == ["a place", "1,000", "-0.50", "diverged", "-1.26", "0.00"]
    assert len(heads) == len(line)


def test_a_file_of_a_shipped_name_is_reached_by_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    l2l.save("zero", l2l.load("episode_1"))
    assert l2l.load("zero").record["casting"] == "secant" and l2l.load("./zero").record["casting"] == "log(-30)"


def test_what_is_neither_a_name_nor_a_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"path must be of a file .*, or one of \['episode_1'"):
        l2l.LearnedOptimizer("small_network")
    with pytest.raises(TypeError, match="path must be"):
        l2l.load(np.zeros(2))


def test_a_notebook_shows_a_card_as_its_sentences_a_small_picture_and_a_table():
    card = l2l.pretrained()["small_networks"]
    page = bs4.BeautifulSoup(card._repr_html_(), "html.parser")
    assert all(getattr(card, part) in page.text for part in ["trained_on", "works", "fails", "measure"])
    rows = page.find("tbody").find_all("tr")
    assert [row.find_all("td")[1].text for row in rows] == [f"{row['steps']:,}" for row in card.figures]
    number = len(card.figures)
    assert len(page.svg.find_all("circle")) == number + 1  # one of the legend
    places = [float(circle["cx"]) for circle in page.svg.find_all("circle")[1:]]
    learned = [row["learned"] for row in card.figures]
    np.testing.assert_allclose(np.corrcoef(places, learned)[0, 1], 1.0, atol=1e-4)
    worst = card._replace(figures=[{**row, "learned": None} for row in card.figures])
    assert len(bs4.BeautifulSoup(worst._repr_html_(), "html.parser").find_all("circle")) == 1
    nothing = dict.fromkeys(["learned", "worst", "Adam, 0.001", "Adam, best rate"])
    assert "<svg" not in card._replace(figures=[{"place": "<x>", "steps": 1, **nothing}])._repr_html_()


def test_a_notebook_shows_what_was_trained():
    page = bs4.BeautifulSoup(l2l.load("small_networks")._repr_html_(), "html.parser")
    shown = dict([cell.text for cell in row.find_all("td")] for row in page.find("tbody").find_all("tr"))
    assert shown["optimizer"] == "CoordinatewiseLSTM" and shown["weights"] == "6,721"
    assert shown["casting"].startswith("moments(") and int(shown["meta-iterations"]) > 0
    assert "<td" in l2l.Trained(None, [np.ones([2, 3])])._repr_html_()
