import os
import signal
import threading

import numpy as np
import pytest
from trainers import ENGINES, same, small


@pytest.mark.parametrize("engine", ENGINES)
def test_interrupt_stops_cleanly_keeps_everything_and_run_goes_on(engine):
    trainer = small(engine=engine)
    trainer.run(1)  # compiled
    handler = signal.getsignal(signal.SIGINT)
    timer = threading.Timer(1.0, os.kill, [os.getpid(), signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt, match="all kept"):
        trainer.run(10**6)
    timer.join()
    assert signal.getsignal(signal.SIGINT) is handler
    stopped_at = len(trainer.history)
    assert stopped_at > 1
    trainer.run(5)
    undisturbed = small(engine=engine)
    undisturbed.run(stopped_at + 5)
    np.testing.assert_array_equal(trainer.history.last_loss, undisturbed.history.last_loss)
    assert same(trainer.weights(), undisturbed.weights())
