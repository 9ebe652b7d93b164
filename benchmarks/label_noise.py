"""Which methods chase noise? Replace 20 % of the labels, train, and count what each method keeps.

    python benchmarks/label_noise.py train cifar-10-python.tar.gz runs/noisy   a small ResNet, on the CPU
    python benchmarks/label_noise.py table runs/noisy

`train` takes `--images` of the training images at random, replaces `--share` of their labels (0: a clean run), and
trains for `--epochs` with flips and shifts, recording every training-mode prediction; at the end it writes what the
last layer sees of each image, which `moderate` needs. `table` prints what share of each method's kept 10 % and 30 % has
a replaced label.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from pathlib import Path

import numpy as np

from tdds import open_trajectory, score_trajectory
from tdds.samplers import SAMPLERS, count_kept, draw_coreset
from tdds.scores import METHODS

sys.path.append(str(Path(__file__).resolve().parents[1] / "data_tools"))
from images import load_cifar
from noise import symmetric_noise

RATES = (0.9, 0.7)


def standardize(images: np.ndarray) -> np.ndarray:
    """(n, 3, 32, 32) float32 about 0."""
    return (images.transpose(0, 3, 1, 2).astype(np.float32) - 120) / 64


def new_model(width: int, n_classes: int):
    """The features, and the last layer, of a ResNet of three blocks."""
    from torch import nn

    class Block(nn.Module):
        def __init__(self, n_in, n_out, stride):
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False),
                nn.BatchNorm2d(n_out),
                nn.ReLU(),
                nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False),
                nn.BatchNorm2d(n_out),
            )
            self.short = nn.Conv2d(n_in, n_out, 1, stride, bias=False)

        def forward(self, x):
            return nn.functional.relu(self.body(x) + self.short(x))

    widths = [width, width, 2 * width, 4 * width]
    blocks = [Block(n_in, n_out, 1 + (i > 0)) for i, (n_in, n_out) in enumerate(itertools.pairwise(widths))]
    stem = [nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten()), nn.Linear(widths[-1], n_classes)


def train(asked: argparse.Namespace) -> None:
    import torch

    from tdds.torch import TrajectoryRecorder

    torch.manual_seed(asked.seed)
    rng = np.random.default_rng(asked.seed)
    X_train, y_train, X_test, y_test, class_names = load_cifar(asked.images_file)
    chosen = np.sort(rng.permutation(len(y_train))[: asked.images])
    images, test_images = (torch.from_numpy(standardize(part)) for part in (X_train[chosen], X_test))
    test_labels, n_classes = torch.from_numpy(y_test), len(class_names)
    noisy = symmetric_noise(y_train[chosen], asked.share, n_classes=n_classes, random_state=asked.seed)
    targets = torch.from_numpy(noisy.labels)
    features, head = new_model(asked.width, n_classes)
    model = torch.nn.Sequential(features, head)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    n_steps = asked.epochs * -(-len(images) // asked.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=n_steps)
    began = time.perf_counter()
    recorder = TrajectoryRecorder(asked.run, len(images), n_classes, kind="logits", labels=noisy.labels)
    with recorder:
        for epoch in range(asked.epochs):
            n_right = 0
            for index in torch.randperm(len(images)).split(asked.batch):
                x = torch.nn.functional.pad(images[index], (4, 4, 4, 4))
                top, left = torch.randint(9, (2,)).tolist()
                x = x[..., top : top + 32, left : left + 32]
                x = torch.where(torch.rand(len(index), 1, 1, 1) < 0.5, x, x.flip(-1))
                logits = model(x)
                recorder.update(index, logits)
                torch.nn.functional.cross_entropy(logits, targets[index]).backward()
                optimizer.step()
                optimizer.zero_grad()
                schedule.step()
                n_right += int((logits.argmax(1) == targets[index]).sum())
            recorder.end_epoch()
            seconds = time.perf_counter() - began
            print(f"epoch {epoch}: {n_right / len(images):.1%} of the training labels, {seconds:.0f} s", flush=True)
    model.eval()
    with torch.inference_mode():
        seen = torch.cat([features(part) for part in images.split(500)])
        right = torch.cat([model(part).argmax(1) for part in test_images.split(500)]) == test_labels
        remembered = int((head(seen).argmax(1) == targets)[torch.from_numpy(noisy.indices)].sum())
    np.savez(asked.run / "beside.npz", replaced=noisy.indices, features=seen.numpy())
    print(f"test accuracy {right.float().mean():.1%}; {len(noisy.indices):,} labels replaced, {remembered} learned")


def table(asked: argparse.Namespace) -> None:
    trajectory = open_trajectory(asked.run)
    with np.load(asked.run / "beside.npz") as beside:
        replaced = np.isin(np.arange(trajectory.n_samples), beside["replaced"])
        features = beside["features"]
    scores = score_trajectory(trajectory, method=list(METHODS), features=features, random_state=0)
    ways = [(name, "top") for name in METHODS] + [("aum", "stratified"), ("dual", "beta")]
    shares = {}
    for method, sampler in ways:
        second = scores.get(SAMPLERS[sampler].second)
        shares[method, sampler] = []
        for rate in RATES:
            n_kept = count_kept(trajectory.n_samples, rate)
            beside = {"second": second, "labels": trajectory.labels, "random_state": 0}
            coreset = draw_coreset(scores[method], METHODS[method].keeps, SAMPLERS[sampler](), n_kept, **beside)
            shares[method, sampler].append(replaced[coreset.indices].mean())
    print(f"{trajectory!r}, {replaced.mean():.0%} of the labels replaced")
    print(
        f"| method | sampler | {' | '.join(f'kept {1 - rate:.0%}' for rate in RATES)} |\n|---|---|"
        + "---|" * len(RATES)
    )
    for (method, sampler), row in sorted(shares.items(), key=lambda item: item[1]):
        print(f"| `{method}` | {sampler} | {' | '.join(f'{share:.1%}' for share in row)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    training = commands.add_parser("train")
    training.add_argument("images_file", type=Path)
    training.add_argument("run", type=Path)
    training.add_argument("--images", type=int, default=20_000)
    training.add_argument("--share", type=float, default=0.2)
    training.add_argument("--epochs", type=int, default=30)
    training.add_argument("--width", type=int, default=16)
    training.add_argument("--batch", type=int, default=128)
    training.add_argument("--seed", type=int, default=0)
    training.set_defaults(do=train)
    printing = commands.add_parser("table")
    printing.add_argument("run", type=Path)
    printing.set_defaults(do=table)
    asked = parser.parse_args()
    asked.do(asked)


if __name__ == "__main__":
    main()
