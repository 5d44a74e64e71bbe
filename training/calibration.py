"""Text to quantise with: training pairs of every source, each with another passage, as JSON lines in random order.

    python3 calibration.py --out /tmp/rankfleet-calibration.jsonl
"""

import argparse
import json
import random

from corpus import read_training
from train import SEED

PAIRS = 30


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--out", required=True)
    options = arguments.parse_args()
    rng = random.Random(SEED)
    requests = [
        {"query": pair.query, "documents": [pair.document, rng.choice(pairs).document]}
        for pairs in read_training().values()
        for pair in pairs[:PAIRS]
    ]
    rng.shuffle(requests)
    with open(options.out, "w", encoding="utf-8") as out:
        out.writelines(json.dumps(request) + "\n" for request in requests)


if __name__ == "__main__":
    main()
