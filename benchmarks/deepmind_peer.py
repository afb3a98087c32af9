"""A training call of DeepMind's `learning-to-learn` on its `quadratic`: forward, backward and Adam.

    python benchmarks/deepmind_peer.py D T BATCH CALLS ROUNDS

runs in a Python with TensorFlow 1.15, dm-sonnet 1.36 and mock, and finds their code in the folder
DEEPMIND_CODE. Prints ms per call. Their problem multiplies by a full matrix where ours is diagonal.
"""

import json
import os
import sys
import time

sys.path.insert(0, os.environ["DEEPMIND_CODE"])
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import meta
import problems
import tensorflow as tf


def nested_variable(init, name=None, trainable=False):
    """Theirs turns the LSTM's namedtuples into tuples, which dm-sonnet 1.36 no longer accepts."""
    if isinstance(init, (list, tuple)):
        parts = [nested_variable(part, name, trainable) for part in init]
        return type(init)(*parts) if hasattr(init, "_fields") else type(init)(parts)
    return tf.Variable(init, name=name, trainable=trainable)


def main():
    dims, steps, batch, calls, rounds = map(int, sys.argv[1:])
    meta._nested_variable = nested_variable
    optimizer = meta.MetaOptimizer(cw={"net": "CoordinateWiseDeepLSTM", "net_options": {"layers": (20, 20)}})
    problem = problems.quadratic(batch_size=batch, num_dims=dims)
    step, update, reset, cost, _ = optimizer.meta_minimize(problem, steps, learning_rate=0.001)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(reset)
        times = []
        for _ in range(rounds + 1):
            start = time.perf_counter()
            for _ in range(calls):
                session.run([cost, update, step])
            times.append((time.perf_counter() - start) * 1000 / calls)
    print(json.dumps({"ms_per_meta_iteration": times[1:]}))


if __name__ == "__main__":
    main()
