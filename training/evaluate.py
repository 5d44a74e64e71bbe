"""How a checkpoint ranks BM25's top 50 of the evaluation sets. For reporting; nothing is tuned on it.

    python3 evaluate.py --checkpoint /tmp/box.pt
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

from batches import to_rows
from bm25 import Bm25
from corpus import TRAIN_FOLDER
from export import load
from vocabulary import Tokenizer

EVAL_FOLDER = TRAIN_FOLDER.parent / "eval"
SETS = ("cranfield", "medline", "cacm", "time", "stackfaq")
DEPTH = 50


def ndcg(grades: list[int], all_grades: list[int], k: int = 10) -> float:
    """Linear gain, as trec_eval's ndcg_cut."""
    discounts = 1 / np.log2(np.arange(2, k + 2))
    gain = lambda values: float(sum(g * d for g, d in zip(values, discounts)))
    return gain(grades[:k]) / gain(sorted(all_grades, reverse=True)[:k])


def lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def evaluate(name: str, model: torch.nn.Module, tokenizer: Tokenizer) -> dict[str, float]:
    folder = EVAL_FOLDER / name
    documents = lines(folder / "corpus.jsonl")
    texts = [f"{d.get('title') or ''} {d['text']}".strip() for d in documents]
    judged: dict[str, dict[str, int]] = defaultdict(dict)
    for line in (folder / "qrels.tsv").read_text().splitlines():
        query, document, grade = line.split("\t")
        judged[query][document] = int(grade)
    index = Bm25(texts)
    tokens = [np.array(tokenizer.encode(text)) for text in texts]
    figures = defaultdict(list)
    for query in lines(folder / "queries.jsonl")[:300]:
        grades = judged[query["id"]]
        if not any(grade > 0 for grade in grades.values()):
            continue
        found, scores = index.search(query["text"], DEPTH)
        encoded = np.array(tokenizer.encode(query["text"]))
        with torch.no_grad():
            logits = model(*to_rows([(encoded, tokens[i]) for i in found], 512)).squeeze(1).numpy()
        standard = lambda values: (values - values.mean()) / (values.std() + 1e-6)
        for kind, order in (("bm25", scores), ("model", logits), ("sum", standard(scores) + standard(logits))):
            ranked = [grades.get(documents[found[i]]["id"], 0) for i in np.argsort(-order, kind="stable")]
            figures[kind].append(ndcg(ranked, list(grades.values())))
    return {kind: float(np.mean(values)) for kind, values in figures.items()}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--checkpoint", required=True)
    model, vocabulary = load(arguments.parse_args().checkpoint)
    torch.set_num_threads(2)
    tokenizer = Tokenizer(vocabulary)
    for name in SETS:
        figures = evaluate(name, model, tokenizer)
        print(f"{name:10} " + "  ".join(f"{kind} {value:.3f}" for kind, value in figures.items()), flush=True)


if __name__ == "__main__":
    main()
