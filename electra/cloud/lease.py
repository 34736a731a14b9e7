"""The lock of a folder in a bucket: an object that one process makes, renews and removes.

A process that was killed renews no more: after LEASE_SECONDS without a change, as the one that
waits counts them, the object is taken over; at once where its process was of this machine and is
gone. Needs a store that makes an object only where there is none.
"""

import contextlib
import json
import os
import platform
import threading
import time
import uuid

from absl import logging

from electra.cloud import mirror, store
from electra.cloud.urls import is_url, origin, scheme_of
from electra.storage import LockedError, parse_json_dict

NAME = ".electra-lock"
LEASE_SECONDS = 60
_RENEWALS = 4  # in that time
_LARGEST = 4096  # bytes of such an object
_LOCKING = ("s3", "s3a", "gs", "gcs", "memory")  # whose fsspec makes what is not there, and fails
_SHAPE = {"owner": str, "machine": str, "process": int, "count": int}


@contextlib.contextmanager
def held(folder, left_out=()):
    """Keeps the bucket's folder of a working copy for this process, and the copy in step with it.

    Pulls at the beginning, pushes at the end. Any other folder stays as it is.

    Args:
        folder: path. left_out: as of mirror.pull.
    Raises:
        LockedError: another process has it.
    """
    url = origin(folder)
    if not is_url(url):
        yield
        return
    with taken(folder), mirror.covered(folder, left_out=left_out):
        yield


@contextlib.contextmanager
def taken(folder):
    """Takes the lock alone of the bucket's folder that a working copy is of."""
    folder = origin(folder)
    if not is_url(folder):
        yield
        return
    if scheme_of(folder) not in _LOCKING:
        logging.warning(
            "%s: this store has no locks. See to it that one process alone writes there", folder
        )
        yield
        return
    lease = _Lease(f"{folder}/{NAME}")
    lease.take()
    try:
        yield
    finally:
        lease.give_back()


class _Lease:
    """A lock, by the URL of its object."""

    def __init__(self, url):
        self._url, self._owner, self._count, self._is_lost = url, uuid.uuid4().hex, 0, False
        self._heard, self._renewing = 0.0, threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def take(self):
        seen, since, told = None, time.monotonic(), False
        self._heard = since
        while not store.write(self._url, self._text(), is_new=True):
            now = self._read()
            if now and now["owner"] == self._owner:  # it was written, though the answer was lost
                break
            if now != seen:
                if seen and now and now["owner"] == seen["owner"]:  # it was renewed: it lives
                    raise LockedError(
                        f"{self._url}: process {now['process']} of {now['machine']} is at work "
                        "there. Wait for its end, or choose another folder"
                    )
                seen, since = now, time.monotonic()
            waited = time.monotonic() - since
            if now is None:  # removed meanwhile, or the store refuses what is not there
                if waited > LEASE_SECONDS:
                    raise store.BucketError(
                        f"{self._url} cannot be made, and is not there. Check the rights to make "
                        "and to read objects in that folder"
                    )
                time.sleep(min(1.0, LEASE_SECONDS / 10))
                continue
            if waited > LEASE_SECONDS or _is_dead(now):
                logging.info("%s: taken over from a process that is gone", self._url)
                if self._read() == now:  # nobody else was faster
                    store.remove(self._url)
                continue
            if not told:
                about = "%s: waiting up to %d s to see whether its owner, process %d of %s, lives"
                logging.info(about, self._url, LEASE_SECONDS, now["process"], now["machine"])
                told = True
            time.sleep(min(1.0, LEASE_SECONDS / 10))
            self._heard = time.monotonic()
        mirror.guards.add(self.check)
        self._thread.start()

    def check(self):
        """Raises BucketError: another process took the folder over, as this one was not heard."""
        is_late = time.monotonic() - self._heard > LEASE_SECONDS
        if is_late and not self._is_lost:  # it may be so, and not be known yet
            self._renew()
        if self._is_lost:
            raise store.BucketError(
                f"{self._url} is another process's now: this one was not heard for "
                f"{LEASE_SECONDS} s. Nothing more is written. Run the command again when that ends"
            )

    def give_back(self):
        mirror.guards.discard(self.check)
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            now = self._read()
            if now is not None and now["owner"] == self._owner:
                store.remove(self._url)

    def _keep(self):
        while not (self._ended.wait(LEASE_SECONDS / _RENEWALS) or self._is_lost):
            try:
                self._renew()
            except (OSError, ValueError) as error:  # the next may succeed
                logging.warning("The lock was not renewed: %s", error)

    def _renew(self):
        """Changes the object, unless it is another's."""
        with self._renewing:
            now, asked = self._read(), time.monotonic()
            self._is_lost = now is None or now["owner"] != self._owner
            if not self._is_lost:
                self._count += 1
                store.write(self._url, self._text())
                self._heard = asked

    def _text(self):
        about = {"owner": self._owner, "machine": _machine(), "process": os.getpid()}
        return json.dumps({**about, "count": self._count}).encode()

    def _read(self):
        """Returns what the object holds as a dict; None where there is none."""
        about = store.stat(self._url)
        if about is None:
            return None
        try:
            if about.size > _LARGEST:
                raise ValueError(f"it has {about.size} bytes")
            text = store.read(self._url, 0, about.size).decode()
            return parse_json_dict(text, "it", _SHAPE)
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise LockedError(f"{self._url} is no lock of ours: {error}. Remove it") from None


def _machine():
    """Returns what tells apart machines, and containers that do not see each other's processes."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return f"{platform.node()} {file.read(8)} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # not Linux
        return platform.node()


def _is_dead(now):
    """Returns whether the owner was a process of this machine, and is gone."""
    if now["machine"] != _machine() or not os.path.isdir("/proc/self"):
        return False
    return not os.path.exists(f"/proc/{now['process']}")
