"""Which pieces of the vocabulary are forms of one word: flow, flows, flowing.

A few English suffixes are enough, since the matcher sees the exact piece as well and learns how much
to trust each of the two.
"""

VOWELS = set("aeiouy")
DERIVED = ("ations", "ation", "ition", "ments", "ment", "ness", "ibility", "ability", "able", "ible", "ically", "ical", "ively", "ive", "ions", "ion", "ity", "ors", "or", "ers", "er", "ally", "al", "ly", "ance", "ence", "ous", "ic")


def stem(word: str) -> str:
    """The word less its inflection, and less one suffix of derivation if enough of it is left."""
    if len(word) < 4 or not word.isalpha():
        return word
    word = _uninflected(word)
    for suffix in DERIVED:
        if word.endswith(suffix) and len(word) - len(suffix) >= 4:
            word = word[: -len(suffix)]
            break
    return word[:-1] if len(word) > 3 and word[-1] in "ei" else word.replace("y", "i") if word.endswith("y") else word


def _uninflected(word: str) -> str:
    if word.endswith(("ies", "ied")) and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-2] if word.endswith(("sses", "shes", "ches", "xes")) else word[:-1]
    for suffix in ("ing", "ed"):
        rest = word.removesuffix(suffix)
        if rest != word and len(rest) >= 3 and VOWELS & set(rest):
            doubled = rest[-1] == rest[-2] and rest[-1] not in "lsz"
            return rest[:-1] if doubled else rest
    return word


def stem_classes(vocabulary: list[str]) -> list[int]:
    """For each piece the number of its class; continuations and marks are classes of their own."""
    classes: dict[str, int] = {}
    return [classes.setdefault(piece if piece.startswith(("##", "[")) else stem(piece), len(classes)) for piece in vocabulary]
