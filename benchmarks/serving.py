"""Measures a server of a SavedModel: requests a second, and how long one takes.

    python examples/serve_http.py --model_dir served/M --name M &
    python benchmarks/serving.py --url http://localhost:8501/v1/models/M --text_file dev.tsv

Every client keeps its connection and asks for the next text when it has its answer. The numbers of
clients take turns, so that what else the machine does falls on all of them.
"""

import argparse
import http.client
import itertools
import json
import statistics
import threading
import time
import urllib.parse


def ask(url, texts, names, rows, until, seconds):
    """Is a client: appends how long each request took to `seconds`."""
    connection = http.client.HTTPConnection(url.netloc, timeout=600)
    for first in itertools.count(step=rows):
        if time.perf_counter() > until:
            break
        chosen = [texts[(first + i) % len(texts)] for i in range(rows)]
        instances = [dict.fromkeys(names, "") | {names[0]: text} for text in chosen]
        start = time.perf_counter()
        connection.request("POST", f"{url.path}:predict", json.dumps({"instances": instances}))
        response = connection.getresponse()
        data = response.read()
        seconds.append(time.perf_counter() - start)
        if response.status != 200:
            raise SystemExit(f"Status {response.status}: {data[:500]!r}")


def measure(url, texts, names, clients, rows, duration):
    """Returns (requests a second, their seconds)."""
    seconds, start = [], time.perf_counter()
    threads = [
        threading.Thread(
            target=ask,
            args=(url, texts[i::clients], names, rows, start + duration, seconds),
        )
        for i in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(seconds) / (time.perf_counter() - start), seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--url", required=True, help="as http://localhost:8501/v1/models/M")
    parser.add_argument("--text_file", required=True, help="a text a line, what follows a tab left")
    parser.add_argument("--inputs", default="text", help="names of the inputs; the first has it")
    parser.add_argument("--clients", default="1,2,4,8")
    parser.add_argument("--rows", type=int, default=1, help="texts in a request")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    values = parser.parse_args()
    url, names = urllib.parse.urlsplit(values.url), values.inputs.split(",")
    with open(values.text_file, encoding="utf-8") as file:
        texts = [line.split("\t")[0].strip() for line in file]
    texts = [text for text in texts if text]
    numbers = [int(number) for number in values.clients.split(",")]
    measure(url, texts, names, 1, values.rows, 1)  # the first requests build what is built once
    found = {number: [] for number in numbers}
    for number in numbers * values.rounds:
        found[number].append(measure(url, texts, names, number, values.rows, values.seconds))
    for number, rounds in found.items():
        rates = [rate for rate, _ in rounds]
        times = sorted(1000 * s for _, seconds in rounds for s in seconds)
        print(
            f"{number} clients: {statistics.median(rates):.1f} requests/s "
            f"({min(rates):.1f} to {max(rates):.1f}), p50 {times[len(times) // 2]:.1f} ms, "
            f"p99 {times[int(len(times) * 0.99)]:.1f} ms, {len(times)} requests"
        )


if __name__ == "__main__":
    main()
