"""A fresh interpreter that says what an import costs it.

Usage: ``python -m benchmarks.importing <what to run first> <what to measure>``; it prints CPU seconds.
"""

from __future__ import annotations

import sys
import time

if __name__ == "__main__":
    first, timed = (compile(program, "<import>", "exec") for program in sys.argv[1:])
    exec(first)  # noqa: S102 - a program of our own
    before = time.process_time()
    exec(timed)  # noqa: S102 - as above
    print(time.process_time() - before)
