"""The trained optimizers that come with the package: how each is trained, and the card that says where it works.

    .venv/bin/python notebooks/pretrained.py zero

trains one for each seed, takes the best on validation draws, measures it, and writes build/pretrained/zero.npz and
zero.json, its card. Several names may follow, or none for all of them; `make train-pretrained` does that, which takes
hours. What was trained before is not trained again, so that a run that was stopped goes on where it was.

    .venv/bin/python notebooks/pretrained.py --measure zero

measures the one that comes with the package again, and writes its card alone.
"""

import functools
import json
import sys
from collections import OrderedDict, namedtuple
from pathlib import Path

import digits
import general
import numpy as np
import ordinary_report
import paper
import small_networks
from episodes import LAST, length, log_of_last

import l2l

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "build" / "pretrained"
VALIDATION_SEED, TUNING_SEED, TEST_SEED = 1, 2, 3
RATES = [1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0]  # of Adam; the first is its default
DRAWS = 5

Place = namedtuple("Place", ["problem", "steps"])  # a function that makes the problem; base iterations, a list


def _keras(**settings):
    return l2l.MLP(batch_size=32, stddev="glorot", **settings)


# Where every one of them is measured, at home and elsewhere.
PLACES = OrderedDict(
    [
        ("quadratics of Episode 1, 2-D", Place(lambda: l2l.Quadratic(2), [20])),
        ("quadratics of the paper, 10-D", Place(lambda: l2l.DenseQuadratic(10), [100])),
        ("Rosenbrock, 2-D", Place(lambda: l2l.Rosenbrock(), [500])),
        ("digits, 20 sigmoid units, N(0, 0.01^2)", Place(lambda: l2l.MLP(), digits.LENGTHS)),
        ("digits, 20 ReLU units, N(0, 0.01^2)", Place(lambda: l2l.MLP(activation="relu"), [100, 1000, 2000])),
        ("digits, two layers of 20, N(0, 0.01^2)", Place(lambda: l2l.MLP(hidden=(20, 20)), [100, 1000, 2000])),
        ("digits, 64 ReLU units, as Keras", Place(lambda: _keras(hidden=(64,), activation="relu"), [100, 500])),
        ("digits, 32 and 32 ReLU, as Keras", Place(lambda: _keras(hidden=(32, 32), activation="relu"), [100, 500])),
        (
            "digits, three layers of 32 tanh, as Keras",
            Place(lambda: _keras(hidden=(32,) * 3, activation="tanh"), [500]),
        ),
        ("MNIST, 20 sigmoid units, N(0, 0.01^2)", Place(lambda: l2l.MLP(l2l.datasets.mnist_5000()), [100, 500])),
        (
            "MNIST, 20 ReLU units, as Keras",
            Place(lambda: _keras(examples=l2l.datasets.mnist_5000(), activation="relu"), [100, 500]),
        ),
        (
            "digits, two convolutions, N(0, 0.01^2)",
            Place(lambda: l2l.ConvNet(channels=(8, 8), dense=(16,), batch_size=32), [100]),
        ),
    ]
)
MEASURE = (
    "natural logarithm of the last loss (with minibatches, of the mean of the last %d; 0 counts as 1e-38), median over "
    "%d draws, and the worst of them; beside it Adam's median at its default rate, and at the one of %d rates that is "
    "best on other draws, with its other settings at their defaults" % (LAST, DRAWS, len(RATES))
)

Recipe = namedtuple(
    "Recipe",
    [
        "train",  # function from a list of seeds to a dict from seed to `Trained`
        "seeds",  # list
        "home",  # key of PLACES, and a number of its steps: the best there on validation draws is taken;
        # None: the best by `general.validated`, and the card has the ordinary tasks too
        "trained_on",  # these three are sentences of the card
        "works",
        "fails",
    ],
)


def _episode_1(seeds):
    return _trained(l2l.Quadratic(2), _of(l2l.log_cast(-30)), [(100_000, 3e-4)], seeds, "end_log")


def _zero(seeds):
    return _trained(l2l.Quadratic(2), _of(l2l.secant_cast()), [(20_000, 3e-4)], seeds, "end_log")


def _paper_quadratic(seeds):
    stages = [(4000, 3e-3), (6000, 1e-3), (4000, 3e-4)]
    return paper.train("paper_quadratic", l2l.DenseQuadratic(10), paper.paper_network, stages, seeds=seeds, batch=32)[0]


def _of(casting):
    return lambda: l2l.CoordinatewiseLSTM(casting=casting)


def _trained(problem, build, stages, seeds, meta_loss):
    """As in the episodes: whole lives of 20 base iterations, second derivatives, weights and draws of one seed."""
    name = build().casting.name
    return paper.train(
        name, problem, build, stages, meta_loss, seeds, horizon=20, unroll_length=20, second_derivatives=True
    )[0]


RECIPES = OrderedDict(
    episode_1=Recipe(
        train=_episode_1,
        seeds=[1, 2, 3],
        home=("quadratics of Episode 1, 2-D", 20),
        trained_on="the quadratics of Episode 1, 20 base iterations, with the log casting down to e^-30",
        works="on what it was trained on, for as many base iterations",
        fails="in most other places, up to losses of e^52: its steps follow from the sizes of gradients",
    ),
    zero=Recipe(
        train=_zero,
        seeds=[1, 2, 3],
        home=("quadratics of Episode 1, 2-D", 20),
        trained_on="the quadratics of Episode 1, 20 base iterations, with secant steps",
        works="where coordinates are independent and gradients have no noise: to a loss of exactly 0",
        fails="on minibatches, since a secant of noise means nothing, and where coordinates depend on each other",
    ),
    paper_quadratic=Recipe(
        train=_paper_quadratic,
        seeds=[1, 2, 3],
        home=("quadratics of the paper, 10-D", 100),
        trained_on="the quadratics of arXiv 1606.04474 in ten dimensions, 100 base iterations, as its authors do",
        works="on quadratics: those that it was trained on, and those of Episode 1",
        fails="on networks, whose losses stay where they are, or rise",
    ),
    paper_mlp=Recipe(
        train=lambda seeds: digits.trained(seeds)[0],
        seeds=[1, 2],
        home=("digits, 20 sigmoid units, N(0, 0.01^2)", 1000),
        trained_on="perceptrons of one or two layers of 20 units on scikit-learn's digits, up to 3,000 base "
        "iterations, with initial weights from N(0, 0.01^2) as in arXiv 1606.04474",
        works="on networks of one hidden layer of sigmoid units that start small, for 10,000 base iterations; with "
        "ReLU units for 2,000",
        fails="with two and more layers, and with many inputs: Adam at its best rate is ahead, and in some places at "
        "its default rate too; over 10,000 base iterations with ReLU units, where most trainings stop early",
    ),
    small_networks=Recipe(
        train=small_networks.trained,
        seeds=[1, 2],
        home=("digits, 32 and 32 ReLU, as Keras", 500),
        trained_on="perceptrons of one to three layers on scikit-learn's digits, up to 2,000 base iterations, whose "
        "activation, initial weights and size of inputs are drawn; it began with the weights of paper_mlp",
        works="on perceptrons of one to three layers on images like the digits: below Adam at its default rate "
        "everywhere there, and mostly below Adam at its best rate; with one sigmoid layer for 10,000 base iterations",
        fails="with inputs as large as MNIST's: Adam at its best rate is ahead at 500 base iterations, and from "
        "Keras's initial weights at its default rate too; with ReLU units from small weights, and on functions: Adam "
        "at its best rate is ahead",
    ),
    general=Recipe(
        train=general.trained,
        seeds=[1, 2, 3],
        home=None,
        trained_on=general.TRAINED_ON,
        works="without tuning on ordinary trainings of 100 to 10,000 steps, also of networks of kinds that it never "
        "saw: in most of them below Adam at its best rate, with a cosine decay or without, and below Prodigy. It must "
        "be told how many steps are planned",
        fails="on functions: Adam at its best rate is ahead on Rosenbrock's and on the paper's quadratics. Tuned Adam, "
        "with a cosine decay or without, is ahead in 7 of 38 cells of the ordinary tasks: a conv net, embeddings and a "
        "GRU after 100 steps, attention and a badly conditioned linear regression after 500, batch normalization after "
        "2,000, and a GRU after 10,000. It fits the training data harder than Adam: look at held-out losses",
    ),
)


def measured(place, optimizers, seed, draws=DRAWS):
    """`{steps: {name: (median, worst)}}` of optimizers in a place, over the draws; see `logs`."""
    problem, lengths = place.problem(), [max(LAST, length(steps)) for steps in place.steps]
    losses = l2l.evaluate(problem, optimizers, draws=draws, steps=max(lengths), seed=seed, engine=paper.ENGINE)
    found = {}
    for steps, at in zip(place.steps, lengths):
        ends = {name: logs(problem, values, at) for name, values in losses.items()}
        found[steps] = {name: [float(np.median(one)), float(np.max(one))] for name, one in ends.items()}
    return found


def logs(problem, losses, steps=None):
    """The figure of each draw: the natural logarithm of the last loss up to `steps`; with minibatches of a mean."""
    return log_of_last(losses, steps, last=LAST if isinstance(problem, l2l.Classification) else 1)


def tuned(problem, ranges, steps):
    """Adam with the best of all combinations of some hyperparameters after so many steps: a `Tuned`."""
    return l2l.tune(
        problem,
        l2l.adam,
        ranges,
        measure=lambda losses: np.median(logs(problem, losses)),
        budget=100,
        # Of functions five draws are too few to tell rates apart, and many cost nothing.
        draws=DRAWS if isinstance(problem, l2l.Classification) else length(1000),
        steps=max(LAST, length(steps)),
        seed=TUNING_SEED,
        engine=paper.ENGINE,
    )


@functools.lru_cache(maxsize=None)
def adams(place):
    """For each number of steps in a place of that name, the best of Adam's rates on tuning draws."""
    place = PLACES[place]
    best = {steps: tuned(place.problem(), {"learning_rate": RATES}, steps) for steps in place.steps}
    return {steps: one.hyperparameters["learning_rate"] for steps, one in best.items()}


def figures_of(trained):
    """Rows for the card: the optimizer in all places, beside Adam at its default rate and at its best one."""
    rows = []
    for name, place in PLACES.items():
        best = adams(name)
        rules = {"%g" % rate: l2l.adam(rate) for rate in sorted({RATES[0], *best.values()})}
        for steps, found in measured(place, {"learned": trained, **rules}, TEST_SEED).items():
            median, worst = found["learned"]
            row = {"place": name, "steps": steps, "learned": median, "worst": worst}
            row["Adam, 0.001"], _ = found["%g" % RATES[0]]
            row["Adam, best rate"], _ = found["%g" % best[steps]]
            row["rate"] = best[steps]
            rows.append({key: _in_json(value) for key, value in row.items()})
            print(rows[-1], flush=True)
    return rows


def ordinary_figures():
    """Rows for the card of `general`: the cells of results/ordinary_tasks.json."""
    rows = json.loads((ROOT / "results" / "ordinary_tasks.json").read_text())["rows"]
    found = []
    for (task, steps), cell in ordinary_report.cells(rows).items():
        learned, default, tuned = (cell[name] for name in [ordinary_report.LEARNED, "Adam, 0.001", "Adam, tuned"])
        row = {"place": task, "steps": steps, "learned": learned["median"], "worst": learned["worst"]}
        row.update({"Adam, 0.001": default["median"], "Adam, best rate": tuned["median"], "rate": tuned["rate"]})
        found.append(row)
    return found


def make(name):
    """Trains an optimizer, and writes it with its card."""
    recipe = RECIPES[name]
    found = recipe.train(recipe.seeds)
    if recipe.home is None:
        seeds = {seed: general.validated(found[seed]) for seed in recipe.seeds}
    else:
        place, steps = recipe.home
        optimizers = {"seed %d" % seed: one for seed, one in found.items()}
        draws = length(1000) if steps <= 100 else DRAWS
        validated = measured(PLACES[place], optimizers, VALIDATION_SEED, draws)[steps]
        seeds = {seed: validated["seed %d" % seed][0] for seed in recipe.seeds}
    best = min(seeds, key=seeds.get)
    l2l.save(OUTPUT / (name + ".npz"), found[best])
    write_card(name, found[best], {seed: _in_json(median) for seed, median in seeds.items()})


def measure(name):
    """Measures the one that comes with the package, and writes its card. The figures of the seeds stay."""
    write_card(name, l2l.load(name), l2l.pretrained()[name].seeds)


def write_card(name, trained, seeds):
    """Measures an optimizer in all places, and writes its card."""
    recipe = RECIPES[name]
    card = {
        "trained_on": recipe.trained_on,
        "command": ".venv/bin/python notebooks/pretrained.py " + name,
        "works": recipe.works,
        "fails": recipe.fails,
        "measure": MEASURE,
        "figures": figures_of(trained) + (ordinary_figures() if recipe.home is None else []),
        "seeds": seeds,
        "measured_with": l2l.measured_with(),
    }
    (OUTPUT / (name + ".json")).write_text(json.dumps(card, indent=1, allow_nan=False) + "\n")


def _in_json(value):
    return None if isinstance(value, float) and not np.isfinite(value) else value


if __name__ == "__main__":
    OUTPUT.mkdir(parents=True, exist_ok=True)
    only_measure, names = "--measure" in sys.argv, [name for name in sys.argv[1:] if name != "--measure"]
    for name in names or RECIPES:
        measure(name) if only_measure else make(name)
