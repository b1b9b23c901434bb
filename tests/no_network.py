"""Run a program in which every process that opens an internet socket is killed: python no_network.py PROGRAM ARGUMENTS.

The kernel does it (seccomp), so native libraries and children are held to it too.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys

_SECCOMP_RET_KILL_PROCESS, _SECCOMP_RET_ALLOW = 0x80000000, 0x7FFF0000
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_LOAD_WORD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_SOCKET = 41  # the number of the system call on x86-64
_AF_INET, _AF_INET6 = 2, 10
#: Offsets in struct seccomp_data: the number of the call, the low word of its first argument.
_NUMBER, _FAMILY = 0, 16

#: Classic BPF: operation, how many to skip if true, if false, operand.
_FILTER = (
    (_LOAD_WORD, 0, 0, _NUMBER),
    (_JUMP_IF_EQUAL, 0, 4, _SOCKET),
    (_LOAD_WORD, 0, 0, _FAMILY),
    (_JUMP_IF_EQUAL, 1, 0, _AF_INET),
    (_JUMP_IF_EQUAL, 0, 1, _AF_INET6),
    (_RETURN, 0, 0, _SECCOMP_RET_KILL_PROCESS),
    (_RETURN, 0, 0, _SECCOMP_RET_ALLOW),
)


def forbid_internet_sockets() -> None:
    """From here on, for this process and all its children.

    Raises:
        OSError: The kernel does not take the filter.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *step) for step in _FILTER))
    program = ctypes.create_string_buffer(struct.pack("<H6xQ", len(_FILTER), ctypes.addressof(code)))
    no_new_privileges = libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if no_new_privileges or libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program)):
        raise OSError(ctypes.get_errno(), "seccomp")


if __name__ == "__main__":
    forbid_internet_sockets()
    os.execv(sys.argv[1], sys.argv[1:])
