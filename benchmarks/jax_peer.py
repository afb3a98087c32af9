"""The same meta-iteration in JAX: `jit` around `scan`, for another Python that has it. Prints ms per meta-iteration.

python benchmarks/jax_peer.py D T BATCH META_ITERATIONS ROUNDS
"""

import json
import os
import sys
import time

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import jax
import jax.numpy as jnp

HIDDEN = 20


def initial_weights(key):
    def glorot(key, rows, columns):
        limit = (6 / (rows + columns)) ** 0.5
        return jax.random.uniform(key, (rows, columns), minval=-limit, maxval=limit)

    shapes = [(1, HIDDEN), (2 * HIDDEN, 4 * HIDDEN), (2 * HIDDEN, 4 * HIDDEN), (HIDDEN, 1)]
    keys = jax.random.split(key, len(shapes))
    return [(glorot(k, *shape), jnp.zeros(shape[1])) for k, shape in zip(keys, shapes)]


def lstm(inputs, state, kernel, bias):
    cell, hidden = state
    i, j, f, o = jnp.split(jnp.concatenate([inputs, hidden], axis=1) @ kernel + bias, 4, axis=1)
    cell = cell * jax.nn.sigmoid(f + 1) + jax.nn.sigmoid(i) * jnp.tanh(j)
    return cell, jax.nn.sigmoid(o) * jnp.tanh(cell)


def update(weights, gradients, state):
    (kernel_in, bias_in), first, second, (kernel_out, bias_out) = weights
    hidden = gradients.reshape(-1, 1) @ kernel_in + bias_in
    layers = []
    for (kernel, bias), layer in zip([first, second], state):
        layers.append(lstm(hidden, layer, kernel, bias))
        hidden = layers[-1][1]
    return (hidden @ kernel_out + bias_out).reshape(gradients.shape), layers


def meta_loss(weights, scale, start, steps):
    def loss(x):
        return jnp.sum((scale * x) ** 2)

    def step(carry, _):
        x, state = carry
        value, gradient = jax.value_and_grad(loss)(x)
        change, state = update(weights, gradient, state)
        return (x + change, state), value

    zeros = jnp.zeros((start.size, HIDDEN))
    _, losses = jax.lax.scan(step, (start, [(zeros, zeros), (zeros, zeros)]), None, length=steps)
    return losses.sum() / start.shape[0]


def adam(weights, gradients, slots, t, rate=3e-4):
    norm = jnp.sqrt(sum(jnp.sum(g**2) for g in jax.tree.leaves(gradients)))
    gradients = jax.tree.map(lambda g: g / jnp.maximum(1.0, norm), gradients)
    means, squares = slots
    means = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, means, gradients)
    squares = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, squares, gradients)
    rate = rate * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
    weights = jax.tree.map(lambda w, m, v: w - rate * m / (jnp.sqrt(v) + 1e-8), weights, means, squares)
    return weights, (means, squares)


def main():
    dims, steps, batch, meta_iterations, rounds = map(int, sys.argv[1:])

    @jax.jit
    def many(weights, slots, t, scales, starts):
        def one(carry, draw):
            weights, slots, t = carry
            value, gradients = jax.value_and_grad(meta_loss)(weights, *draw, steps)
            weights, slots = adam(weights, gradients, slots, t)
            return (weights, slots, t + 1), value

        return jax.lax.scan(one, (weights, slots, t), (scales, starts))

    weights = initial_weights(jax.random.PRNGKey(0))
    zeros = jax.tree.map(jnp.zeros_like, weights)
    carry, times = (weights, (zeros, zeros), jnp.float32(1)), []
    for i in range(rounds + 1):  # the first compiles
        keys = jax.random.split(jax.random.PRNGKey(i + 1))
        scales = jax.random.uniform(keys[0], (meta_iterations, batch, dims), minval=0.5, maxval=1.5)
        starts = jax.random.uniform(keys[1], (meta_iterations, batch, dims), minval=-1.0, maxval=1.0)
        jax.block_until_ready((scales, starts))
        begin = time.perf_counter()
        carry, values = many(*carry, scales, starts)
        jax.block_until_ready(values)
        times.append((time.perf_counter() - begin) * 1000 / meta_iterations)
    print(
        json.dumps(
            {"ms_per_meta_iteration": times[1:], "version": jax.__version__, "last": float(values[-100:].mean())}
        )
    )


if __name__ == "__main__":
    main()
