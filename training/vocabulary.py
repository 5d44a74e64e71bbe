"""A WordPiece vocabulary learnt from the training text, and the tokenizer that goes with it.

The pieces come from byte-pair merges over word counts (Sennrich et al. 2016); at run time a word is cut
greedily into its longest pieces, as BERT does, so an ordinary `tokenizer.json` serves the model.
"""

import heapq
import json
import re
import unicodedata
from collections import Counter, defaultdict
from pathlib import Path
from typing import Iterable

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PAD, UNK, CLS, SEP, MASK = range(5)
MAX_WORD = 100
WORD = re.compile(r"\w+|[^\w\s]", re.UNICODE)


def normalize(text: str) -> str:
    """As BertNormalizer: lower case, accents and control characters dropped."""
    decomposed = unicodedata.normalize("NFD", text.lower())
    return "".join(c for c in decomposed if unicodedata.category(c) not in ("Mn", "Cc", "Cf") or c in "\t\n\r")


def split_words(text: str) -> list[str]:
    """As BertPreTokenizer: white space separates, each mark of punctuation stands alone."""
    words = []
    for word in WORD.findall(normalize(text)):
        words.extend(part for part in re.split(r"(_)", word) if part)
    return words


def learn(texts: Iterable[str], size: int = 16_000, min_count: int = 3) -> list[str]:
    """The `size` most useful pieces: all frequent characters, then merges by frequency."""
    counts = Counter(word for text in texts for word in split_words(text))
    words = [(word, count) for word, count in counts.items() if count >= min_count and len(word) <= 30]
    symbols = [[word[0]] + [f"##{c}" for c in word[1:]] for word, _ in words]
    frequency = [count for _, count in words]
    characters = Counter()
    for pieces, count in zip(symbols, frequency):
        for piece in pieces:
            characters[piece] += count
    vocabulary = SPECIAL + [piece for piece, count in characters.most_common() if count >= 50][:1500]
    vocabulary += _merge(symbols, frequency, size - len(vocabulary), set(vocabulary))
    return vocabulary


def _merge(symbols: list[list[str]], frequency: list[int], wanted: int, known: set[str]) -> list[str]:
    pairs, places = Counter(), defaultdict(set)
    for index, pieces in enumerate(symbols):
        for pair in zip(pieces, pieces[1:]):
            pairs[pair] += frequency[index]
            places[pair].add(index)
    heap = [(-count, pair) for pair, count in pairs.items()]
    heapq.heapify(heap)
    merged = []
    while heap and len(merged) < wanted:
        count, pair = heapq.heappop(heap)
        if -count != pairs.get(pair, 0):
            continue  # Stale: the pair's count has changed since it was pushed.
        piece = pair[0] + pair[1].removeprefix("##")
        if piece not in known:
            known.add(piece)
            merged.append(piece)
        changed = set()
        for index in places.pop(pair):
            pieces, new, i = symbols[index], [], 0
            for old in zip(pieces, pieces[1:]):
                pairs[old] -= frequency[index]
                changed.add(old)
            while i < len(pieces):
                if i + 1 < len(pieces) and (pieces[i], pieces[i + 1]) == pair:
                    new.append(piece)
                    i += 2
                else:
                    new.append(pieces[i])
                    i += 1
            symbols[index] = new
            for fresh in zip(new, new[1:]):
                pairs[fresh] += frequency[index]
                places[fresh].add(index)
                changed.add(fresh)
        pairs.pop(pair, None)
        for other in changed:
            if pairs.get(other, 0) > 0:
                heapq.heappush(heap, (-pairs[other], other))
    return merged


class Tokenizer:
    def __init__(self, vocabulary: list[str]):
        self.vocabulary = vocabulary
        self.ids = {piece: index for index, piece in enumerate(vocabulary)}
        self._words: dict[str, list[int]] = {}

    def encode(self, text: str) -> list[int]:
        return [piece for word in split_words(text) for piece in self._word(word)]

    def _word(self, word: str) -> list[int]:
        known = self._words.get(word)
        if known is None:
            known = self._words[word] = self._cut(word)
        return known

    def _cut(self, word: str) -> list[int]:
        if len(word) > MAX_WORD:
            return [UNK]
        ids, start = [], 0
        while start < len(word):
            for end in range(len(word), start, -1):
                piece = word[start:end] if start == 0 else f"##{word[start:end]}"
                if piece in self.ids:
                    ids.append(self.ids[piece])
                    start = end
                    break
            else:
                return [UNK]
        return ids


def write_tokenizer(vocabulary: list[str], folder: Path, max_length: int) -> None:
    """`tokenizer.json` and `tokenizer_config.json` in Hugging Face's format."""
    special = [
        {"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        for i, t in enumerate(SPECIAL)
    ]
    sequence = lambda name, kind: {"Sequence": {"id": name, "type_id": kind}}
    token = lambda name, kind: {"SpecialToken": {"id": name, "type_id": kind}}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": True, "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [token("[CLS]", 0), sequence("A", 0), token("[SEP]", 0)],
            "pair": [token("[CLS]", 0), sequence("A", 0), token("[SEP]", 0), sequence("B", 1), token("[SEP]", 1)],
            "special_tokens": {t: {"id": t, "ids": [i], "tokens": [t]} for t, i in (("[CLS]", CLS), ("[SEP]", SEP))},
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": MAX_WORD,
            "vocab": {piece: index for index, piece in enumerate(vocabulary)},
        },
    }
    config = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": True,
        "strip_accents": True,
        "model_max_length": max_length,
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False))
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
