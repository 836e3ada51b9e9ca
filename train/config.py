"""What a BAGEL-compatible model measures: its dimensions, its special tokens, how images are sized for it."""

from __future__ import annotations

from dataclasses import dataclass, field


class ConfigError(ValueError):
    """A setting that cannot work: *where: expected what, got what; the way out*."""


@dataclass(frozen=True, kw_only=True)
class LanguageConfig:
    """The mixture-of-transformers language model. Defaults: Qwen2.5-7B, as BAGEL-7B-MoT has it."""

    hidden: int = 3584
    layers: int = 28
    heads: int = 28
    kv_heads: int = 4
    intermediate: int = 18944
    vocab: int = 152064
    rope_theta: float = 1e6
    norm_eps: float = 1e-6
    max_positions: int = 32768

    @property
    def head_dim(self) -> int:
        return self.hidden // self.heads

    def problems(self) -> list[str]:
        """What makes these numbers impossible together, each with its way out."""
        found = _not_positive("language", self)
        if found:
            return found
        if self.hidden % self.heads:
            found.append(_divides("language.heads", self.heads, "hidden", self.hidden))
        if self.heads % self.kv_heads:
            found.append(_divides("language.kv_heads", self.kv_heads, "heads", self.heads))
        if self.head_dim % 2:
            found.append(
                f"language: expected an even head size for RoPE, got {self.head_dim!r}; change heads"
            )
        if self.hidden % 4:
            found.append(
                f"language.hidden: expected a multiple of 4 (2-d position table), got {self.hidden!r}"
            )
        return found


@dataclass(frozen=True, kw_only=True)
class VisionConfig:
    """The SigLIP encoder as built: `layers` already leaves out the last of the JSON's 27.

    Attributes:
        side: patches per side of the learned position table, and of the fixed one added after the connector.
    """

    hidden: int = 1152
    layers: int = 26
    heads: int = 16
    intermediate: int = 4304
    patch_px: int = 14
    side: int = 70
    norm_eps: float = 1e-6

    def problems(self) -> list[str]:
        found = _not_positive("vision", self)
        if not found and self.hidden % self.heads:
            found.append(_divides("vision.heads", self.heads, "hidden", self.hidden))
        return found


@dataclass(frozen=True, kw_only=True)
class LatentConfig:
    """How latents become tokens.

    Attributes:
        patch: latent pixels per side of a token.
        downsample: image pixels per latent pixel and side.
        side: tokens per side of the position table. 64 in the released weights, though the released
            code's default is 32 (then an index runs out of the table).
    """

    channels: int = 16
    patch: int = 2
    downsample: int = 8
    side: int = 64

    @property
    def token_size(self) -> int:
        return self.channels * self.patch**2

    @property
    def token_px(self) -> int:
        return self.patch * self.downsample

    def problems(self) -> list[str]:
        return _not_positive("latent", self)


@dataclass(frozen=True, kw_only=True)
class SpecialTokens:
    """Token ids around text and images. Defaults: Qwen2.5's own; BAGEL adds none."""

    bos: int = 151644
    eos: int = 151645
    start_of_image: int = 151652
    end_of_image: int = 151653

    def problems(self, vocab: int) -> list[str]:
        return [
            f"tokens.{name}: expected an id below the vocabulary of {vocab}, got {value!r}; "
            "use the tokenizer that the weights were trained with"
            for name, value in vars(self).items()
            if not 0 <= value < vocab
        ]


@dataclass(frozen=True, kw_only=True)
class ResizeRule:
    """How an image is sized for one of the two encoders; `train.resize` applies it. Pixels throughout."""

    stride_px: int
    min_px: int
    max_px: int
    max_area_px: int = 14 * 14 * 9 * 1024

    def problems(self, where: str, side: int) -> list[str]:
        found = _not_positive(where, self)
        if not found and self.min_px > self.max_px:
            found.append(f"{where}.min_px: expected at most max_px ({self.max_px}), got {self.min_px!r}")
        if not found and -(-self.max_px // self.stride_px) > side:
            found.append(
                f"{where}.max_px: expected at most {side * self.stride_px} ({side} positions a side), "
                f"got {self.max_px!r}; lower it or use weights with a larger table"
            )
        return found


VAE_RESIZE = ResizeRule(stride_px=16, min_px=512, max_px=1024)
VIT_RESIZE = ResizeRule(stride_px=14, min_px=224, max_px=518)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Everything that fixes the model's tensors and inputs. Defaults: BAGEL-7B-MoT.

    Attributes:
        autoencoder: `flux` (weights in `ae.safetensors`) or `dct` (no weights; for the tiny model).
        tokenizer: `files` (the checkpoint's own) or `bytes` (for the tiny model).
    """

    language: LanguageConfig = field(default_factory=LanguageConfig)
    vision: VisionConfig = field(default_factory=VisionConfig)
    latent: LatentConfig = field(default_factory=LatentConfig)
    tokens: SpecialTokens = field(default_factory=SpecialTokens)
    vae_resize: ResizeRule = VAE_RESIZE
    vit_resize: ResizeRule = VIT_RESIZE
    autoencoder: str = "flux"
    tokenizer: str = "files"

    def problems(self) -> list[str]:
        """Every contradiction at once; empty when the configuration can be built."""
        found = self.language.problems() + self.vision.problems() + self.latent.problems()
        found += self.tokens.problems(self.language.vocab)
        found += self.vae_resize.problems("vae_resize", self.latent.side)
        found += self.vit_resize.problems("vit_resize", self.vision.side)
        found += _one_of("autoencoder", self.autoencoder, ("flux", "dct"))
        found += _one_of("tokenizer", self.tokenizer, ("files", "bytes"))
        for name, rule, stride in (
            ("vae_resize", self.vae_resize, self.latent.token_px),
            ("vit_resize", self.vit_resize, self.vision.patch_px),
        ):
            if stride > 0 and rule.stride_px % stride:
                found.append(
                    f"{name}.stride_px: expected a multiple of the token's {stride}, got {rule.stride_px!r}"
                )
        return found

    def check(self) -> ModelConfig:
        """Return self.

        Raises:
            ConfigError: with every contradiction, one a line.
        """
        found = self.problems()
        if found:
            raise ConfigError("\n".join(found))
        return self


BAGEL_7B = ModelConfig()
BYTE_TOKENS = SpecialTokens(bos=256, eos=257, start_of_image=258, end_of_image=259)
TINY = ModelConfig(
    language=LanguageConfig(
        hidden=64, layers=20, heads=4, kv_heads=2, intermediate=128, vocab=264, max_positions=1024
    ),
    vision=VisionConfig(hidden=48, layers=2, heads=3, intermediate=96, side=12),
    latent=LatentConfig(side=16),
    tokens=BYTE_TOKENS,
    vae_resize=ResizeRule(stride_px=16, min_px=64, max_px=96),
    vit_resize=ResizeRule(stride_px=14, min_px=56, max_px=84),
    autoencoder="dct",
    tokenizer="bytes",
)


def _not_positive(where: str, values: object) -> list[str]:
    return [
        f"{where}.{name}: expected more than 0, got {value!r}"
        for name, value in vars(values).items()
        if value <= 0
    ]


def _divides(where: str, value: int, name: str, of: int) -> str:
    return f"{where}: expected a divisor of {name} ({of}), got {value!r}"


def _one_of(where: str, value: str, names: tuple[str, ...]) -> list[str]:
    return [] if value in names else [f"{where}: expected one of {', '.join(names)}, got {value!r}"]
