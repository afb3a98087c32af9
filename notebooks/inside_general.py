"""What the optimizer `general` chooses in a training, and what its facts are worth: for the notebook `general`."""

from collections import OrderedDict

import numpy as np
import tensorflow.compat.v1 as tf

import l2l
from l2l.optimizers.adam_controller import Controls
from l2l.optimizers.first_call import rebuilt

# Of the 19 facts that an `AdamController` sees of each tensor, by kind.
FACTS = OrderedDict(
    [
        ("cosines of gradients and updates", range(10, 16)),
        ("signal and noise of the gradient", (4, 5, 9)),
        ("steps made and planned", (6, 7, 8)),
        ("shape of the tensor", (0, 1, 2)),
        ("size of the weights", (3,)),
        ("how far the rate has climbed", (16, 17)),
        ("number of tensors", (18,)),
    ]
)


def without(trained, facts):
    """The optimizer, a `Trained`, whose network sees zeros in place of some facts, given by their numbers."""
    kernel, *others = trained.weights
    kernel = np.array(kernel)
    kernel[list(facts)] = 0.0
    return l2l.Trained(trained.build, [kernel, *others], trained.adapted, trained.record)


class Unplanned:
    """The optimizer for a training whose number of steps nobody knows."""

    takes_x = True

    def __init__(self, trained):
        self.weights = trained.weights

    def __call__(self, gradients, state, x):
        controller = rebuilt(lambda: l2l.AdamController(self.weights[1].size), None, self.weights, [])
        return controller.bind().plain_step(gradients, state, x)


def chosen(trained, problem, *, steps, seed):
    """What the optimizer chooses at each step for each tensor: `Controls` of arrays `[steps, n]`.

    It runs on one draw, and is then asked again at each position and gradient that the run went through.
    """
    run = l2l.trace(problem, {"it": trained}, draws=1, steps=steps, seed=seed)["it"]
    controller = l2l.AdamController(trained.weights[1].size)
    with tf.Graph().as_default(), tf.Session() as session:
        tensors = tf.nest.flatten(problem.initial_position(problem.draw(seed)))
        x, gradients = ([tf.placeholder(tf.float32, one.shape) for one in tensors] for _ in range(2))
        first = controller.initial_state(x)
        state = tf.nest.map_structure(lambda one: tf.placeholder(tf.float32, one.shape), first)
        controls = controller.controls(gradients, state, x, horizon=steps, weights=trained.weights)
        _, after = controller.bind(trained.weights, steps).plain_step(gradients, state, x)
        now, found = session.run(first, dict(zip(x, _parts(run.positions[0, 0], x)))), []
        for position, gradient in zip(run.positions[0], run.gradients[0]):
            feed = dict(zip([*x, *gradients], [*_parts(position, x), *_parts(gradient, x)]))
            feed.update(zip(tf.nest.flatten(state), tf.nest.flatten(now)))
            one, now = session.run([controls, after], feed)
            found.append(one)
    return Controls(*map(np.array, zip(*found)))


def _parts(coordinates, tensors):
    """The coordinates `[D]` as arrays of the tensors' shapes."""
    ends = np.cumsum([one.shape.num_elements() for one in tensors])
    return [part.reshape(one.shape.as_list()) for part, one in zip(np.split(coordinates, ends), tensors)]
