"""A small convolutional network on handwritten digits, as a user would write it. Nothing here knows of RustTorch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

BATCH = 64
TRAINING = 1437


class Digits:
    """1,797 images of 8x8 pixels (the source and its licence are in NOTICE); the last 360 are the test set."""

    def __init__(self) -> None:
        with np.load(Path(__file__).parent / "data" / "digits.npz") as data:
            self.images = torch.from_numpy(data["images"]).float().div(16).unsqueeze(1)
            self.labels = torch.from_numpy(data["labels"]).long()


class Network(nn.Module):
    """Three convolutions and a linear classifier."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.SiLU(),
            nn.Conv2d(width, 2 * width, 3, padding=1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.SiLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.SiLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(2 * width, 10),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The logits of the ten digits."""
        return self.layers(x)


def trainer(digits: Digits, seed: int) -> tuple[Network, Callable[[], float]]:
    """A model, and the function that trains it by one step and returns the loss."""
    torch.manual_seed(seed)
    model = Network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    generator = torch.Generator().manual_seed(seed)
    pending: list[torch.Tensor] = []

    def step() -> float:
        if not pending:
            pending.extend(torch.randperm(TRAINING, generator=generator).split(BATCH))
        chosen = pending.pop()
        loss = F.cross_entropy(model(digits.images[chosen]), digits.labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return model, step


def steps_per_epoch() -> int:
    """The number of batches in the training set, the short one at its end included."""
    return -(-TRAINING // BATCH)


@torch.no_grad()
def classify(model: Network, digits: Digits) -> torch.Tensor:
    """The digit that the model sees in each image of the test set."""
    model.eval()
    answer = model(digits.images[TRAINING:]).argmax(dim=1)
    model.train()
    return answer
