"""Train on CIFAR-10, see which images the training keeps turning over, and train again on those alone.

    python examples/cifar10.py cifar-10-python.tar.gz

1. Train a small network on all images. `TrajectoryRecorder` writes what it predicts for every image in every epoch, and
   `OnlineTDDS` scores the images as it goes.
2. Score the recorded trajectory. The scores are those that came out online; in real life one of the two is enough.
3. Keep the images of the largest scores; `--pruning-rate` is the share that goes.
4. Train the network anew on this coreset, each image weighted by the root of its score (Eq. 13 of the TDDS paper, but
   milder), and, to be fair, on as many images drawn at random, for as many steps.

The table at the end is one run of a network small enough for a CPU, on a part of the data and for few epochs: it shows
the way, and proves nothing about the method. Half of the images at random trained to 68.2 %, the coreset to 66.9, and
to 64.5 where all ten epochs count (`--T 10 --K 4`); all images to 72.0 % (2026-11-29). docs/results has experiments.
The defaults take less than five minutes of processor time on an AMD EPYC, `--n-train 2000 --epochs 4` half a minute;
`--n-train 50000 --epochs 100 --T 50 --K 10 --pruning-rate 0.3 --device cuda` is closer to the paper.

What it needs: `pip install 'tdds-coreset[torch]'` and the images, from
https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz, packed or unpacked. CIFAR-100 will do as well.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, pad
from torch.utils.data import DataLoader, TensorDataset

import tdds
from tdds.torch import CoresetDataset, IndexedDataset, OnlineTDDS, TrajectoryRecorder, weighted_loss

sys.path.append(str(Path(__file__).resolve().parents[1]))
from data_tools.images import load_cifar


def main() -> None:
    asked = parse_arguments()
    score = {"T": asked.T, "K": asked.K}
    try:
        images = load_cifar(asked.images, asked.n_train)
    except (OSError, ValueError, ImportError) as error:
        sys.exit(str(error))
    X = torch.from_numpy(images.X_train).permute(0, 3, 1, 2)
    indexed = IndexedDataset(TensorDataset(X, torch.from_numpy(images.y_train)))  # gives (index, image, label)
    n_samples, n_classes = len(indexed), len(images.class_names)

    print(f"1. Train on {n_samples:,} images for {asked.epochs} epochs, recording")
    run = asked.out / "run"
    everything = CoresetDataset(indexed, np.arange(n_samples))  # gives (index, image, label, weight), all of weight 1
    online = OnlineTDDS(n_samples, n_classes, **score)
    with TrajectoryRecorder(run, n_samples, n_classes, labels=images.y_train) as recorder:
        models = {"all": (everything, train(everything, asked, n_classes, sinks=[recorder, online]))}
    print(f"   trajectory in {run}")

    print("2. Score it")
    np.testing.assert_allclose(online.scores(), tdds.score_trajectory(run, **score), rtol=1e-5, atol=1e-12)
    print(f"   {n_samples:,} scores, to five digits the same from the file as online")

    print("3. Prune")
    selector = tdds.TDDSSelector(**score, pruning_rate=asked.pruning_rate, weighting="root").fit(run)
    coreset = CoresetDataset(indexed, selector)
    at_random = CoresetDataset(indexed, np.random.default_rng(0).permutation(n_samples)[: len(coreset)])
    counts = np.bincount(images.y_train[coreset.indices], minlength=n_classes)
    few, many = images.class_names[counts.argmin()], images.class_names[counts.argmax()]
    print(f"   {len(coreset):,} stay: of class {few} only {counts.min():,}, of class {many} {counts.max():,}")
    weights = selector.sample_weight_
    print(f"   their weights, which are uneven, are worth {weights.sum() ** 2 / (weights**2).sum():,.0f} equal ones")

    for name, part in (("TDDS coreset, weighted", coreset), ("random coreset", at_random)):
        print(f"4. Train anew: {name}")
        models[name] = part, train(part, asked, n_classes)

    print(f"\n{'trained on':<24}{'images':>8}{'test accuracy':>16}")
    for name, (part, model) in models.items():
        print(f"{name:<24}{len(part):>8,}{accuracy(model, images.X_test, images.y_test, asked.device):>16.1%}")


def train(dataset: CoresetDataset, asked: argparse.Namespace, n_classes: int, sinks: Sequence = ()) -> nn.Module:
    """Train a new network; each sink is told what it predicts."""
    torch.manual_seed(0)
    model = new_network(n_classes).to(asked.device, memory_format=torch.channels_last)
    loader = DataLoader(dataset, batch_size=128, shuffle=True)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=asked.epochs * len(loader))
    for epoch in range(asked.epochs):
        began, total = time.perf_counter(), 0.0
        for index, x, y, weight in loader:
            logits = model(augment(x.to(asked.device)))
            for sink in sinks:
                sink.update(index, logits)
            losses = cross_entropy(logits, y.to(asked.device), reduction="none")
            optimizer.zero_grad()
            weighted_loss(losses, weight).backward()
            optimizer.step()
            schedule.step()
            total += losses.detach().sum()
        for sink in sinks:
            sink.end_epoch()
        took = time.perf_counter() - began
        print(f"   epoch {epoch + 1} of {asked.epochs}: loss {total / len(dataset):.3f}, {took:.0f} s", flush=True)
    return model


def new_network(n_classes: int, width: int = 16) -> nn.Module:
    def block(n_in: int, n_out: int) -> nn.Module:
        convolution = nn.Conv2d(n_in, n_out, kernel_size=3, padding=1, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm2d(n_out), nn.ReLU(), nn.MaxPool2d(2))

    blocks = block(3, width), block(width, 2 * width), block(2 * width, 4 * width)
    return nn.Sequential(*blocks, nn.Flatten(), nn.Linear(4 * width * 4 * 4, n_classes))


def augment(images: torch.Tensor) -> torch.Tensor:
    """Shift each image by up to four pixels and mirror half of them: (n, channels, height, width)."""
    n, n_channels, height, width = images.shape
    on = {"device": images.device}
    rows = torch.arange(height, **on) + torch.randint(9, (n, 1), **on)
    columns = torch.arange(width, **on) + torch.randint(9, (n, 1), **on)
    columns = torch.where(torch.rand(n, 1, **on) < 0.5, columns, columns.flip(1))
    image, channel = torch.arange(n, **on).view(-1, 1, 1, 1), torch.arange(n_channels, **on).view(-1, 1, 1)
    return pad(standardize(images), (4, 4, 4, 4))[image, channel, rows[:, None, :, None], columns[:, None, None, :]]


def standardize(images: torch.Tensor) -> torch.Tensor:
    return (images.float() - 120) / 64


@torch.no_grad()
def accuracy(model: nn.Module, X: np.ndarray, y: np.ndarray, device: str) -> float:
    model.eval()
    images = torch.from_numpy(X).permute(0, 3, 1, 2)
    found = torch.cat([model(standardize(part.to(device))).argmax(1).cpu() for part in images.split(1000)])
    return (found.numpy() == y).mean()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="archive, directory or .npz of CIFAR-10 or CIFAR-100")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--n-train", type=int, default=20_000, help="training images, drawn at random (default 20000)")
    parser.add_argument("--pruning-rate", type=float, default=0.5, help="share of the images that goes (default 0.5)")
    parser.add_argument("--T", type=int, default=4, help="epochs that count, the first T (default 4)")
    parser.add_argument("--K", type=int, default=3, help="width of a window in epochs (default 3)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, help="directory for the trajectory (default a temporary one)")
    asked = parser.parse_args()
    asked.out = asked.out or Path(tempfile.mkdtemp(prefix="tdds-cifar-"))
    return asked


if __name__ == "__main__":
    main()
