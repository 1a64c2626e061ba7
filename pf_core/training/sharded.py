"""Sharded training: weights, their averages and the optimizers' states spread over the processes, by torch's
fully_shard. Each process holds a part of every block and fetches the rest when the block's turn comes."""

import copy
import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from pf_core.errors import InputError
from pf_core.training.loop import TrainConfig, Trainer
from pf_core.training.ranks import GATHER


def check(cfg: TrainConfig, processes: int) -> None:
    """Raises InputError for one process, and for Muon."""
    if processes == 1:
        raise InputError(
            "Sharding needs several processes: start them with python -m torch.distributed.run "
            "--nproc_per_node N -m -- pf_core train ..., or leave --shard out."
        )
    if cfg.optimizer != "adamw":
        raise InputError("Muon needs whole matrices, which no process of a sharded training has: --optimizer adamw.")


class ShardedTrainer(Trainer):
    """A Trainer of several processes. What it gives to save, and takes, is whole, as a plain Trainer's: a run may go on
    sharded or not, on any number of processes.

    Raises InputError for one process, and for Muon, which orthogonalises whole matrices: on spread ones torch would sum
    over the processes at every product of its five iterations.
    """

    STATE, AVERAGE = GATHER, GATHER + 1

    def _spread(self, model: nn.Module, cfg: TrainConfig) -> None:
        check(cfg, self.ranks.count)
        # slices of the network's output go on as they are: nothing here changes them in place
        warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view", UserWarning)
        self._whole_ema, self._gathered = copy.deepcopy(self._ema), None
        mesh = init_device_mesh(self.accelerator.device.type, (self.ranks.count,))
        for network in (model, self._ema):
            for block in network.blocks:
                fully_shard(block, mesh=mesh)
            fully_shard(network, mesh=mesh)

    def _prepared(self) -> nn.Module:
        return self.model

    def _alone(self, last: bool) -> AbstractContextManager:
        self.model.set_requires_gradient_sync(last)
        return nullcontext()

    def _clip(self, limit: float) -> Tensor:
        norm = nn.utils.clip_grad_norm_(self._parameters, limit)
        return norm.full_tensor() if isinstance(norm, DTensor) else norm

    @property
    def ema(self) -> nn.Module:
        """The averaged network, whole: gathered from all processes once a step, on the first one alone."""
        if self._gathered != self.step:
            if self.ranks.first:
                self.ranks.tell(self.AVERAGE)
            self._whole_ema.load_state_dict(_whole(self._ema.state_dict()))
            self._gathered = self.step
        return self._whole_ema

    def state_dict(self) -> dict[str, Any]:
        if self.ranks.first:
            self.ranks.tell(self.STATE)
        return _whole(super().state_dict() | {"ema": self._ema.state_dict()})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
        for network, saved in ((self.model, state["model"]), (self._ema, state["ema"])):
            network.load_state_dict({k: _like(v, saved[k]) for k, v in network.state_dict().items()})
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            spread = {
                i: {k: _like(parameters[i], v) if _same_shape(parameters[i], v) else v for k, v in entries.items()}
                for i, entries in saved["state"].items()
            }
            optimizer.load_state_dict(saved | {"state": spread})
        self._decay()

    def help(self, word: int) -> None:
        """Of the other processes: take part in what the first one gathers."""
        _ = self.state_dict() if word == self.STATE else self.ema


def _whole(value: Any) -> Any:
    """A nested state with every spread tensor gathered."""
    if isinstance(value, DTensor):
        return value.full_tensor()
    if isinstance(value, dict):
        return {k: _whole(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_whole(v) for v in value]
    return value


def _same_shape(parameter: Tensor, value: Any) -> bool:
    return isinstance(value, Tensor) and value.shape == parameter.shape


def _like(spread: Tensor, whole: Tensor) -> Tensor:
    """A whole tensor, spread as another one is."""
    if not isinstance(spread, DTensor):
        return whole
    whole = whole.to(device=spread.device_mesh.device_type, dtype=spread.dtype)
    with torch.no_grad():
        return distribute_tensor(whole, spread.device_mesh, spread.placements)
