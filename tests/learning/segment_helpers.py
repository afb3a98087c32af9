"""Meta-gradients with either loop, and what they are compared with."""

import numpy as np
import tensorflow as tf

import l2l
from l2l.graphs import session_with_threads


def meta_gradient(*arguments, loop="python", **more):
    """`l2l.meta_gradient`; with loop="while" inside a `tf.function`, in whose graph loops are functions."""

    def build():
        return l2l.meta_gradient(*arguments, loop=loop, **more)

    return build() if loop == "python" else tf.function(build, autograph=False)()


def tensors(nest):
    """The tensors of a nest, which may hold None."""
    return [leaf for leaf in tf.nest.flatten(nest) if leaf is not None]


def results(metas, values=(), seed=0):
    """Losses, meta-loss, last loss, gradients and what else was made, of each meta-gradient, all in one session.

    The trained variables get random values, so that no gate idles around its middle and no gradient is small by chance.
    """
    random = np.random.RandomState(seed)
    with session_with_threads(tf.get_default_graph()) as session:
        session.run(tf.global_variables_initializer())
        for variable in tf.trainable_variables():
            variable.load(random.normal(size=variable.shape.as_list()) * 0.7, session)
        return session.run([tensors(meta) for meta in metas] + list(values))


def assert_same(one, other, rtol=1e-9, atol=1e-12):
    assert len(one) == len(other)
    for ours, theirs in zip(one, other):
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=atol)


def comes_after(op):
    """Names of all ops that have run once this one has: those that it computes with, and those that it waits for."""
    seen, left = set(), [op]
    while left:
        op = left.pop()
        if op.name not in seen:
            seen.add(op.name)
            left += [tensor.op for tensor in op.inputs] + list(op.control_inputs)
    return seen


def one_of(draws, i):
    return tf.nest.map_structure(lambda many: many[i], draws)
