"""The lock of a journal file: the system's own, which goes with the process that holds it.

Optuna's locks are files of their own, left behind by a process that is killed while it writes, as it mostly is: others
then wait until the lock is old enough to be taken for dead.
"""

from __future__ import annotations

import os
import threading

from optuna.storages.journal import JournalFileOpenLock


class JournalLock(JournalFileOpenLock):
    """An exclusive `flock` of the journal itself, for the processes of one machine.

    Args:
        path: The journal.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._path = path
        self._held = threading.local()

    def acquire(self) -> bool:
        """Wait for the lock."""
        import fcntl

        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except BaseException:
            os.close(descriptor)
            raise
        self._held.descriptor = descriptor
        return True

    def release(self) -> None:
        """Let others have it."""
        os.close(self._held.descriptor)


def journal_lock(path: str) -> JournalFileOpenLock:
    """The lock of a journal; where the system has no `flock`, Optuna's."""
    try:
        import fcntl  # noqa: F401
    except ImportError:
        return JournalFileOpenLock(path)
    return JournalLock(path)
