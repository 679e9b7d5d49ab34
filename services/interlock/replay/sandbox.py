"""Shutting a replay process in: what its credentials do not prevent, because it has none.

Two layers. Python's audit hooks refuse files outside the installed code, sockets, processes and
native libraries to everything that is written in Python; code that is native, or that tampers
with the interpreter, gets past them. On Linux (x86-64, aarch64) a seccomp filter refuses sockets,
new processes and writing files in the kernel, to native code too. See docs/decisions/010.
"""

import ctypes
import os
import platform
import struct
import sys
import sysconfig
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

_FORBIDDEN = (
    "socket.", "subprocess.", "os.exec", "os.spawn", "os.posix_spawn", "os.fork", "os.system",
    "os.kill", "os.putenv", "os.unsetenv", "os.remove", "os.rename", "os.link", "os.symlink",
    "os.mkdir", "os.rmdir", "os.truncate", "os.chmod", "os.chown", "os.setxattr", "os.utime",
    "os.startfile", "shutil.", "ctypes.", "sqlite3.", "pty.", "signal.pthread_kill", "gc.",
    "tempfile.", "ftplib.", "http.client", "urllib.", "smtplib.", "webbrowser.", "fcntl.",
    "sys.setprofile", "sys.settrace", "sys.remote_exec", "resource.",
)  # fmt: skip
_LISTING = frozenset({"os.listdir", "os.scandir", "os.walk", "os.fwalk", "glob.glob"})
_CODE = (".py", ".pyc", ".so", ".pyi")


class ReplayRefused(PermissionError):
    """What ran in a replay process tried to act."""


def installed() -> tuple[str, ...]:
    """Folders of installed code: everything in them may be read."""
    paths = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    packages = [one for one in sys.path if one.endswith(("site-packages", "dist-packages"))]
    own = str(Path(__file__).resolve().parents[1])
    return tuple(sorted({os.path.realpath(one) + os.sep for one in (*paths, *packages, own)}))


def shut_in(private: Iterable[str] = ()) -> list[str]:
    """From here on this process reads code and talks over the pipes it has: nothing else.

    `private` are folders of which nothing may be read, whatever lies around them. Returns the
    layers that hold. There is no way back.
    """
    layers = ["audit hooks"]
    if _seccomp():
        layers.append("seccomp")
    code = tuple(os.path.realpath(one or ".") + os.sep for one in sys.path if one)
    closed = tuple(os.path.realpath(one) + os.sep for one in private)
    sys.addaudithook(_hook(installed(), code, closed))
    return layers


def _hook(
    readable: tuple[str, ...], code: tuple[str, ...], closed: tuple[str, ...]
) -> Callable[[str, tuple[Any, ...]], None]:
    realpath, fspath, getcwd = os.path.realpath, os.fsdecode, os.getcwd
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

    def allowed(path: Any, listing: bool) -> bool:
        if isinstance(path, int) and not isinstance(path, bool):
            return listing is False and path > 2
        place = realpath(fspath(path) if path is not None else getcwd())
        if place.startswith(closed):
            return False
        if place.startswith(readable) or (place + os.sep).startswith(readable):
            return True
        return place.startswith(code) and (listing or place.endswith(_CODE))

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = args
            writes = (isinstance(mode, str) and set(mode) & set("wax+")) or (flags or 0) & writing
            if writes or not allowed(path, False):
                raise ReplayRefused(f"a replay opens no file: {event}")
        elif event in _LISTING:
            place = args[0] if args else None
            inside = isinstance(place, str | bytes | os.PathLike) and (
                allowed(place, True) or (realpath(fspath(place)) + os.sep).startswith(code)
            )
            if not inside:
                raise ReplayRefused(f"a replay lists no folder: {event}")
        elif event.startswith(_FORBIDDEN):
            raise ReplayRefused(f"a replay cannot act: {event}")

    return hook


_ARCHITECTURES = {
    # audit architecture, then system calls by number (asm/unistd_64.h, asm-generic/unistd.h)
    "x86_64": (
        0xC000003E,
        (41, 42, 43, 44, 46, 49, 50, 53, 288, 307, 57, 58, 59, 322, 101, 310, 311, 62, 200, 234),
        (425, 426, 427), 435, 56, 257, 2,
        (76, 77, 82, 83, 84, 85, 86, 87, 88, 90, 92, 133, 258, 259, 260, 263, 264, 265, 266, 268,
         316, 437),
    ),
    "aarch64": (
        0xC00000B7,
        (198, 199, 200, 201, 202, 203, 206, 211, 242, 269, 221, 281, 117, 270, 271, 129, 130, 131),
        (425, 426, 427), 435, 220, 56, None,
        (45, 46, 33, 34, 35, 36, 37, 38, 53, 54, 52, 55, 276, 437),
    ),
}  # fmt: skip
_CLONE_THREAD = 0x0001_0000
_WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_ALLOW, _EPERM, _ENOSYS = 0x7FFF_0000, 0x0005_0001, 0x0005_0026


def _seccomp() -> bool:
    """Ask the kernel to refuse what acts; False where it cannot be asked.

    clone3 passes its flags where a filter cannot see them: it is refused as unknown, and libc
    then starts threads by clone. openat2 and io_uring are refused for the same reason.
    """
    known = _ARCHITECTURES.get(platform.machine())
    if sys.platform != "linux" or known is None:
        return False
    architecture, acting, hidden, clone3, clone, openat, open_, changing = known
    program = _program(architecture, (*acting, *hidden, *changing), clone3, clone, openat, open_)
    code = b"".join(struct.pack("HBBI", *line) for line in program)
    buffer = ctypes.create_string_buffer(code, len(code))

    class Program(ctypes.Structure):
        _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

    libc = ctypes.CDLL(None, use_errno=True)
    wanted = Program(len(program), ctypes.cast(buffer, ctypes.c_void_p))
    no_new_privileges, call = 38, 317 if platform.machine() == "x86_64" else 277
    if libc.prctl(no_new_privileges, 1, 0, 0, 0) != 0:
        return False
    every_thread = 1
    done: int = libc.syscall(call, 1, every_thread, ctypes.byref(wanted))
    return done == 0


def _program(
    architecture: int,
    refused: tuple[int, ...],
    clone3: int,
    clone: int,
    openat: int,
    open_: int | None,
) -> list[tuple[int, int, int, int]]:
    """The filter in classic BPF: (operation, jump if true, jump if false, value)."""
    load, equal, any_bit, more, back = 0x20, 0x15, 0x45, 0x35, 0x06
    number, arch, argument = 0, 4, 16
    lines = [
        (load, 0, 0, arch), (equal, 1, 0, architecture), (back, 0, 0, _EPERM),
        (load, 0, 0, number), (more, 0, 1, 0x4000_0000), (back, 0, 0, _EPERM),
        (equal, 0, 1, clone3), (back, 0, 0, _ENOSYS),
        # A thread is no process.
        (equal, 0, 4, clone), (load, 0, 0, argument), (any_bit, 1, 0, _CLONE_THREAD),
        (back, 0, 0, _EPERM), (back, 0, 0, _ALLOW),
        (equal, 0, 4, openat), (load, 0, 0, argument + 16), (any_bit, 0, 1, _WRITE_FLAGS),
        (back, 0, 0, _EPERM), (back, 0, 0, _ALLOW),
    ]  # fmt: skip
    if open_ is not None:
        lines += [
            (equal, 0, 4, open_), (load, 0, 0, argument + 8), (any_bit, 0, 1, _WRITE_FLAGS),
            (back, 0, 0, _EPERM), (back, 0, 0, _ALLOW),
        ]  # fmt: skip
    for call in refused:
        lines += [(equal, 0, 1, call), (back, 0, 0, _EPERM)]
    return [*lines, (back, 0, 0, _ALLOW)]
