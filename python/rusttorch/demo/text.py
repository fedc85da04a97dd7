"""A small character-level GPT, as a user of torch would write it. Nothing in this file knows of RustTorch."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F


@dataclass(frozen=True)
class Size:
    """What one training step sees: so many stretches of text, of so many characters."""

    batch: int
    context: int

    def __str__(self) -> str:
        return f"{self.batch} x {self.context}"


#: The network learns to write. Its attention scores are beyond the 32 MiB that the C library keeps for reuse by itself.
LARGE = Size(batch=32, context=256)

#: The same network in steps so small that most of their time is neither in kernels nor in page faults.
SMALL = Size(batch=16, context=128)


class Corpus:
    """English prose, as indices of characters.

    The text is what the docstrings of the installed torch say: some 500 KB of real English, on every machine where the
    demo can run, with nothing to download or to ship. Paragraphs of code and formulas are left out.
    """

    def __init__(self) -> None:
        docs: dict[str, None] = {}
        for module in (nn, F, torch, torch.Tensor, torch.optim):
            for name in sorted(dir(module)):
                doc = getattr(getattr(module, name, None), "__doc__", None)
                if isinstance(doc, str):
                    docs[doc] = None
        paragraphs: dict[str, None] = {}
        for doc in docs:
            for paragraph in re.split(r"\n\s*\n", doc):
                text = " ".join(re.sub(r":\w+:`|`", "", paragraph).split())
                plain = sum(character.isalpha() or character in " ,.'" for character in text)
                if len(text) >= 80 and text.isascii() and plain >= 0.93 * len(text):
                    paragraphs[text] = None
        self.text = "\n".join(paragraphs)
        self.characters = sorted(set(self.text))
        index = {character: i for i, character in enumerate(self.characters)}
        self.data = torch.tensor([index[character] for character in self.text])

    def encode(self, text: str) -> torch.Tensor:
        """Indices of a text's characters, as a batch of one."""
        return torch.tensor([[self.characters.index(character) for character in text]])

    def decode(self, indices: torch.Tensor) -> str:
        """The text of a row of indices."""
        return "".join(self.characters[int(i)] for i in indices)

    def batch(self, size: Size, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Random stretches of text, and the same stretches one character on."""
        starts = torch.randint(len(self.data) - size.context - 1, (size.batch,), generator=generator)
        windows = torch.stack([self.data[i : i + size.context + 1] for i in starts])
        return windows[:, :-1], windows[:, 1:]


class Attention(nn.Module):
    """Causal self-attention, written out."""

    def __init__(self, context: int, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Sequential(nn.Linear(width, width), nn.Dropout(dropout))
        self.register_buffer("future", torch.ones(context, context, dtype=torch.bool).triu(1), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Mix each position with those before it."""
        batch, length, width = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-2, -1) / math.sqrt(k.size(-1))
        scores = scores.masked_fill(self.future[:length, :length], float("-inf"))
        weights = F.softmax(scores, dim=-1)
        weights = F.dropout(weights, self.dropout, self.training)
        return self.out((weights @ v).transpose(1, 2).reshape(batch, length, width))


class Block(nn.Module):
    """A transformer's layer."""

    def __init__(self, context: int, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(context, width, heads, dropout)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width), nn.Dropout(dropout)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Attention, then the two-layer network, each added to its input."""
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    """Predicts the next character."""

    def __init__(
        self, vocabulary: int, context: int, width: int = 128, layers: int = 4, heads: int = 4, dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.context = context
        self.token = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(context, width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*(Block(context, width, heads, dropout) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, indices: torch.Tensor) -> torch.Tensor:
        """The logits of the next character at each position."""
        x = self.token(indices) + self.position(torch.arange(indices.size(1)))
        return self.head(self.norm(self.blocks(self.dropout(x))))


def trainer(corpus: Corpus, size: Size, seed: int) -> tuple[GPT, Callable[[], float]]:
    """A model, and the function that trains it by one step and returns the loss."""
    torch.manual_seed(seed)
    model = GPT(len(corpus.characters), size.context)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    generator = torch.Generator().manual_seed(seed)
    seeds = itertools.count(seed)

    def step() -> float:
        # What a step drops does not depend on what other models have drawn meanwhile.
        torch.manual_seed(next(seeds))
        inputs, targets = corpus.batch(size, generator)
        loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return model, step


@torch.no_grad()
def generate(model: GPT, corpus: Corpus, prompt: str, length: int, seed: int, temperature: float = 0.7) -> str:
    """Continue a prompt by ``length`` sampled characters."""
    model.eval()
    generator = torch.Generator().manual_seed(seed)
    indices = corpus.encode(prompt)
    for _ in range(length):
        logits = model(indices[:, -model.context :])[:, -1]
        following = torch.multinomial(F.softmax(logits / temperature, dim=-1), 1, generator=generator)
        indices = torch.cat([indices, following], dim=1)
    model.train()
    return corpus.decode(indices[0])
