"""Open files that several threads read: a descriptor closes when its last user has let go."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable


class Descriptor:
    """A file descriptor with users; who made it is the first. As a context it lets go at the end.

    Attributes:
        fd: The descriptor.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._users = 1
        self._lock = threading.Lock()

    def retain(self) -> Descriptor:
        """Become one more user."""
        with self._lock:
            self._users += 1
        return self

    def release(self) -> None:
        """Let go."""
        with self._lock:
            self._users -= 1
            last = self._users == 0
        if last:
            os.close(self.fd)

    def __enter__(self) -> Descriptor:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.release()


class DescriptorCache:
    """The descriptors that were used last, by key.

    Args:
        most: How many stay open.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: OrderedDict[str, Descriptor] = OrderedDict()
        self._lock = threading.Lock()

    def borrow(self, key: str) -> Descriptor | None:
        """Return a descriptor, of which the caller is a user, or None if it is not open."""
        with self._lock:
            file = self._open.get(key)
            if file is None:
                return None
            self._open.move_to_end(key)
            return file.retain()

    def keep(self, key: str, file: Descriptor) -> None:
        """Become a user of a descriptor, under a key; an older one there goes."""
        with self._lock:
            gone = [self._open.pop(key, None)]
            self._open[key] = file.retain()
            if len(self._open) > self._most:
                gone.append(self._open.popitem(last=False)[1])
        for one in gone:
            if one is not None:
                one.release()

    def drop(self, chooses: Callable[[str], bool]) -> None:
        """Let go of all descriptors whose key is chosen."""
        with self._lock:
            gone = [self._open.pop(key) for key in list(self._open) if chooses(key)]
        for file in gone:
            file.release()
