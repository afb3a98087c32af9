"""DeepMind's `learning-to-learn` on the paper's experiments: the time of a segment, and what a training gives.

    python benchmarks/deepmind_paper_peer.py quadratic|digits CALLS ROUNDS
    python benchmarks/deepmind_paper_peer.py train EPOCHS 0

in a Python with TensorFlow 1.15, dm-sonnet 1.36, mock and dill; their code is in the folder DEEPMIND_CODE. Segments
have 20 base iterations, derivatives are first ones. `quadratic` is theirs, uniform, ten dimensions, 128 draws; `digits`
a perceptron of 20 sigmoid units with minibatches of 128, on the images in the file DIGITS. `train` runs epochs of 5
segments on `quadratic`, with their defaults. Prints a line of JSON: ms per call, or the losses after 100 updates.
"""

import json
import os
import sys
import time

import numpy as np
from deepmind_peer import meta, nested_variable, problems, tf

PAPERS = {"preprocess_name": "LogAndSign", "preprocess_options": {"k": 5}, "scale": 0.01}


def digits():
    """As their `mnist`, on the package's digits. Its layers are written out: their code does not see the variables of
    dm-sonnet 1.36, which takes `tf.get_variable` from elsewhere.
    """
    with np.load(os.environ["DIGITS"]) as file:
        images, labels = file["images"].reshape([-1, 64]).astype(np.float32) / 16, file["labels"].astype(np.int64)
    images, labels = tf.constant(images), tf.constant(labels)

    def layer(name, inputs, units):
        normal = tf.random_normal_initializer(0, 0.01)
        kernel = tf.get_variable(name + "_w", [inputs.shape[1].value, units], initializer=normal)
        return tf.matmul(inputs, kernel) + tf.get_variable(name + "_b", [units], initializer=normal)

    def build():
        places = tf.random_uniform([128], 0, labels.shape[0].value, dtype=tf.int64)
        hidden = tf.sigmoid(layer("hidden", tf.gather(images, places), 20))
        return problems._xent_loss(layer("output", hidden, 10), tf.gather(labels, places))

    return build


def main():
    what, number, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    meta._nested_variable = nested_variable
    options = {"layers": (20, 20), **({} if what == "train" else PAPERS)}
    optimizer = meta.MetaOptimizer(cw={"net": "CoordinateWiseDeepLSTM", "net_options": options})
    problem = digits() if what == "digits" else problems.quadratic(batch_size=128, num_dims=10)
    step, update, reset, cost, _ = optimizer.meta_minimize(problem, 20, learning_rate=0.001)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        if what == "train":
            losses = []
            for _ in range(number):
                session.run(reset)
                for _ in range(5):
                    last = session.run([cost, update, step])[0]
                losses.append(float(last))
            print(json.dumps({"losses": losses}))
            return
        session.run(reset)
        times = []
        for _ in range(rounds + 1):
            start = time.perf_counter()
            for _ in range(number):
                session.run([cost, update, step])
            times.append((time.perf_counter() - start) * 1000 / number)
    print(json.dumps({"ms_per_meta_iteration": times[1:]}))


if __name__ == "__main__":
    main()
