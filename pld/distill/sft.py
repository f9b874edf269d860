"""Supervised fine-tuning: a loop that can be killed at any step and resumed bit for bit.

Everything random is a function of (seed, step); weights, optimiser and step are one atomic file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from pld.augmentation import Augmentation
from pld.distill.dataset import Batch, SftDataset
from pld.errors import ConfigError
from pld.files import write_bytes_atomically
from pld.tensor_file import content_hash

LAST_LOSSES = 100


@dataclass(frozen=True)
class SftConfig:
    """How long and how fast to train; the learning rate warms up and falls as a cosine.

    `save_every` steps a resumable file is written. `averaging` is the decay of the weights'
    moving average that is delivered in the end. `bf16` allows products in bf16 where the processor
    has them; elsewhere they are in float32, and the weights differ by as much.
    """

    seed: int = 0
    steps: int = 1500
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    warmup_steps: int = 50
    clip_norm: float = 1.0
    averaging: float = 0.99
    bf16: bool = True
    save_every: int = 250
    augmentation: Augmentation = field(default_factory=Augmentation)

    def rate_at(self, step: int) -> float:
        """Learning rate of training step `step`."""
        warm = min(1.0, (step + 1) / max(self.warmup_steps, 1))
        return self.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / self.steps))


class Trainable(Protocol):
    """A policy network that can be fine-tuned: its module and the loss of a batch."""

    @property
    def module(self) -> nn.Module:
        """The parameters and buffers."""

    def loss(self, batch: Batch, instructions: tuple[str, ...]) -> Tensor:
        """Scalar loss; `batch.instruction` counts into `instructions`."""


@dataclass(frozen=True)
class SftReport:
    """What a training did: final loss (mean of the last steps) and the steps of this process."""

    steps: int
    resumed_from: int
    loss: float
    losses: tuple[float, ...]


Progress = Callable[[int, float], None]


def fine_tune(
    model: Trainable,
    dataset: SftDataset,
    config: SftConfig,
    resume_file: Path | None = None,
    progress: Progress | None = None,
) -> SftReport:
    """Train `model` in place and leave the averaged weights in it.

    With `resume_file` the state is saved every `save_every` steps and taken up from there; raises
    ConfigError where it is of a training from other weights, on other data or with other settings.
    """
    run = _Run(model.module, config)
    origin = _origin(model.module, dataset) if resume_file else {}
    first = run.restore(resume_file, origin) if resume_file else 0
    before = len(run.losses)
    model.module.train()
    for step in range(first, config.steps):
        batch = dataset.batch(config.batch_size, config.seed, step, config.augmentation)
        torch.manual_seed(config.seed * 1_000_003 + step)
        run.losses.append(run.advance(model.loss(batch, dataset.instructions), step))
        if progress is not None:
            progress(step + 1, run.losses[-1])
        if resume_file and (step + 1) % config.save_every == 0:
            run.save(resume_file, step + 1, origin)
    run.deliver()
    model.module.eval()
    tail = run.losses[-LAST_LOSSES:]
    loss = sum(tail) / max(len(tail), 1)
    return SftReport(config.steps, first, loss, tuple(run.losses[before:]))


def _origin(module: nn.Module, dataset: SftDataset) -> dict[str, str]:
    """What a training begins from: digests of its first weights and of its data."""
    return {"weights": content_hash("", module.state_dict()), "data": dataset.fingerprint()}


class _Run:
    """Weights, their average, the optimiser and the last losses of one training."""

    def __init__(self, module: nn.Module, config: SftConfig) -> None:
        self._module = module
        self._config = config
        self.losses: list[float] = []
        self._named = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
        self._average = {n: p.detach().clone() for n, p in self._named}
        self._optimiser = torch.optim.AdamW(
            [p for _, p in self._named], lr=config.learning_rate, weight_decay=config.weight_decay
        )

    def advance(self, loss: Tensor, step: int) -> float:
        """One optimiser step; raises ConfigError when the loss is not finite."""
        value = float(loss.detach())
        if not math.isfinite(value):
            raise ConfigError(
                f"the loss became {value} at step {step}; check the data for outliers"
            )
        for group in self._optimiser.param_groups:
            group["lr"] = self._config.rate_at(step)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_([p for _, p in self._named], self._config.clip_norm)
        self._optimiser.step()
        decay = min(self._config.averaging, (step + 1) / (step + 10))
        with torch.no_grad():
            for name, parameter in self._named:
                self._average[name].lerp_(parameter, 1 - decay)
        return value

    def deliver(self) -> None:
        """Put the averaged weights into the module."""
        with torch.no_grad():
            for name, parameter in self._named:
                parameter.copy_(self._average[name])

    def save(self, path: Path, step: int, origin: dict[str, str]) -> None:
        """Write everything that the next step depends on."""
        tensors = {f"module.{k}": v for k, v in self._module.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self._average.items()}
        for name, parameter in self._named:
            slots = self._optimiser.state[parameter]
            tensors |= {f"adam.{key}.{name}": slots[key] for key in ("exp_avg", "exp_avg_sq")}
        header = {"step": step, "origin": origin, "config": asdict(self._config)}
        header["losses"] = self.losses[-LAST_LOSSES:]
        content = {k: v.detach().contiguous().clone() for k, v in tensors.items()}
        write_bytes_atomically(path, save(content, metadata={"pld": json.dumps(header)}))

    def restore(self, path: Path, origin: dict[str, str]) -> int:
        """Take up a saved training; 0 when there is none, ConfigError when it is another one."""
        if not path.exists():
            return 0
        try:
            with safe_open(path, framework="pt") as stream:
                header = json.loads((stream.metadata() or {})["pld"])
                tensors = {k: torch.clone(stream.get_tensor(k)) for k in stream.keys()}  # noqa: SIM118
        except (SafetensorError, KeyError, ValueError) as error:
            raise ConfigError(
                f"{str(path)!r} is broken ({error}); delete it to begin anew"
            ) from error
        if header["config"] != json.loads(json.dumps(asdict(self._config))):
            raise ConfigError(f"{str(path)!r} belongs to a training with other settings; delete it")
        kept = header.get("origin", {})
        if other := [what for what, digest in origin.items() if kept.get(what) != digest]:
            raise ConfigError(
                f"{str(path)!r} is of a training with other {' and '.join(other)}; "
                "delete it to begin anew"
            )
        self._load(tensors, int(header["step"]))
        self.losses = list(header.get("losses", []))
        return int(header["step"])

    def _load(self, tensors: dict[str, Tensor], step: int) -> None:
        part = {k[7:]: v for k, v in tensors.items() if k.startswith("module.")}
        self._module.load_state_dict(part)
        for name, parameter in self._named:
            self._average[name].copy_(tensors[f"average.{name}"])
            self._optimiser.state[parameter] = {
                "step": torch.tensor(float(step)),
                **{k: tensors[f"adam.{k}.{name}"] for k in ("exp_avg", "exp_avg_sq")},
            }
