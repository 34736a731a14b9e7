"""The other processes of a run on several machines: waits for them, and ends when one is lost.

Enters: the addresses of TF_CONFIG. Leaves: a connection from each other process, kept until the run
ends. When a process dies, its machine closes them at once; when a machine or the network does, its
kernel answers no more. TensorFlow's own heartbeats find a process that hangs; without these
connections its errors name now the lost one, now another that ended because of it.
"""

import contextlib
import os
import re
import selectors
import socket
import threading
import time

import tensorflow as tf
from absl import logging

SECONDS_BETWEEN_NOTES = 30
LOST = 75  # exit status, as EX_TEMPFAIL of sysexits.h: the same command goes on
_KEEPALIVE = {"TCP_KEEPIDLE": 2, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 3}  # gone after 8 seconds
_GRACE = 5  # seconds in which the others may fail by themselves, as one did: a loss of NaN, Ctrl-C
_END, _ERROR = "end", "error"  # what a process says last; else the address of one that is lost
_LOST_TASK = re.compile(
    r"(?s)(?:stopped sending heartbeats|remote target).*?/job:(\w+)/replica:0/task:(\d+)"
)


class Peers:
    """The other processes, once all are there. Entered while the run lasts.

    If one is lost the process ends with the exit status LOST, by os._exit: TensorFlow may wait for
    the lost one for ever, and checkpoints are published at once or not at all. Leaving it waits
    until all the others leave it too.

    Args:
        own: address of this process.
        names: dict address -> name of all processes, such as "worker 1".
        end_process: called with LOST, in whatever thread; not to return.
    """

    def __init__(self, own, names, end_process=os._exit):
        self.own, self.names, self._end_process = own, names, end_process
        self.others = [address for address in names if address != own]
        self._to, self._from, self._unknown = {}, {}, []  # sockets, the first two by address
        self._is_over = False
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        found = isinstance(error, tf.errors.OpError) and _LOST_TASK.search(str(error))
        if found:
            time.sleep(_GRACE)  # in which the watcher ends the process, if it knows better
            named = {name: address for address, name in self.names.items()}
            self._end(named[f"{found[1]} {found[2]}"])
        self._is_over = kind is not None
        self._tell(_ERROR if kind else _END)
        if kind is None:
            self._watcher.join()

    def meet(self):
        """Waits until every other process has started, and says for whom; then watches them.

        Raises:
            ValueError: the port of this process is taken.
        """
        logging.info("Waiting for the processes of TF_CONFIG at %s", ", ".join(self.others))
        with _listening(self.own) as listener:
            said = time.monotonic()
            while missing := self._missing(listener):
                if time.monotonic() - said >= SECONDS_BETWEEN_NOTES:
                    said = time.monotonic()
                    logging.warning(
                        "Still waiting: nobody answers at %s. Start the process there, or correct "
                        "TF_CONFIG",
                        ", ".join(missing),
                    )
                time.sleep(0.2)
        for sock in self._from.values():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in _KEEPALIVE.items():
                if hasattr(socket, name):
                    sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        self._watcher.start()
        return self

    def _missing(self, listener):
        """Connects to and hears those that have come. Returns the addresses of the others."""
        for address in self.others:
            # Of an older run, or TensorFlow's: these end, or send something.
            if not self._reaches(address):
                self._to.pop(address, None)
                with contextlib.suppress(OSError, UnicodeError):  # a..b is no host's name
                    self._to[address] = _call(address, self.own)
        with contextlib.suppress(BlockingIOError):
            while True:
                self._unknown.append(listener.accept()[0])
                self._unknown[-1].setblocking(False)
        for sock in [sock for sock in self._unknown if _peek(sock) is not None]:
            self._unknown.remove(sock)
            address = _peek(sock).decode(errors="replace").rstrip("\n")
            if address in self.others:
                sock.recv(1024)
                self._from[address] = sock
        self._from = {key: sock for key, sock in self._from.items() if _peek(sock) != b""}
        return [key for key in self.others if key not in self._from or not self._reaches(key)]

    def _reaches(self, address):
        """Whether a connection leads to a process of now. Asked once that one has called: an older
        one at its address, which may have taken the connection, has ended by then."""
        return address in self._to and _peek(self._to[address]) is None

    def _watch(self):
        with selectors.DefaultSelector() as selector:
            for address, sock in self._from.items():
                selector.register(sock, selectors.EVENT_READ, [address, b""])
            while selector.get_map():
                for key, _ in selector.select():
                    data = _peek(key.fileobj)
                    if data:
                        key.data[1] += key.fileobj.recv(len(data))
                    elif data is not None:
                        selector.unregister(key.fileobj)
                        self._heed(key.data[0], key.data[1].decode(errors="replace"))

    def _heed(self, address, last_word):
        """Draws the conclusion from how a connection ended."""
        if last_word == _END:
            return
        if last_word == _ERROR:
            time.sleep(_GRACE)
        if not self._is_over:
            self._end(address if last_word in ("", _ERROR) else last_word)

    def _end(self, address):
        name = f"{self.names.get(address, 'process')} ({address})"
        logging.error(
            "Lost %s: it ended, or its machine or the network failed; its own output may say why. "
            "Stopping. The same command, started again in every process, goes on from the last "
            "checkpoint",
            name,
        )
        self._tell(address)
        self._end_process(LOST)

    def _tell(self, last_word):
        for sock in self._to.values():
            with contextlib.suppress(OSError):
                sock.sendall(last_word.encode())
                sock.shutdown(socket.SHUT_WR)


def host_and_port(address):
    """Splits an address of TF_CONFIG, such as [::1]:2222."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _listening(own):
    # Names may stand for addresses of either kind.
    both = {"family": socket.AF_INET6, "dualstack_ipv6": True}
    kinds = both if socket.has_dualstack_ipv6() else {}
    try:
        listener = socket.create_server(("", host_and_port(own)[1]), backlog=1024, **kinds)
    except OSError as error:
        raise ValueError(
            f"TF_CONFIG: this process, {own}, cannot listen at its port ({error.strerror}). End "
            "what uses it, or choose another port in the TF_CONFIG of every process"
        ) from None
    listener.setblocking(False)
    return listener


def _call(address, own):
    """Returns a connection to a process, to which this one has said its address."""
    sock = socket.create_connection(host_and_port(address), timeout=1)
    sock.sendall(f"{own}\n".encode())
    sock.setblocking(False)
    return sock


def _peek(sock):
    """Returns what has come, b"" after the end of the connection, None for nothing yet."""
    try:
        return sock.recv(1024, socket.MSG_PEEK)
    except BlockingIOError:
        return None
    except OSError:
        return b""
