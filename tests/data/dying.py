"""A unit of work that ends its process; a worker loads it without TensorFlow."""

import os


def die(*_, **options):
    os._exit(9)
