"""Whole programs in pure torch: stock, under the memory policy alone, and under RustTorch, in turn in one process."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from torch import Tensor, nn

import rusttorch

from . import sides
from .stats import Spread, ratios
from .timing import Side, quiet

#: A step does one unit of the program's work and gives back a number that depends on all of it.
Step = Callable[[], float]


class Attention(nn.Module):
    """Multi-head attention, written out, as older models and much research code have it."""

    def __init__(self, width: int, heads: int, dropout: float, causal: bool) -> None:
        super().__init__()
        self.heads, self.dropout, self.causal = heads, dropout, causal
        self.inner, self.outer = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """``x`` is batch, length, width."""
        batch, length, width = x.shape
        q, k, v = self.inner(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-2, -1) * (width // self.heads) ** -0.5
        if self.causal:
            scores = scores.masked_fill(torch.ones(length, length, dtype=torch.bool).triu(1), -torch.inf)
        weights = F.dropout(F.softmax(scores, dim=-1), self.dropout, self.training)
        return self.outer((weights @ v).transpose(1, 2).reshape(batch, length, width))


class Block(nn.Module):
    """A transformer's layer."""

    def __init__(self, width: int, heads: int, dropout: float, causal: bool) -> None:
        super().__init__()
        self.attention = Attention(width, heads, dropout, causal)
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        """``x`` is batch, length, width."""
        x = x + F.dropout(self.attention(self.norms[0](x)), self.dropout, self.training)
        return x + F.dropout(self.down(F.gelu(self.up(self.norms[1](x)))), self.dropout, self.training)


def gpt() -> Step:
    """Training a small GPT: four layers of 256, eight sequences of 128, AdamW."""
    vocabulary, length, width = 512, 128, 256
    embedding, places = nn.Embedding(vocabulary, width), nn.Parameter(torch.zeros(length, width))
    blocks = nn.Sequential(*(Block(width, 4, 0.1, causal=True) for _ in range(4)))
    head = nn.Linear(width, vocabulary)
    parameters = [*embedding.parameters(), places, *blocks.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=3e-4)
    tokens = torch.randint(vocabulary, (8, length + 1))

    def step() -> float:
        logits = head(blocks(embedding(tokens[:, :-1]) + places))
        loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def mlp() -> Step:
    """Training a perceptron with a different activation in each layer: batch 512, width 1,024, SGD."""
    activations = (nn.GELU(), nn.Mish(), nn.Softplus(), nn.ELU(), nn.Tanh())
    layers: list[nn.Module] = []
    for index, activation in enumerate(activations):
        layers += [nn.Linear(784 if index == 0 else 1024, 1024), activation]
    model = nn.Sequential(*layers, nn.Linear(1024, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    x, target = torch.randn(512, 784), torch.randint(10, (512,))

    def step() -> float:
        loss = F.cross_entropy(model(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


class MBConv(nn.Module):
    """EfficientNet's block: expand, depthwise convolution, squeeze and excite, project."""

    def __init__(self, channels: int, expansion: int = 4) -> None:
        super().__init__()
        inner = channels * expansion
        self.expand = nn.Sequential(nn.Conv2d(channels, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.SiLU())
        self.depthwise = nn.Sequential(
            nn.Conv2d(inner, inner, 3, padding=1, groups=inner, bias=False), nn.BatchNorm2d(inner), nn.SiLU()
        )
        self.squeeze = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(inner, channels // 4, 1), nn.SiLU(),
            nn.Conv2d(channels // 4, inner, 1), nn.Sigmoid(),
        )  # fmt: skip
        self.project = nn.Sequential(nn.Conv2d(inner, channels, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """``x`` is batch, channels, height, width."""
        y = self.depthwise(self.expand(x))
        return x + self.project(y * self.squeeze(y))


def _cnn() -> nn.Module:
    stem = nn.Sequential(nn.Conv2d(3, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.SiLU())
    down = nn.Sequential(nn.Conv2d(32, 64, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(64), nn.SiLU())
    tail = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 100))
    return nn.Sequential(stem, MBConv(32), down, MBConv(64), MBConv(64), *tail)


def cnn() -> Step:
    """Inference of a convolutional network of EfficientNet's blocks: sixteen images of 128 x 128."""
    model, x = _cnn().eval(), torch.randn(16, 3, 128, 128)

    def step() -> float:
        with torch.no_grad():
            return model(x).sum().item()

    return step


def cnn_training() -> Step:
    """Training the same network: eight images of 128 x 128, SGD."""
    model, x, target = _cnn(), torch.randn(8, 3, 128, 128), torch.randint(100, (8,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    def step() -> float:
        loss = F.cross_entropy(model(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def attention() -> Step:
    """Inference of a transformer encoder: six layers of 384, four sequences of 512."""
    model = nn.Sequential(*(Block(384, 12, 0.0, causal=False) for _ in range(6))).eval()
    x = torch.randn(4, 512, 384)

    def step() -> float:
        with torch.no_grad():
            return model(x).square().mean().item()

    return step


def small() -> Step:
    """Training a small network: three layers of 64, batch 64, a hundred steps of Adam."""
    model = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 8), nn.Softplus())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    x, target = torch.randn(64, 64), torch.rand(64, 8)

    def step() -> float:
        for _ in range(100):
            loss = F.mse_loss(model(x), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return loss.item()

    return step


def small_inference() -> Step:
    """Inference of a small network, one row at a time, five hundred times."""
    model = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 8), nn.Softmax(-1))
    rows = torch.randn(500, 1, 64)

    def step() -> float:
        with torch.no_grad():
            return sum(model(row)[0, 0].item() for row in rows)

    return step


def tabular() -> Step:
    """Preparing a table of a million rows: masks, quantiles, ranks, categories, running sums, sums by category."""
    rows = 1_000_000
    amount, age = torch.randn(rows).exp(), torch.rand(rows) * 90
    amount[torch.rand(rows) < 0.01] = torch.nan
    shop = torch.randint(20_000, (rows,)) * 7

    def step() -> float:
        missing = amount.isnan()
        filled = amount.masked_fill(missing, amount.nanmedian().item())
        low, high = filled.quantile(0.01), filled.quantile(0.99)
        kept = (filled >= low) & (filled <= high) & (age > 18)
        value, years, where = filled[kept], age[kept], shop[kept]
        shops, index, counts = torch.unique(where, return_inverse=True, return_counts=True)
        means = torch.zeros(len(shops)).scatter_add(0, index, value) / counts
        order = torch.argsort(years)
        shares = value[order].cumsum(0) / value.sum()
        decades = torch.bucketize(years, torch.arange(10.0, 90.0, 10.0))
        best = means[index] < value
        return float(shares[len(shares) // 2] + means.max() + decades.sum() + torch.count_nonzero(best))

    return step


def sampling() -> Step:
    """Choosing a token of 50,257 for each of eight sequences, the 50 likeliest and 0.9 of these, twenty times."""
    scores = torch.randn(20, 8, 50_257) * 3

    def step() -> float:
        total = 0
        for logits in scores:
            least = torch.topk(logits, 50).values[:, -1:]
            logits = logits.masked_fill(logits < least, -torch.inf)
            ranked, order = torch.sort(logits, descending=False)
            removed = ranked.softmax(-1).cumsum(-1) <= 0.1
            removed[:, -1:] = False
            logits = logits.masked_fill(removed.scatter(1, order, removed), -torch.inf)
            total += torch.multinomial(logits.softmax(-1), 1).sum().item()
        return float(total)

    return step


def kmeans() -> Step:
    """A round of k-means: 50,000 points of 16 dimensions, 64 centres."""
    points, start = torch.randn(50_000, 16), torch.randn(64, 16)

    def step() -> float:
        distances, nearest = torch.cdist(points, start).min(dim=1)
        sums = torch.zeros_like(start).index_add(0, nearest, points)
        counts = torch.zeros(64).scatter_add(0, nearest, torch.ones(len(points)))
        return float((sums / counts.unsqueeze(1)).sum() + distances.mean())

    return step


def graph() -> Step:
    """Training two graph convolutions: 10,000 nodes of 64 features, 200,000 edges."""
    source, target = torch.randint(10_000, (2, 200_000))
    x, classes = torch.randn(10_000, 64), torch.randint(8, (10_000,))
    first, second = nn.Linear(64, 64), nn.Linear(64, 8)
    optimizer = torch.optim.Adam([*first.parameters(), *second.parameters()], lr=0.01)

    def gathered(x: Tensor) -> Tensor:
        return x.new_zeros(x.shape).index_add_(0, target, x[source])

    def step() -> float:
        scores = second(gathered(F.elu(first(gathered(x)))))
        loss = F.cross_entropy(scores, classes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


PROGRAMS: dict[str, Callable[[], Step]] = {
    program.__name__: program
    for program in (
        *(gpt, mlp, cnn, cnn_training, attention, small, small_inference),
        *(tabular, sampling, kmeans, graph),
    )
}


@dataclass
class Way:
    """One way to run a program."""

    name: str
    side: Side
    step: Step
    times: list[float] = field(default_factory=list)
    #: highest resident memory of its turns, in bytes; 0 where the system does not tell
    peak: int = 0


def ways(program: Callable[[], Step]) -> list[Way]:
    """The ways, each with a model of its own and the same numbers in it."""
    chosen: list[tuple[str, Side]] = [("stock", sides.stock)]
    if rusttorch.memory.available():
        chosen.append(("policy", rusttorch.memory.policy))
    chosen.append(("rusttorch", rusttorch.accelerate))
    made = []
    for name, side in chosen:
        torch.manual_seed(0)
        made.append(Way(name, side, program()))
    return made


def turn(way: Way, seed: int, seconds: float) -> None:
    """One turn: a step to warm up, then steps for some time, of which the median counts."""
    torch.manual_seed(seed)
    times: list[float] = []
    with _peak(way), way.side():
        way.step()
        end = time.perf_counter() + seconds
        while len(times) < 3 or time.perf_counter() < end:
            start = time.perf_counter()
            way.step()
            times.append(time.perf_counter() - start)
    way.times.append(statistics.median(times))


def run(names: Sequence[str], seconds: float, console: Console, rounds: int = 9) -> Iterator[dict[str, Any]]:
    """Every program for about ``seconds`` altogether; the order of the ways turns by one each round."""
    with quiet(), Progress(console=console, auto_refresh=False, disable=not console.is_terminal) as progress:
        task = progress.add_task("programs", total=len(names) * rounds)
        for name in names:
            competing = ways(PROGRAMS[name])
            share = seconds / len(names) / rounds / len(competing)
            for number in range(rounds):
                shift = number % len(competing)
                for way in competing[shift:] + competing[:shift]:
                    turn(way, number, share)
                progress.advance(task)
                progress.refresh()
            yield _row(name, competing)
            # Its models refer to themselves, and would count as the next program's memory.
            del competing, way
            gc.collect()


def _row(name: str, competing: Sequence[Way]) -> dict[str, Any]:
    stock = competing[0]
    about = (PROGRAMS[name].__doc__ or "").rstrip(".")
    row: dict[str, Any] = {"program": name, "about": about, "threads": torch.get_num_threads()}
    for way in competing:
        spread = ratios(way.times, stock.times)
        row[way.name] = {
            "seconds": statistics.median(way.times),
            "ratio": [spread.median, spread.low, spread.high],
            "peak": way.peak,
        }
    return row


def is_loss(row: dict[str, Any]) -> bool:
    """Whether the program is slower than stock beyond noise."""
    return Spread(*row["rusttorch"]["ratio"], 0).loss


@contextmanager
def _peak(way: Way) -> Iterator[None]:
    """Notes the highest resident memory inside: Linux lets the process's high-water mark be reset."""
    try:
        with open("/proc/self/clear_refs", "w") as refs:
            refs.write("5")
    except OSError:
        yield
        return
    yield
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                way.peak = max(way.peak, int(line.split()[1]) * 1024)


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """Times faster than stock, and memory."""
    result = Table(title="Programs: times faster than stock, peak resident memory")
    result.add_column("program")
    for heading in ("ms a step, stock", "memory policy alone", "RustTorch", "MiB stock", "MiB policy", "MiB RustTorch"):
        result.add_column(heading, justify="right")
    for row in rows:
        found = [row.get(name) for name in ("stock", "policy", "rusttorch")]
        cells = [f"{row['stock']['seconds'] * 1e3:,.1f}"]
        for way in found[1:]:
            cells.append(Spread(*way["ratio"], 0).inverse().show() if way else "none here")
        cells += [f"{way['peak'] / 2**20:,.0f}" if way and way["peak"] else "?" for way in found]
        result.add_row(row["program"], *cells, style="red" if is_loss(row) else "")
    return result
