"""A whole training in NumPy, as a reference: unroll, reverse mode by hand, clipping, Adam. Nothing of the library.

The problem is `f(x) = sum_i (s_i x_i)^2`, the optimizer a coordinate-wise LSTM of one layer without a casting, the
meta-loss the sum of the losses or of their logs. All in float64, but for what TensorFlow's Adam holds in float32.
"""

import numpy as np
from numpy_networks import sigmoid, zero_states


class Adam:
    """`tf.train.AdamOptimizer` on float64 weights: its rate, decays and epsilon are float32 numbers, and so are the
    powers of its decays, a product of float32 more at each step."""

    beta1, beta2, epsilon = np.float32(0.9), np.float32(0.999), np.float32(1e-8)

    def __init__(self, rate, weights):
        self.rate, self.power1, self.power2 = np.float32(rate), self.beta1, self.beta2
        self.means, self.squares = ([np.zeros_like(weight) for weight in weights] for _ in range(2))

    def step(self, weights, gradients):
        beta1, beta2, epsilon = (float(number) for number in [self.beta1, self.beta2, self.epsilon])
        rate = float(self.rate) * np.sqrt(1 - float(self.power2)) / (1 - float(self.power1))
        self.means = [m + (1 - beta1) * (g - m) for m, g in zip(self.means, gradients)]
        self.squares = [v + (1 - beta2) * (g * g - v) for v, g in zip(self.squares, gradients)]
        self.power1, self.power2 = self.power1 * self.beta1, self.power2 * self.beta2
        changes = [rate * m / (np.sqrt(v) + epsilon) for m, v in zip(self.means, self.squares)]
        return [weight - change for weight, change in zip(weights, changes)]


def forward(weights, x, state, square):
    """One base iteration: the next position, the next state, and what `backward` needs of it."""
    w_in, b_in, kernel, bias, w_out, b_out = weights
    cell, hidden = state
    gradients = 2 * square * x
    inputs = gradients[:, np.newaxis] @ w_in + b_in
    i, j, f, o = np.split(np.concatenate([inputs, hidden], axis=1) @ kernel + bias, 4, axis=1)
    i, j, f, o = sigmoid(i), np.tanh(j), sigmoid(f + 1), sigmoid(o)
    after = f * cell + i * j
    squashed = np.tanh(after)
    update = ((o * squashed) @ w_out + b_out)[:, 0]
    return x + update, (after, o * squashed), (gradients, inputs, cell, hidden, i, j, f, o, squashed)


def backward(weights, of_x, of_state, square, kept, second_derivatives):
    """The gradients of that base iteration's inputs and weights, from those of the next position and state."""
    w_in, _, kernel, _, w_out, _ = weights
    gradients, inputs, cell, hidden, i, j, f, o, squashed = kept
    of_cell, of_hidden = of_state
    of_update = of_x[:, np.newaxis]
    of_hidden = of_hidden + of_update @ w_out.T
    of_cell = of_cell + of_hidden * o * (1 - squashed**2)
    of_gates = np.concatenate(
        [
            of_cell * j * i * (1 - i),
            of_cell * i * (1 - j**2),
            of_cell * cell * f * (1 - f),
            of_hidden * squashed * o * (1 - o),
        ],
        axis=1,
    )
    of_inputs, of_previous = np.split(of_gates @ kernel.T, [inputs.shape[1]], axis=1)
    of_weights = [
        gradients[:, np.newaxis].T @ of_inputs,
        of_inputs.sum(axis=0),
        np.concatenate([inputs, hidden], axis=1).T @ of_gates,
        of_gates.sum(axis=0),
        (o * squashed).T @ of_update,
        of_update.sum(axis=0),
    ]
    if second_derivatives:
        of_x = of_x + 2 * square * (of_inputs @ w_in.T)[:, 0]
    return of_x, (of_cell * f, of_previous), of_weights


def segment(weights, scale, x, state, steps, in_logs, second_derivatives):
    """The losses `[T]` of a segment of one draw, the meta-gradient, and position and state after `T` updates."""
    square, losses, turns = scale**2, [], []
    for _ in range(steps):
        losses.append((np.sum(square * x**2), x))
        x, state, kept = forward(weights, x, state, square)
        turns.append(kept)
    of_x, of_state = np.zeros_like(x), (np.zeros_like(state[0]), np.zeros_like(state[1]))
    total = [np.zeros_like(weight) for weight in weights]
    for t in reversed(range(steps)):
        loss, at = losses[t]
        if t < steps - 1:  # the last loss has not seen the last update
            of_x, of_state, of_weights = backward(weights, of_x, of_state, square, turns[t], second_derivatives)
            total = [one + other for one, other in zip(total, of_weights)]
        of_x = of_x + 2 * square * at / (loss if in_logs else 1)
    return np.array([loss for loss, _ in losses]), total, x, state


def trained(weights, draws, meta_iterations, rate, clip_norm, steps, segments, in_logs, second_derivatives):
    """Figures `[n, 3]` of so many meta-iterations (meta-loss, last loss, gradient norm), and the weights after them.

    Args:
      weights: list of arrays.
      draws: scales and starts, each `[n, B, D]`: a batch for every draw.
      segments: how many of `steps` base iterations a draw lives.
    """
    adam, figures = Adam(rate, weights), []
    scales, starts = draws
    for number in range(meta_iterations):
        place, age = divmod(number, segments)
        if age == 0:
            units = weights[2].shape[1] // 4
            carried = [(start, zero_states(len(start), [units])[0]) for start in starts[place]]
        results = [
            segment(weights, scale, *one, steps, in_logs, second_derivatives)
            for scale, one in zip(scales[place], carried)
        ]
        carried = [result[2:] for result in results]
        losses = np.stack([result[0] for result in results])
        gradients = [np.mean(many, axis=0) for many in zip(*[result[1] for result in results])]
        norm = np.sqrt(sum(np.sum(gradient**2) for gradient in gradients))
        meta_loss = (np.log(losses) if in_logs else losses).sum(axis=1).mean()
        figures.append([meta_loss, np.exp(np.log(losses[:, -1]).mean()), norm])
        weights = adam.step(weights, [gradient / max(1, norm / clip_norm) for gradient in gradients])
    return np.array(figures), weights
