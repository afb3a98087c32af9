"""Trained optimizers that come with the package, and their cards."""

import json
import math

import bs4
import numpy as np
import pytest

import l2l
from l2l.optimizers import cards
from l2l.tables import format_table

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


CARD = {
    "trained_on": " ".join(["this"] * 25),
    "command": "that",
    "works": "a" * 46 + " " + "b" * 46,  # which fills a line of 100 letters
    "fails": "<there>",
    "measure": "how",
    "figures": [
        {
            "place": "a place",
            "steps": 1000,
            "learned": -0.5,
            "worst": None,
            "Adam, 0.001": -1.256,
            "Adam, best rate": 0.0,
        },
        {"place": "<far>", "steps": 20, "learned": None, "worst": 3.0, "Adam, 0.001": 1.5, "Adam, best rate": -0.4},
    ],
    "seeds": {"1": 0.0},
    "measured_with": {},
}


@pytest.fixture
def card(tmp_path, monkeypatch):
    (tmp_path / "one.json").write_text(json.dumps(CARD))
    monkeypatch.setattr(cards, "FOLDER", tmp_path)
    return l2l.pretrained()["one"]


def test_a_printed_card_says_where_it_fails_and_has_a_line_for_each_figure(card):
    assert str(card).splitlines() == [
        "trained on: " + " ".join(["this"] * 17),
        "    " + " ".join(["this"] * 8),
        "command: that",
        "works: " + "a" * 46 + " " + "b" * 46,
        "fails: <there>",
        "measure: how",
        "",
        "place    steps   learned     worst  Adam, 0.001  Adam, best rate",
        "a place  1,000     -0.50  diverged        -1.26             0.00",
        "<far>       20  diverged      3.00         1.50            -0.40",
    ]


PICTURE = """\
<svg width="518" height="78" font-size="12" font-family="sans-serif"><circle cx="113.0" cy="9" r="4.5" fill="#0072B2"/>
<text x="121" y="13">learned</text>
<path d="M243.0 9m-4-4h8v8h-8z" fill="none" stroke="#D55E00" stroke-width="1.5"/>
<text x="251" y="13">Adam, 0.001</text>
<path d="M373.0 9m0-5l5 5l-5 5l-5-5z" fill="none" stroke="#009E73" stroke-width="1.5"/>
<text x="381" y="13">Adam, best rate</text>
<text x="98" y="32" text-anchor="end">a place, 1,000</text>
<path d="M113 28h260" stroke="#ddd"/>
<circle cx="184.3" cy="28" r="4.5" fill="#0072B2"/>
<path d="M113.0 28m-4-4h8v8h-8z" fill="none" stroke="#D55E00" stroke-width="1.5"/>
<path d="M231.5 28m0-5l5 5l-5 5l-5-5z" fill="none" stroke="#009E73" stroke-width="1.5"/>
<text x="98" y="48" text-anchor="end">&lt;far&gt;, 20</text>
<path d="M113 44h260" stroke="#ddd"/>
<path d="M373.0 44m-4-4h8v8h-8z" fill="none" stroke="#D55E00" stroke-width="1.5"/>
<path d="M193.8 44m0-5l5 5l-5 5l-5-5z" fill="none" stroke="#009E73" stroke-width="1.5"/>
<text x="113" y="70">-1.3 to 1.5, the lower the better; what diverged is left out</text></svg>"""


def test_a_notebook_shows_a_card_as_its_sentences_a_small_picture_and_a_table(card):
    """The learned optimizer is a circle, Adam a square, Adam at its best rate a diamond; from -1.256 to 1.5."""
    sentences = "".join(
        "<b>%s:</b> %s<br>\n" % pair
        for pair in [
            ("trained on", CARD["trained_on"]),
            ("command", "that"),
            ("works", CARD["works"]),
            ("fails", "&lt;there&gt;"),
            ("measure", "how"),
        ]
    )
    names = ["place", "steps", "learned", "worst", "Adam, 0.001", "Adam, best rate"]
    texts = [
        ["a place", "1,000", "-0.50", "diverged", "-1.26", "0.00"],
        ["<far>", "20", "diverged", "3.00", "1.50", "-0.40"],
    ]
    table = format_table([dict(zip(names, line)) for line in texts], {"place": "", **dict.fromkeys(names[1:], ">")})
    table = "<details><summary>All figures</summary>\n%s</details>" % table._repr_html_()
    expected = "<p><b>one</b><br>\n%s</p>\n%s\n%s" % (sentences, PICTURE, table)
    assert card._repr_html_().splitlines() == expected.splitlines()
    flat = dict.fromkeys(["learned", "worst", "Adam, 0.001", "Adam, best rate"], 1.0)
    assert "nan" not in card._replace(figures=[{"place": "it", "steps": 1, **flat}])._repr_html_()
    nothing = dict.fromkeys(flat)
    assert "<svg" not in card._replace(figures=[{"place": "<x>", "steps": 1, **nothing}])._repr_html_()


def test_a_file_of_a_shipped_name_is_reached_by_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    l2l.save("zero", l2l.load("episode_1"))
    assert l2l.load("zero").record["casting"] == "secant" and l2l.load("./zero").record["casting"] == "log(-30)"


def test_what_is_neither_a_name_nor_a_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"path must be of a file .*, or one of \['episode_1'"):
        l2l.LearnedOptimizer("small_network")
    with pytest.raises(TypeError, match="path must be"):
        l2l.load(np.zeros(2))


def test_a_notebook_shows_what_was_trained():
    def shown(trained):
        page = bs4.BeautifulSoup(trained._repr_html_(), "html.parser")
        lines = [page.find("thead").find("tr"), *page.find("tbody").find_all("tr")]
        return [[cell.text for cell in line.find_all(["th", "td"])] for line in lines]

    trained = l2l.load("small_networks")
    assert shown(trained) == [
        ["trained", ""],
        ["optimizer", "CoordinatewiseLSTM"],
        ["casting", trained.record["casting"]],
        ["weights", "6,721"],
        ["trained on", trained.record["problem"]],
        ["meta-loss", trained.record["meta_loss"]],
        ["meta-iterations", str(trained.record["meta_iterations"])],
    ]
    assert shown(l2l.Trained(None, [np.ones([2, 3])])) == [["trained", ""], ["weights", "6"]]
    odd = l2l.Trained(None, [np.ones([2, 3])], record={"optimizer": "x", "problem": "<p>"})
    assert shown(odd) == [["trained", ""], ["weights", "6"], ["trained on", "<p>"]]
