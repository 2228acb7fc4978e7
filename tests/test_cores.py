"""Cores are those that this process may use, wherever they are counted."""

import os
import subprocess
import sys

import pytest

COUNT = """
import os
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
from concurrent import futures
from bloodkeras.answers.session import onnxruntime, open_session
from bloodkeras.cores import core_count, cores
from bloodkeras.images import sources
asked = []
class Pool(futures.ThreadPoolExecutor):
    def __init__(self, threads, *words):
        asked.append(threads)
        super().__init__(threads, *words)
sources.ThreadPoolExecutor = Pool
list(sources.read_ahead([lambda: []]))
onnxruntime.InferenceSession = lambda model, options, **_: asked.append(
    options.intra_op_num_threads
)
open_session(b"")
print(core_count(), len(cores()), *asked)
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores are not chosen here")
def test_a_process_that_is_held_to_one_core_counts_one():
    done = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True)
    assert done.stdout.split() == ["1", "1", "1", "1"], done.stderr
