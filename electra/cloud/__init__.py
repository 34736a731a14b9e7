"""Buckets: whatever has a URL. Uses fsspec, which the extra `cloud` installs with its stores.

A model's folder has a working copy on this machine (mirror.py) and one process that writes to it
(lease.py); records and corpora are read in place (files.py, blocks.py). Requests, and when they are
tried again: store.py. fsspec is imported where a path is a URL, and not before.
"""
