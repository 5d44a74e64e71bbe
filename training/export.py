"""Writes a checkpoint as a Hugging Face style folder: models/box.

    python3 export.py --checkpoint /tmp/rankfleet-box.pt --out /tmp/rankfleet-box
"""

import argparse
import json
import os
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from batches import to_rows
from model import Box, Topics, added
from reader import Reader, four_bit
from stems import stem_classes
from vocabulary import write_tokenizer

# Nothing in the graph limits the length; beyond this it has not been trained nor tried.
MAX_LENGTH = 512


class EightBit(nn.Module):
    """An embedding whose rows are int8 with a scale each: a quarter of the file, and weight-only, so that a pair's
    score still does not depend on what is in its batch."""

    def __init__(self, embedding: nn.Embedding):
        super().__init__()
        weight = embedding.weight.detach()
        scale = weight.abs().amax(1, keepdim=True).clamp_min(1e-8) / 127
        self.register_buffer("rows", (weight / scale).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.num_embeddings, self.embedding_dim = weight.shape

    def forward(self, ids):
        return self.rows[ids].to(torch.float32) * self.scale[ids]


class FourBit(nn.Module):
    """An embedding whose rows are whole numbers from -7 to 7, two to a byte, with a scale each."""

    def __init__(self, weight: torch.Tensor):
        super().__init__()
        levels, scale = four_bit(weight)
        low, high = levels.chunk(2, dim=1)
        self.register_buffer("rows", (low + 16 * high).to(torch.int8))
        self.register_buffer("scale", scale)

    def halves(self, ids):
        """The first half of the numbers and the second, float32 [rows, length, dimensions / 2] each."""
        both = self.rows[ids].to(torch.float32)
        high = torch.round(both * (1 / 16))
        return both - 16 * high, high

    def forward(self, ids):
        return torch.cat(self.halves(ids), dim=2) * self.scale[ids]


class FourBitTopics(Topics):
    """Topics whose vectors are stored like the reader's."""

    def __init__(self, topics: Topics):
        super().__init__(1, 1)
        self.share = topics.share
        self.stored = FourBit(topics.vectors.weight.detach())
        # The vectors are multiplied by a weight in any case: their scale goes into it.
        strength = F.softplus(topics.weight.weight.detach()) * self.stored.scale
        self.weight = nn.Embedding.from_pretrained(strength)
        del self.vectors

    def sums(self, ids, side, size=None):
        weights = self.weight(ids) * side.unsqueeze(-1)
        return torch.cat([added(half * weights, size) for half in self.stored.halves(ids)], dim=2)


def load(checkpoint: str) -> tuple[Box, list[str]]:
    """The trained model and its vocabulary."""
    saved = torch.load(checkpoint)
    model = Box(stem_classes(saved["vocabulary"]), saved["dimensions"])
    model.load_state_dict(saved["state"])
    if "topics" in saved:
        model.topics = Topics(len(saved["vocabulary"]), saved["topics"]["vectors.weight"].shape[1])
        model.topics.load_state_dict(saved["topics"])
    if "reader" in saved:
        model.reader = Reader(len(saved["vocabulary"]))
        model.reader.load_state_dict(saved["reader"])
    model.scale = saved.get("scale", model.scale)
    return model.eval(), saved["vocabulary"]


def quantised(model: Box) -> Box:
    model.embedding = EightBit(model.embedding)
    if model.topics is not None:
        model.topics = FourBitTopics(model.topics)
    if model.reader is not None:
        model.reader.stored = FourBit(model.reader.vectors.detach())
        del model.reader.vectors
    return model


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--checkpoint", required=True)
    arguments.add_argument("--out", required=True)
    options = arguments.parse_args()
    model, vocabulary = load(options.checkpoint)
    model = quantised(model)
    weight = torch.load(options.checkpoint)["first_stage_weight"]
    folder = Path(options.out)
    (folder / "onnx").mkdir(parents=True, exist_ok=True)
    write_tokenizer(vocabulary, folder, MAX_LENGTH)
    write_config(model, weight, folder)
    write_graph(model, folder / "onnx" / "model.onnx")
    print(f"{folder}: {sum(p.stat().st_size for p in folder.rglob('*') if p.is_file()) / 1e6:.1f} MB")


def write_config(model: Box, first_stage_weight: float, folder: Path) -> None:
    config = {
        "architectures": ["BertForSequenceClassification"],
        "model_type": "bert",
        "id2label": {"0": "relevance"},
        "label2id": {"relevance": 0},
        "vocab_size": model.embedding.num_embeddings,
        "hidden_size": model.embedding.embedding_dim,
        "type_vocab_size": 2,
        "max_position_embeddings": MAX_LENGTH,
        "pad_token_id": 0,
        "rankfleet": {
            "note": "Takes and gives what a BERT cross-encoder does; inside it are a kernel-pooling matcher, topics and a small transformer. See README.md.",
            "first_stage_weight": first_stage_weight,
        },
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def write_graph(model: Box, file: Path) -> None:
    """The file is replaced at once, so that nobody ever loads half of it."""
    sample = to_rows([(torch.arange(5, 15).numpy(), torch.arange(5, 100).numpy())] * 2, 128)
    part = file.with_suffix(".part")
    names = ["input_ids", "attention_mask", "token_type_ids"]
    dynamic = {name: {0: "batch", 1: "sequence"} for name in names} | {"logits": {0: "batch"}}
    torch.onnx.export(model, sample, str(part), input_names=names, output_names=["logits"], dynamic_axes=dynamic, opset_version=17)
    os.replace(part, file)


if __name__ == "__main__":
    main()
