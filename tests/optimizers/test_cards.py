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
<svg width="468" height="92" viewBox="0 0 468 92"
style="max-width: 100%; height: auto; font: 12px sans-serif; fill: currentColor">
<path d="M182.2 20V56" stroke="#ddd"/>
<text x="182.2" y="69" text-anchor="middle">-1</text>
<path d="M229.3 20V56" stroke="#ddd"/>
<text x="229.3" y="69" text-anchor="middle">-0.5</text>
<path d="M276.5 20V56" stroke="#ddd"/>
<text x="276.5" y="69" text-anchor="middle">0</text>
<path d="M323.7 20V56" stroke="#ddd"/>
<text x="323.7" y="69" text-anchor="middle">0.5</text>
<path d="M370.8 20V56" stroke="#ddd"/>
<text x="370.8" y="69" text-anchor="middle">1</text>
<path d="M418.0 20V56" stroke="#ddd"/>
<text x="418.0" y="69" text-anchor="middle">1.5</text>
<circle cx="98.0" cy="9" r="4.5" fill="#0072B2"/>
<text x="106" y="13">learned</text>
<path d="M218.0 9m-4-4h8v8h-8z" fill="none" stroke="#D55E00" stroke-width="1.5"/>
<text x="226" y="13">Adam, 0.001</text>
<path d="M338.0 9m0-5l5 5l-5 5l-5-5z" fill="none" stroke="#009E73" stroke-width="1.5"/>
<text x="346" y="13">Adam, best rate</text>
<text x="98" y="32" text-anchor="end">a place, 1,000</text>
<path d="M113 28H463" stroke="#ddd"/>
<circle cx="229.3" cy="28" r="4.5" fill="#0072B2"/>
<path d="M158.0 28m-4-4h8v8h-8z" fill="none" stroke="#D55E00" stroke-width="1.5"/>
<path d="M276.5 28m0-5l5 5l-5 5l-5-5z" fill="none" stroke="#009E73" stroke-width="1.5"/>
<text x="98" y="48" text-anchor="end">&lt;far&gt;, 20</text>
<path d="M113 44H463" stroke="#ddd"/>
<path d="M418.0 44m-4-4h8v8h-8z" fill="none" stroke="#D55E00" stroke-width="1.5"/>
<path d="M238.8 44m0-5l5 5l-5 5l-5-5z" fill="none" stroke="#009E73" stroke-width="1.5"/>
<text x="463" y="86" text-anchor="end">natural logarithm of the loss; lower is better; what diverged is left out</text>
</svg>"""


def test_a_value_far_from_all_others_is_a_number_at_the_edge():
    """Quartiles 0 and 2: what is beyond -10 or 12 squeezes nothing together, and -10 and 12 are still on the axis."""
    values = [[-10.0, 0.0, 0.0], [12.0, 2.0, 2.0], [-87.5, 1.0, 1.0], [1.0, 12.04, 1.0]]
    names = ["learned", "Adam, 0.001", "Adam, best rate"]
    shown = l2l.Card(
        **{**CARD, "name": "one", "figures": [dict(zip(names, one), place="p", steps=1, worst=0.0) for one in values]}
    )
    picture = bs4.BeautifulSoup(shown._repr_html_(), "html.parser").find("svg")
    texts = [text.text for text in picture.find_all("text")]
    assert texts[:6] == ["-10", "-5", "0", "5", "10", "learned"]
    assert [text for text in texts if "\u25c2" in text or "\u25b8" in text] == ["\u25c2-87.5", "12.0\u25b8"]
    low, high, far = [float(mark["cx"]) for mark in picture.find_all("circle")[1:4]]
    assert low == far < high and high - low == 260


@pytest.mark.parametrize(
    "low, high, ticks",
    [
        (-14.97, 4.33, [-10, -5, 0]),
        (-0.3, 11.5, [0, 2, 4, 6, 8, 10]),
        (-1.256, 1.5, [-1, -0.5, 0, 0.5, 1, 1.5]),
        (1, 1, [1]),
    ],
)
def test_an_axis_of_a_card_has_round_numbers(low, high, ticks):
    np.testing.assert_allclose(cards._ticks(low, high), ticks)


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
        ["trained optimizer", "small_networks"],
        ["network", "CoordinatewiseLSTM, hidden units [20, 20]"],
        ["casting", trained.record["casting"]],
        ["weights", "6,721"],
        ["trained on", trained.record["problem"]],
        ["meta-loss", trained.record["meta_loss"]],
        ["meta-iterations", "1,000"],
    ]
    general = l2l.load("general")
    assert shown(general) == [
        ["trained optimizer", "general"],
        ["network", "AdamController, hidden units 16"],
        ["weights", "439"],
        ["trained on", "27 problems: see its card"],
        ["meta-loss", "late_and_mean_log"],
        ["meta-iterations", "10,000"],
    ]
    assert repr(general) == "<Trained optimizer of 439 weights, from 'general'>"
    assert shown(l2l.Trained(None, [np.ones([2, 3])])) == [["trained optimizer", ""], ["weights", "6"]]
    record = {
        "name": "mine",
        "optimizer": {"class": "Net"},
        "problem": {"one": "MLP", "<p>": "Q"},
        "meta_iterations": 1e3,
    }
    assert shown(l2l.Trained(None, [np.ones([2, 3])], record=record)) == [
        ["trained optimizer", "mine"],
        ["network", "Net"],
        ["weights", "6"],
        ["trained on", "2 problems: one, <p>"],
        ["meta-iterations", "1000.0"],
    ]
    many = {"problem": {"problem %d" % i: "MLP" for i in range(99)}, "optimizer": "x"}
    (_, (_, problems)) = shown(l2l.Trained(None, [], record=many))[1:]
    assert (
        problems.startswith("99 problems: problem 0, problem 1, ")
        and problems.endswith("[...]")
        and len(problems) < 120
    )


def test_what_is_trained_from_a_pretrained_one_has_its_own_name(tmp_path):
    l2l.save(tmp_path / "mine.npz", l2l.load("zero"))
    assert (
        repr(l2l.load(tmp_path / "mine.npz"))
        == repr(l2l.load("zero"))
        == "<Trained optimizer of 6641 weights, from 'zero'>"
    )
    trainer = l2l.Trainer(l2l.Quadratic(2), l2l.load("zero"), unroll_length=2, engine="graph", name="mine")
    assert repr(trainer.trained()) == "<Trained optimizer of 6641 weights, from 'mine'>"
