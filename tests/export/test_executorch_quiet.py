"""What the ExecuTorch backend does to the whole process: it hides native chatter, and gives stderr back."""

import os
import threading

from edge.backends.executorch import quiet_stderr


def test_threads_that_overlap_leave_stderr_as_it_was():
    before = os.fstat(2)
    first_in, second_in = threading.Event(), threading.Event()

    def first():
        with quiet_stderr():
            first_in.set()
            second_in.wait(10)
        # ends while the second is inside

    def second():
        first_in.wait(10)
        with quiet_stderr():
            second_in.set()
            thread.join(10)
            assert os.fstat(2).st_rdev == os.stat(os.devnull).st_rdev

    thread = threading.Thread(target=first)
    thread.start()
    second()
    after = os.fstat(2)
    assert (after.st_dev, after.st_ino) == (before.st_dev, before.st_ino)
