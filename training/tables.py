"""Everything that train_reader.py needs, as a few arrays in a folder, so that it can run where the texts are not.

    python3 tables.py --checkpoint /tmp/rankfleet-box.pt --out /tmp/rankfleet-tables

Documents and queries are token ids, one after the other, with a length each; those of a source stand side by side.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from batches import MAX_QUERY_TOKENS
from bm25 import Bm25
from corpus import Pair, answers, read_all_training, read_pairs, read_validation, training_sources
from export import load
from negatives import make_groups
from stems import stem_classes
from train import SEED
from validation import DEPTH
from vocabulary import Tokenizer

# Pairs of a source, at most, and tokens of a document.
MOST = 36_000
DOCUMENT_TOKENS = 216
# Passages of a group that BM25 confuses with the right one; one more is drawn at random.
HARD = 10
# Of each training source, pairs that are not trained on, each among so many of BM25's best others.
HELD_OUT_QUERIES, OTHERS = 50, 15
CHECKED_TOKENS = 250


class Ragged:
    """Token ids of many texts, one after the other."""

    def __init__(self):
        self.texts: list[np.ndarray] = []

    def add(self, tokenizer: Tokenizer, text: str, tokens: int) -> int:
        """The text's place."""
        self.texts.append(np.array(tokenizer.encode(text)[:tokens], np.uint16))
        return len(self.texts) - 1

    def save(self, path: Path) -> None:
        np.save(path.with_suffix(".npy"), np.concatenate(self.texts))
        np.save(path.with_name(path.name + "_lengths.npy"), np.array([len(text) for text in self.texts], np.uint16))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--checkpoint", required=True)
    arguments.add_argument("--out", required=True, help="folder for the arrays")
    options = arguments.parse_args()
    folder = Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    start = time.time()
    say = lambda text: print(f"[{time.time() - start:6.0f} s] {text}", flush=True)
    box, vocabulary = load(options.checkpoint)
    tokenizer = Tokenizer(vocabulary)
    np.save(folder / "stems.npy", np.array(stem_classes(vocabulary), np.uint16))
    # The matcher's view of how much a term weighs, and of how often is often enough: the reader starts from there.
    np.save(folder / "term_weights.npy", box.weight.weight.detach().numpy()[:, 0].astype(np.float32))
    np.save(folder / "saturation.npy", box.saturation.detach().numpy())
    write_training(folder, tokenizer, say)
    write_checks(folder, tokenizer, say)


def write_training(folder: Path, tokenizer: Tokenizer, say) -> None:
    documents, queries = Ragged(), Ragged()
    groups, sources = [], []
    for number, (name, pairs) in enumerate(read_all_training().items()):
        pairs = pairs[:MOST]
        base = len(documents.texts)
        _, passages, own = make_groups(pairs, [], SEED + number, HARD)
        for passage in passages:
            documents.add(tokenizer, passage[:1800], DOCUMENT_TOKENS)
        for pair in pairs:
            queries.add(tokenizer, pair.query, MAX_QUERY_TOKENS)
        groups.append(own + base)
        sources.append(np.full(len(pairs), number, np.uint8))
        say(f"{name}: {len(pairs)} pairs, {len(passages)} passages")
    documents.save(folder / "documents")
    queries.save(folder / "queries")
    # int32 [pairs, 2 + HARD]: places of the right passage, of HARD wrong ones, of a random one.
    np.save(folder / "groups.npy", np.concatenate(groups))
    np.save(folder / "sources.npy", np.concatenate(sources))


def write_checks(folder: Path, tokenizer: Tokenizer, say) -> None:
    """Validation sources as validation.py has them, and pairs of the training sources that are kept out of training."""
    documents, queries = Ragged(), Ragged()
    lists = []

    def add(name: str, pairs: list[Pair], wanted: int, others: int | None) -> None:
        passages = list(dict.fromkeys(pair.document for pair in pairs))
        place = {passage: index for index, passage in enumerate(passages)}
        answered_by = answers(pairs, place)
        index = Bm25(passages)
        for pair in pairs:
            if sum(each["source"] == name for each in lists) == wanted:
                break
            right = place[pair.document]
            also_right = answered_by[pair.query.lower()] - {right}
            found = [int(i) for i in index.search(pair.query, DEPTH + len(also_right))[0] if int(i) not in also_right][:DEPTH]
            if others is None and right not in found:
                continue
            rank = found.index(right) if right in found else DEPTH
            if others is not None:
                found = [each for each in found if each != right][:others]
                rank = min(rank, len(found))
                found.insert(rank, right)
            first = len(documents.texts)
            for each in found:
                documents.add(tokenizer, passages[each][:3000], CHECKED_TOKENS)
            queries.add(tokenizer, pair.query, MAX_QUERY_TOKENS)
            lists.append({"source": name, "first": first, "count": len(found), "right": rank})

    for name, pairs in read_validation().items():
        add(f"validation {name}", pairs, 150, None)
    for name in training_sources():
        add(f"held out {name}", read_pairs(name), HELD_OUT_QUERIES, OTHERS)
    say(f"{len(lists)} queries to check with")
    documents.save(folder / "check_documents")
    queries.save(folder / "check_queries")
    (folder / "check_lists.json").write_text(json.dumps(lists))


if __name__ == "__main__":
    main()
