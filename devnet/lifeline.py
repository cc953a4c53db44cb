"""Ties a program to the life of the process that started it (Linux).

Run as a script, by its path: `lifeline.py SIGNAL PARENT PROGRAM ARGUMENT…`. It asks the kernel for SIGNAL when its
parent dies, and then becomes PROGRAM, under the same process id. Doing this in a program of its own, and not between
fork and exec of ours, keeps it safe when we run threads.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1
_CANNOT_EXECUTE = 127


def main() -> None:
    """Tie this process to its parent and become the program."""
    number, parent, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # it died before we asked
        sys.exit(1)
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell wanted
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(_CANNOT_EXECUTE)


if __name__ == "__main__":
    main()
