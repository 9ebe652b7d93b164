"""Networks for small images, by name: residual ones, and one of each size without shortcuts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn


def conv(n_in: int, n_out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """A convolution and its batch norm."""
    return nn.Sequential(nn.Conv2d(n_in, n_out, kernel, stride, padding=kernel // 2, bias=False), nn.BatchNorm2d(n_out))


class Block(nn.Module):
    """Two convolutions beside a shortcut, or without one."""

    def __init__(self, n_in: int, n_out: int, stride: int, residual: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(n_in, n_out, stride=stride), nn.ReLU(inplace=True), conv(n_out, n_out))
        same = stride == 1 and n_in == n_out
        self.shortcut = (nn.Identity() if same else conv(n_in, n_out, 1, stride)) if residual else None
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        return self.relu(y if self.shortcut is None else y + self.shortcut(x))


def convolutional(
    n_classes: int, widths: Sequence[int], depths: Sequence[int], stem_stride: int = 1, residual: bool = True
) -> nn.Sequential:
    """A stem of `widths[0]` channels, then `depths[i]` blocks of `widths[i]`; the second stage and later halve the
    resolution."""
    layers: list[nn.Module] = [conv(3, widths[0], stride=stem_stride), nn.ReLU(inplace=True)]
    n_in = widths[0]
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        for i in range(depth):
            layers.append(Block(n_in, width, 2 if stage and not i else 1, residual))
            n_in = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(n_in, n_classes))


RESNET = (64, 128, 256, 512)
SMALL = (24, 48, 96)

#: Number of classes -> network. Parameters with 100 classes: tiny 6 k, small 0.17 M, resnet18 11 M, resnet34 21 M.
NETWORKS: dict[str, Callable[[int], nn.Sequential]] = {
    "tiny": partial(convolutional, widths=(8, 16), depths=(0, 1), stem_stride=2),
    "tiny_plain": partial(convolutional, widths=(8, 16), depths=(0, 1), stem_stride=2, residual=False),
    "small": partial(convolutional, widths=SMALL, depths=(0, 1, 1), stem_stride=2),
    "small_plain": partial(convolutional, widths=SMALL, depths=(0, 1, 1), stem_stride=2, residual=False),
    "small_wide": partial(convolutional, widths=tuple(2 * width for width in SMALL), depths=(0, 1, 1), stem_stride=2),
    "resnet18": partial(convolutional, widths=RESNET, depths=(2, 2, 2, 2)),
    "resnet34": partial(convolutional, widths=RESNET, depths=(3, 4, 6, 3)),
    "plain18": partial(convolutional, widths=RESNET, depths=(2, 2, 2, 2), residual=False),
}
