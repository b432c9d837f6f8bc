"""Where a training computes: on which device, in which precision, and beside how many other processes."""

import os
from dataclasses import dataclass

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Machine:
    """A GPU when there is one, bfloat16 where the processor multiplies it natively, one of `n_processes` under torchrun."""

    device: torch.device
    is_mixed: bool
    rank: int = 0
    n_processes: int = 1

    @classmethod
    def here(cls) -> "Machine":
        """This process's part of the machine; under torchrun it joins the other processes first."""
        rank, n_processes = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        is_cuda = torch.cuda.is_available()
        if n_processes > 1 and not distributed.is_initialized():
            distributed.init_process_group("nccl" if is_cuda else "gloo")
        if is_cuda:
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
            torch.cuda.set_device(device)
            return cls(device, torch.cuda.is_bf16_supported(including_emulation=False), rank, n_processes)
        capabilities = torch.cpu.get_capabilities()
        is_mixed = bool(capabilities.get("avx512_bf16", False) or capabilities.get("amx_bf16", False))
        return cls(torch.device("cpu"), is_mixed, rank, n_processes)

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that validates, writes files and shows progress."""
        return self.rank == 0

    def parallel(self, network: nn.Module) -> nn.Module:
        """The network whose gradients are averaged over all processes."""
        return DistributedDataParallel(network) if self.n_processes > 1 else network

    def own_draws(self, draws: range, batch: int) -> list[int]:
        """This process's share of each batch of `draws`. Raises ValueError if a batch cannot be shared out evenly."""
        if batch % self.n_processes:
            raise ValueError(f"training.batch={batch}: expected a multiple of the {self.n_processes} processes.")
        return [draw for draw in draws if draw % self.n_processes == self.rank]

    def any_of_all(self, is_so: bool) -> bool:
        """Whether it is so in any of the processes; all of them must ask, and all get the same answer."""
        if self.n_processes == 1:
            return is_so
        flag = torch.tensor(float(is_so), device=self.device)
        distributed.all_reduce(flag, distributed.ReduceOp.MAX)
        return bool(flag)

    def __str__(self) -> str:
        name = torch.cuda.get_device_name() if self.device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
        precision = "bfloat16 mixed precision" if self.is_mixed else "float32"
        return f"{name}, {precision}" + (f", {self.n_processes} processes" if self.n_processes > 1 else "")


def leave_processes() -> None:
    """End what `Machine.here` joined, if it joined anything."""
    if distributed.is_initialized():
        distributed.destroy_process_group()
