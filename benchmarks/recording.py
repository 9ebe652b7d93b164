"""What recording costs: share of a training step, and the writer beside a JSON-lines logger.

    pip install datacull==1.0.2
    python benchmarks/recording.py

Overhead: the same training steps with and without `TrajectoryRecorder`, in turn; median and quartiles over the
pairs, on the clock and of the processor, all threads together. `end_epoch`, which waits for the disk, is timed apart.
With CUDA, two residual networks are timed as well, in bfloat16 and channels-last, and the memory that recording takes.

Writers: an epoch of float32 probabilities in batches of 128, as `TrajectoryWriter` and as the logger of datacull write
it, and the least that a synced file of float16 takes, in turn; medians. A third table shows what rounding to float16
costs, three ways.
"""

from __future__ import annotations

import itertools
import os
import platform
import statistics
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, relu

from tdds import TrajectoryWriter
from tdds.store.values import encode
from tdds.torch import TrajectoryRecorder

N_STEPS, N_PAIRS = 40, 15  # more steps than a recorder holds batches
N_ROWS = 50_000  # of CIFAR
BATCH = 128


# ------------------------------------------------------------------------------------------------------------ networks


class Residual(nn.Module):
    """Two 3x3 convolutions, or a bottleneck of three, beside a shortcut."""

    def __init__(self, n_in: int, width: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        self.n_out = width * 4 if bottleneck else width
        if bottleneck:
            layers = [conv(n_in, width, 1), conv(width, width, 3, stride), conv(width, self.n_out, 1)]
        else:
            layers = [conv(n_in, width, 3, stride), conv(width, width, 3)]
        first = [nn.Sequential(layer, nn.ReLU()) for layer in layers[:-1]]
        self.body = nn.Sequential(*first, layers[-1])
        same = stride == 1 and n_in == self.n_out
        self.shortcut = nn.Identity() if same else conv(n_in, self.n_out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return relu(self.body(x) + self.shortcut(x))


def conv(n_in: int, n_out: int, size: int, stride: int = 1) -> nn.Module:
    convolution = nn.Conv2d(n_in, n_out, size, stride, padding=size // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(n_out))


def residual_network(stem: list[nn.Module], depths: list[int], bottleneck: bool, n_classes: int) -> nn.Module:
    blocks, n_in = [], 64
    for stage, depth in enumerate(depths):
        for i in range(depth):
            blocks.append(Residual(n_in, 64 << stage, 2 if stage and not i else 1, bottleneck))
            n_in = blocks[-1].n_out
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(n_in, n_classes))


def small_cnn() -> nn.Module:
    layers = conv(3, 16, 3), nn.ReLU(), nn.MaxPool2d(2), conv(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 8 * 8, 10))


def resnet18() -> nn.Module:
    return residual_network([conv(3, 64, 3), nn.ReLU()], [2, 2, 2, 2], bottleneck=False, n_classes=10)


def resnet50() -> nn.Module:
    stem = [conv(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    return residual_network(stem, [3, 4, 6, 3], bottleneck=True, n_classes=1000)


# ------------------------------------------------------------------------------------------------------------ overhead


@dataclass(frozen=True)
class Task:
    name: str
    network: Callable[[], nn.Module]
    image_size: int
    n_classes: int
    batch: int
    device: str


TASKS = [Task("small CNN, 10 classes, CPU", small_cnn, 32, 10, 128, "cpu")]
CUDA_TASKS = [
    Task("ResNet-18, CIFAR size, 10 classes", resnet18, 32, 10, 128, "cuda"),
    Task("ResNet-50, 224 x 224, 1,000 classes", resnet50, 224, 1000, 256, "cuda"),
]


@dataclass(frozen=True)
class Cost:
    """Of so many steps: seconds on the clock, seconds of all threads, and peak bytes on the device."""

    wall: float
    cpu: float
    peak: int


class Training:
    """Steps of a task, on random images that lie on the device, with a recorder or without."""

    def __init__(self, task: Task) -> None:
        torch.manual_seed(0)
        self.task = task
        self.model = task.network().to(task.device, memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9)
        shape = task.batch, 3, task.image_size, task.image_size
        self.x = torch.randn(shape, device=task.device).contiguous(memory_format=torch.channels_last)
        self.y = torch.randint(task.n_classes, (task.batch,), device=task.device)

    def run(self, recorder: TrajectoryRecorder | None) -> Cost:
        task, on_gpu = self.task, self.task.device == "cuda"
        lower = torch.autocast("cuda", torch.bfloat16) if on_gpu else nullcontext()
        if on_gpu:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        wall, cpu = time.perf_counter(), time.process_time()
        for index in torch.randperm(N_STEPS * task.batch).split(task.batch):
            with lower:
                logits = self.model(self.x)
            if recorder is not None:
                recorder.update(index, logits)
            cross_entropy(logits.float(), self.y).backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
        if on_gpu:
            torch.cuda.synchronize()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        return Cost(wall, cpu, torch.cuda.max_memory_allocated() if on_gpu else 0)


def measure_overhead(task: Task, n_pairs: int = N_PAIRS) -> tuple[list[tuple[Cost, Cost]], float]:
    """Pairs of the same steps with and without a recorder, and the median seconds of `end_epoch`."""
    training, pairs, ends = Training(task), [], []
    with (
        tempfile.TemporaryDirectory() as folder,
        TrajectoryRecorder(folder, N_STEPS * task.batch, task.n_classes) as recorder,
    ):
        training.run(recorder)
        for turn in range(n_pairs):
            costs = {}
            for which in (recorder, None) if turn % 2 else (None, recorder):
                costs[which] = training.run(which)
                if which is recorder:
                    began = time.perf_counter()
                    recorder.end_epoch()
                    ends.append(time.perf_counter() - began)
            pairs.append((costs[recorder], costs[None]))
    return pairs, statistics.median(ends)


def overhead_row(task: Task) -> list[str]:
    pairs, end = measure_overhead(task)
    step = statistics.median(without.wall for _, without in pairs) / N_STEPS
    cells = [task.name, str(task.batch), f"{step * 1e3:.1f} ms"]
    for measure in ("wall", "cpu"):
        ratios = [getattr(with_it, measure) / getattr(without, measure) - 1 for with_it, without in pairs]
        low, median, high = np.quantile(ratios, (0.25, 0.5, 0.75))
        cells.append(f"{median:+.1%} ({low:+.1%} to {high:+.1%})")
    memory = max(with_it.peak - without.peak for with_it, without in pairs) / 2**20
    return [*cells, f"{end * 1e3:.0f} ms", f"{memory:.1f} MiB" if task.device == "cuda" else ""]


# ------------------------------------------------------------------------------------------------------------- writers


Batches = list[tuple[Tensor, Tensor]]


def epoch_of(n_classes: int, n_rows: int = N_ROWS) -> Batches:
    """Batches of (index, float32 probabilities), as a training loop has them."""
    generator = torch.Generator().manual_seed(0)
    probs = torch.softmax(3 * torch.randn(n_rows, n_classes, generator=generator), dim=1)
    return [(index, probs[index]) for index in torch.randperm(n_rows, generator=generator).split(BATCH)]


def open_tdds(folder: Path, n_rows: int, n_classes: int) -> Callable[[Batches], None]:
    """What writes an epoch into a store of float16, synced to the disk; torch casts, as in `TrajectoryRecorder`."""
    writer = TrajectoryWriter(folder, n_rows, n_classes)

    def write_epoch(batches: Batches) -> None:
        for index, probs in batches:
            writer.write(index.numpy(), probs.half().numpy())
        writer.end_epoch()

    return write_epoch


def open_datacull(folder: Path, n_rows: int, n_classes: int) -> Callable[[Batches], None]:
    """What writes an epoch as JSON lines, with the logger of the package datacull."""
    try:
        from datacull import DCLogger
    except ImportError as error:
        raise ImportError("The comparison needs datacull: pip install datacull==1.0.2") from error
    folder.mkdir()
    logger, epochs = DCLogger(f"{folder}/"), itertools.count()

    def write_epoch(batches: Batches) -> None:
        epoch = next(epochs)
        for index, probs in batches:
            logger.log_metric(epoch, index, probs)

    return write_epoch


def open_file(folder: Path, n_rows: int, n_classes: int) -> Callable[[Batches], None]:
    """What rounds, checksums, writes and syncs the values of an epoch, and nothing else: no index, no check."""
    folder.mkdir()
    epochs, chunk = itertools.count(), np.empty((max(1, (1 << 19) // (2 * n_classes)), n_classes), np.float16)

    def write_epoch(batches: Batches) -> None:
        with open(folder / str(next(epochs)), "wb", buffering=0) as file:
            held = 0
            for _, probs in batches:
                rows = probs.half().numpy()
                while len(rows):
                    n = min(len(rows), len(chunk) - held)
                    chunk[held : held + n] = rows[:n]
                    held, rows = held + n, rows[n:]
                    if held == len(chunk):
                        zlib.crc32(chunk)
                        file.write(chunk)
                        held = 0
            file.write(chunk[:held])
            os.fsync(file)

    return write_epoch


WRITERS = {
    "TrajectoryWriter, float16": open_tdds,
    "a file of float16, unchecked": open_file,
    "datacull, JSON lines": open_datacull,
}


def measure_writers(n_classes: int, n_rows: int = N_ROWS, rounds: int = 5) -> dict[str, list[float]]:
    """By writer: seconds a sample and epoch, on the clock and of the processor (medians), and bytes a value."""
    batches = epoch_of(n_classes, n_rows)
    measured = {}
    with tempfile.TemporaryDirectory() as temporary:
        folders = {name: Path(temporary, name) for name in WRITERS}
        writers = {name: start(folders[name], n_rows, n_classes) for name, start in WRITERS.items()}
        times = {name: [] for name in WRITERS}
        for _ in range(rounds):
            for name, write_epoch in writers.items():
                wall, cpu = time.perf_counter(), time.process_time()
                write_epoch(batches)
                times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
        for name, folder in folders.items():
            n_bytes = sum(file.stat().st_size for file in folder.iterdir()) / rounds
            measured[name] = [*np.median(times[name], axis=0) / n_rows, n_bytes / (n_rows * n_classes)]
    return measured


def writer_rows(n_classes: int) -> Iterator[list[str]]:
    measured = measure_writers(n_classes)
    ours = next(iter(measured.values()))
    for name, numbers in measured.items():
        wall, cpu, n_bytes = (number / our for number, our in zip(numbers, ours, strict=True))
        cells = f"{numbers[0] * 1e6:.2f} us ({wall:.1f}x)", f"{numbers[1] * 1e6:.2f} us ({cpu:.1f}x)"
        yield [f"{n_classes:,}", name, *cells, f"{numbers[2]:.2f} ({n_bytes:.1f}x)"]


CASTS = {
    "NumPy, astype": lambda probs: probs.numpy().astype(np.float16),
    "TrajectoryWriter": lambda probs: encode(probs.numpy(), "probs", "float16", str),
    "torch, half": Tensor.half,
}


def cast_row(n_classes: int, rounds: int = 9) -> list[str]:
    """Nanoseconds of the processor for each value that is rounded to float16."""
    batches, cells = epoch_of(n_classes, N_ROWS // 10), []
    for cast in CASTS.values():
        taken = []
        for _ in range(rounds):
            began = time.process_time()
            for _, probs in batches:
                cast(probs)
            taken.append(time.process_time() - began)
        cells.append(f"{statistics.median(taken) / (N_ROWS // 10 * n_classes) * 1e9:.1f} ns")
    return [f"{n_classes:,}", *cells]


# ---------------------------------------------------------------------------------------------------------------------


def main() -> None:
    torch.set_num_threads(1)  # or threads that wait in a loop count as work
    console = Console(width=130)
    on_gpu = torch.cuda.is_available()
    console.print(
        f"{date.today()}, {platform.processor() or platform.machine()}, {os.cpu_count()} cores"
        f"{', ' + torch.cuda.get_device_name() if on_gpu else ''}; Python {platform.python_version()}, "
        f"torch {torch.__version__} on {torch.get_num_threads()} threads, NumPy {np.__version__}"
    )
    titles = "batch", "step without", "clock", "processor time", "end_epoch", "memory"
    overhead = Table("training step", *titles, title="Recording adds to a step")
    for task in TASKS + (CUDA_TASKS if on_gpu else []):
        overhead.add_row(*overhead_row(task))
    console.print(overhead)
    writers = Table(
        "classes", "writer", "clock", "processor time", "bytes a value", title="Writing a sample of an epoch"
    )
    for n_classes in (100, 1000):
        for row in writer_rows(n_classes):
            writers.add_row(*row)
    console.print(writers)
    casts = Table("classes", *CASTS, title="Rounding a float32 probability to float16")
    for n_classes in (100, 1000):
        casts.add_row(*cast_row(n_classes))
    console.print(casts)


if __name__ == "__main__":
    main()
