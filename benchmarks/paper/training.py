"""Train a network on a data set or a coreset of it; record the trajectory of a training run."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR

from benchmarks.paper.data import PAD, Dataset
from benchmarks.paper.networks import NETWORKS
from tdds.torch import TrajectoryRecorder, weighted_loss

FEATURES = "features.npy"  #: beside a recorded trajectory


@dataclass(frozen=True)
class Schedule:
    """How a network is trained: SGD with momentum 0.9, the learning rate changed at every step."""

    epochs: int
    batch: int
    lr: float
    shape: str = "cosine"
    weight_decay: float = 5e-4

    def __str__(self) -> str:
        return f"{self.shape}-{self.epochs}x{self.batch}-lr{self.lr:g}-wd{self.weight_decay:g}"

    def steps(self, n_samples: int) -> int:
        return self.epochs * -(-n_samples // self.batch)


class Training:
    """A network on its way: every epoch is seeded by its number, so that a checkpoint need not know of chance."""

    PARTS = ("model", "optimizer", "scheduler")
    COUNTS = ("n_epochs", "seconds", "accuracies")

    def __init__(
        self,
        network: str,
        dataset: Dataset,
        schedule: Schedule,
        seed: int,
        indices: np.ndarray | None = None,
        weights: np.ndarray | None = None,
        weighting: str = "none",
        compiled: bool = False,
    ) -> None:
        self.dataset, self.schedule, self.seed, self.weighting = dataset, schedule, seed, weighting
        self.device = dataset.images.device
        self.indices = torch.as_tensor(np.arange(len(dataset)) if indices is None else indices, device=self.device)
        ones = np.ones(len(self.indices))
        self.weights = torch.as_tensor(ones if weights is None else weights, dtype=torch.float32, device=self.device)
        torch.manual_seed(seed)
        self.model = NETWORKS[network](dataset.n_classes).to(self.device, memory_format=torch.channels_last)
        self.forward = torch.compile(self.model, mode="reduce-overhead") if compiled else self.model
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), schedule.lr, momentum=0.9, weight_decay=schedule.weight_decay
        )
        self.scheduler = _scheduler(self.optimizer, schedule, schedule.steps(len(self.indices)))
        self.n_epochs = 0
        self.seconds = 0.0
        self.accuracies: list[float] = []  # of the test images, wherever `test` was called

    def epoch(self, on_batch: Callable[[Tensor, Tensor], None] | None = None) -> None:
        """One pass over the samples; `on_batch` is given the samples and the logits that they were trained with."""
        began = time.perf_counter()
        self.model.train()
        generator = torch.Generator(self.device).manual_seed(1_000_003 * self.seed + self.n_epochs)
        order = torch.randperm(len(self.indices), generator=generator, device=self.device)
        for rows in order.split(self.schedule.batch):
            samples = self.indices[rows]
            with self._precision():
                logits = self.forward(self.dataset.crops(samples, generator))
            losses = cross_entropy(logits.float(), self.dataset.labels[samples], reduction="none")
            loss = weighted_loss(losses, self.weights[rows], self.weighting)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.scheduler.step()
            if on_batch is not None:
                on_batch(samples, logits.detach())
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        self.n_epochs += 1
        self.seconds += time.perf_counter() - began

    def test(self) -> float:
        """The accuracy on the test images."""
        hits = self._evaluate(self.model, self.dataset.test_images).argmax(1) == self.dataset.test_labels
        self.accuracies.append(int(hits.sum()) / len(hits))
        return self.accuracies[-1]

    def features(self) -> Tensor:
        """What the last hidden layer makes of the training images as they are, neither cropped nor mirrored."""
        return self._evaluate(self.model[:-1], self.dataset.images[:, PAD:-PAD, PAD:-PAD])

    def _evaluate(self, network: nn.Sequential, images: Tensor) -> Tensor:
        network.eval()
        with torch.no_grad(), self._precision():
            return torch.cat([network(self.dataset.normalise(batch)).float() for batch in images.split(1000)])

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=precision(self.device.type) == "bf16")

    def save(self, path: Path) -> None:
        parts = {name: getattr(self, name).state_dict() for name in self.PARTS}
        replace_file(path, lambda half: torch.save(parts | {name: getattr(self, name) for name in self.COUNTS}, half))

    def load(self, path: Path) -> None:
        state = torch.load(path, weights_only=True, map_location=self.device)
        for name in self.PARTS:
            getattr(self, name).load_state_dict(state[name])
        for name in self.COUNTS:
            setattr(self, name, state[name])


def precision(device: str) -> str:
    """What a network computes in: bf16 where the hardware has it; emulated on a CPU, that is ten times slower."""
    return "bf16" if device == "cuda" or torch.cpu.get_capabilities().get("avx512_bf16") else "fp32"


def record(
    folder: Path, network: str, dataset: Dataset, schedule: Schedule, seed: int, compiled: bool = False
) -> dict[str, Any]:
    """Train on everything and record the trajectory in `folder`/run; returns test accuracy after each epoch, and time.

    Beside the trajectory lie the features of the trained network, `folder`/features.npy, that "moderate" needs.

    Goes on after the last whole epoch where an earlier call was cut off, and does nothing where it was not.
    """
    checkpoint, finished = folder / "checkpoint.pt", folder / "history.json"
    if finished.exists():
        return json.loads(finished.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    training = Training(network, dataset, schedule, seed, compiled=compiled)
    if checkpoint.exists():
        training.load(checkpoint)
    labels = dataset.labels.cpu().numpy()
    with TrajectoryRecorder(
        folder / "run", len(dataset), dataset.n_classes, labels=labels, resume=True, keep_epochs=training.n_epochs
    ) as recorder:
        while training.n_epochs < schedule.epochs:
            training.epoch(recorder.update)
            recorder.end_epoch()
            print(f"{folder.name}: epoch {training.n_epochs}, test accuracy {training.test():.1%}", flush=True)
            training.save(checkpoint)
    np.save(folder / FEATURES, training.features().cpu().numpy())
    history = {"accuracies": training.accuracies, "seconds": training.seconds}
    replace_file(finished, lambda half: half.write_text(json.dumps(history)))
    checkpoint.unlink()
    return history


def _scheduler(optimizer: torch.optim.Optimizer, schedule: Schedule, n_steps: int) -> LRScheduler:
    if schedule.shape == "cosine":
        return CosineAnnealingLR(optimizer, n_steps)
    return OneCycleLR(optimizer, schedule.lr, total_steps=n_steps + 1, cycle_momentum=False)


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file so that it is whole or not there."""
    half = path.with_suffix(".half")
    write(half)
    os.replace(half, path)
