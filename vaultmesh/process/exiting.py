"""Ends a process with its exit code, at once.

Threads of Temporal's SDK may still run when a program is done, above all after a connection that never came about. They
abort a Python interpreter that is being taken down: instead of its exit code the process then leaves a core dump. So
nothing is taken down. What was printed or logged is written out first; `atexit` functions do not run.

What is loaded when a program begins lives as long as its process: the garbage collector does not look at it.
"""

import gc
import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

FAILURE = 1
INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


def run_and_exit(program: Callable[[], int]) -> NoReturn:
    """Run a program and end the process with the code that it returns; Ctrl-C interrupts it from now on.

    An error that the program lets through is reported as Python reports it, and the code is 1.
    """
    code = FAILURE
    _reopen_what_is_closed()
    try:
        gc.freeze()
        gc.enable()
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        code = program()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except SystemExit as ended:
        code = _code_of(ended)
    finally:
        error = sys.exception()
        if error is not None:
            sys.excepthook(type(error), error, error.__traceback__)
        _write_out()
        os._exit(code)


def _reopen_what_is_closed() -> None:
    """Lead inputs and outputs that were closed before the start (`>&-`) nowhere: else the next opened file takes their place."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 - stays open


def _code_of(ended: SystemExit) -> int:
    """Return the exit code that Python gives to a `SystemExit`; a text in place of a number is shown."""
    if ended.code is None or isinstance(ended.code, int):
        return ended.code or 0
    print(ended.code, file=sys.stderr)  # noqa: T201 - as Python does
    return FAILURE


def _write_out() -> None:
    """Flush logs and both outputs; a reader that is gone is no reason to stay."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
