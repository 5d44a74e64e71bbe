"""BM25 over a source's passages: where hard negatives and the validation candidates come from."""

import re

import numpy as np

WORD = re.compile(r"[a-z0-9]+")
STOP = set(
    "a an and are as at be but by for if in into is it no not of on or such that the their then there "
    "these they this to was will with what how do does can i you my when which who why where".split()
)


def terms(text: str) -> list[str]:
    """Lower-cased words without stop words; a plural s is dropped in place of stemming."""
    words = (word for word in WORD.findall(text.lower()) if word not in STOP)
    return [word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word for word in words]


class Bm25:
    """Lucene's formula with k1 0.9, b 0.4 (Anserini's defaults)."""

    def __init__(self, documents: list[str], k1: float = 0.9, b: float = 0.4):
        self.size = len(documents)
        ids: dict[str, int] = {}
        term_ids, document_ids, lengths = [], [], np.zeros(self.size, np.float32)
        for index, document in enumerate(documents):
            words = terms(document)
            lengths[index] = len(words)
            term_ids.extend(ids.setdefault(word, len(ids)) for word in words)
            document_ids.extend([index] * len(words))
        keys, counts = np.unique(np.array(term_ids, np.int64) * self.size + np.array(document_ids, np.int64), return_counts=True)
        rows, self.columns = keys // self.size, (keys % self.size).astype(np.int32)
        self.starts = np.searchsorted(rows, np.arange(len(ids) + 1))
        df = np.diff(self.starts).astype(np.float32)
        idf = np.log(1 + (self.size - df + 0.5) / (df + 0.5))
        norm = k1 * (1 - b + b * lengths[self.columns] / max(1.0, float(lengths.mean())))
        self.weights = (idf[rows] * counts / (counts + norm)).astype(np.float32)
        self.ids = ids

    def search(self, query: str, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices and scores of the best documents that share a term with the query."""
        scores = np.zeros(self.size, np.float32)
        for word in set(terms(query)):
            term = self.ids.get(word)
            if term is not None:
                span = slice(self.starts[term], self.starts[term + 1])
                scores[self.columns[span]] += self.weights[span]
        depth = min(depth, self.size)
        best = np.argpartition(-scores, depth - 1)[:depth]
        best = best[np.argsort(-scores[best], kind="stable")]
        best = best[scores[best] > 0]
        return best, scores[best]
