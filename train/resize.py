"""How large an image is made for the autoencoder or the ViT."""

from __future__ import annotations

from train.config import ResizeRule


def resized_hw(width: int, height: int, rule: ResizeRule) -> tuple[int, int]:
    """The (height, width) in pixels that `rule` gives an image; both are multiples of its stride.

    The long side ends at most at `max_px`; where that leaves the short side under `min_px`, the image is
    enlarged first and the long side wins again, so extreme ratios do end below `min_px`.

    Source: the released transform (facts 1.8), its slip included: too large an area multiplies both sides
    by the ratio of areas, not by its square root, so ratios beyond about 7:1 end smaller than they need
    (1942 x 198 becomes 1024 x 96). Weights were trained on these sizes, and the released inference has them.

    >>> from train.config import VAE_RESIZE
    >>> resized_hw(640, 480, VAE_RESIZE)
    (512, 688)
    >>> resized_hw(4000, 300, VAE_RESIZE)
    (80, 1024)
    """
    scale = min(rule.max_px / max(width, height), 1.0)
    scale = max(scale, rule.min_px / min(width, height))
    new = _scaled(width, height, scale, rule)
    if new[0] * new[1] > rule.max_area_px:
        new = _scaled(*new, rule.max_area_px / (new[0] * new[1]), rule)
    if max(new) > rule.max_px:
        new = _scaled(*new, rule.max_px / max(new), rule)
    return new[1], new[0]


def _scaled(width: int, height: int, scale: float, rule: ResizeRule) -> tuple[int, int]:
    return _to_stride(width * scale, rule.stride_px), _to_stride(height * scale, rule.stride_px)


def _to_stride(side: float, stride: int) -> int:
    return max(stride, round(round(side) / stride) * stride)


def grid_hw(width: int, height: int, rule: ResizeRule) -> tuple[int, int]:
    """The (rows, columns) of tokens that an image becomes under `rule`.

    >>> from train.config import VIT_RESIZE
    >>> grid_hw(1024, 1024, VIT_RESIZE)
    (37, 37)
    """
    height_px, width_px = resized_hw(width, height, rule)
    return height_px // rule.stride_px, width_px // rule.stride_px
