import os
import threading

import pytest

from canonlab.canon.threads import in_parallel


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_each_part_runs_once_and_the_first_on_the_caller(threads):
    seen = []
    in_parallel(lambda thread: seen.append((thread, threading.current_thread())), threads)
    assert sorted(thread for thread, _ in seen) == list(range(threads))
    assert dict(seen)[0] is threading.current_thread()


def test_an_error_of_another_thread_is_the_callers():
    def run(thread):
        if thread == 1:
            raise OverflowError("one")

    with pytest.raises(OverflowError, match="one"):
        in_parallel(run, 2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own():
    in_parallel(lambda thread: None, 2)  # so that the parent has a pool
    child = os.fork()
    if child == 0:
        in_parallel(lambda thread: None, 2)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
