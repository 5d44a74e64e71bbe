"""The training text: pairs of a query and the passage that answers it, by source.

Sources that are held out whole serve as validation: what the model is chosen by must be a domain that
it has not seen. Nothing under ../shared/data/eval is read here.
"""

import gzip
import json
import random
from dataclasses import dataclass
from pathlib import Path

TRAIN_FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data" / "train"

# Most pairs of a source that take part in an epoch. Headings of manuals are plentiful and alike;
# questions asked by people are few and close to what a reranker is for.
CAPS = {
    "wordnet": 8_000,
    "docs_microsoft": 12_000,
    "aws_docs": 12_000,
    "arxiv_titles": 20_000,
    "openstax": 28_000,
    "mdn": 10_000,
    "acl_anthology": 10_000,
    "openstax_glossary": 6_000,
    "docs_prog": 6_000,
    "docs_proposals": 5_000,
    "python_peps": 5_000,
}
DEFAULT_CAP = 20_000
# Of each training source, pairs kept apart to tell what was learnt from what was memorised; and how many
# of the source's passages BM25 searches for them.
HELD_OUT = 100
HELD_OUT_POOL = 4_000
VALIDATION_SOURCES = ("covid_qa", "dstc9_faq", "interview_qa", "omos_qa", "til")


@dataclass(frozen=True)
class Pair:
    query: str
    document: str
    source: str
    # What the document was cut out of, where it is no passage of the source itself.
    origin: str | None = None


def read_pairs(source: str, cap: int | None = None, seed: int = 0) -> list[Pair]:
    """A source's pairs, shuffled; duplicates and fragments are left out."""
    pairs, seen = [], set()
    with gzip.open(TRAIN_FOLDER / f"{source}.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            query, document = record["query"].strip(), record["positive"].strip()
            key = (query.lower(), document[:200])
            if len(query) < 3 or len(document) < 30 or key in seen:
                continue
            seen.add(key)
            pairs.append(Pair(query, document[:4000], source))
    random.Random(f"{seed}:{source}").shuffle(pairs)
    return pairs if cap is None else pairs[:cap]


def training_sources() -> list[str]:
    names = sorted(path.name.removesuffix(".jsonl.gz") for path in TRAIN_FOLDER.glob("*.jsonl.gz"))
    return [name for name in names if name not in VALIDATION_SOURCES]


def read_training() -> dict[str, list[Pair]]:
    """Without the held-out pairs, and without any whose query or passage is a held-out pair's."""
    return _without_held_out({name: CAPS.get(name, DEFAULT_CAP) for name in training_sources()})


def read_all_training() -> dict[str, list[Pair]]:
    """As read_training(), with no cap on large sources."""
    return _without_held_out({name: None for name in training_sources()})


def _without_held_out(caps: dict[str, int | None]) -> dict[str, list[Pair]]:
    return {name: without_held_out(read_pairs(name, cap)) for name, cap in caps.items()}


def without_held_out(pairs: list[Pair]) -> list[Pair]:
    """A source's pairs but its held-out ones and any whose query or passage is a held-out pair's."""
    queries = {pair.query.lower() for pair in pairs[:HELD_OUT]}
    documents = {pair.document for pair in pairs[:HELD_OUT]}
    rest = pairs[HELD_OUT:]
    return [pair for pair in rest if pair.query.lower() not in queries and pair.document not in documents]


def read_held_out() -> dict[str, list[Pair]]:
    """Pairs of the training sources that are not trained on, followed by others of the source as distractors."""
    return {name: read_pairs(name, HELD_OUT_POOL) for name in training_sources()}


def answers(pairs: list[Pair], place: dict[str, int]) -> dict[str, set[int]]:
    """By query, lower-cased, the places of all its passages: a question that was asked twice has two right ones."""
    places: dict[str, set[int]] = {}
    for pair in pairs:
        places.setdefault(pair.query.lower(), set()).add(place[pair.document])
    return places


def read_validation() -> dict[str, list[Pair]]:
    return {name: read_pairs(name) for name in VALIDATION_SOURCES}


def inverse_cloze(pairs: list[Pair], share: float, seed: int) -> list[Pair]:
    """Pairs whose query is a span of a passage and whose document is the rest of it."""
    rng = random.Random(seed)
    made = []
    for pair in pairs:
        words = pair.document.split()
        if rng.random() >= share or len(words) < 50:
            continue
        length = rng.randint(4, 10)
        start = rng.randint(0, min(len(words), 120) - length)
        rest = words[:start] + words[start + length :]
        made.append(Pair(" ".join(words[start : start + length]), " ".join(rest), pair.source, pair.document))
    return made
