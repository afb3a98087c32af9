"""What the notebooks share beyond the tables of each."""

import episodes
import numpy as np
import pytest


def test_the_log_of_the_last_losses_is_that_of_their_mean():
    losses = np.array([[9.0, np.e, np.e], [9.0, 0.0, 0.0], [9.0, np.nan, 1.0], [9.0, 1.0, np.inf]], np.float32)
    np.testing.assert_allclose(episodes.log_of_last(losses, last=2), [1, np.log(1e-38), np.inf, np.inf])
    np.testing.assert_allclose(episodes.log_of_last(losses, 1), [np.log(9.0)] * 4)
    np.testing.assert_allclose(episodes.log_of_last(losses[:1]), [np.log((9 + 2 * np.e) / 3)])
    assert episodes.log_of_last(losses, last=2, smallest=1e-3)[1] == pytest.approx(np.log(1e-3))
    assert episodes.log_of_last(np.arange(1.0, 41.0)[np.newaxis])[0] == pytest.approx(np.log(30.5))
