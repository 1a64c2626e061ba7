import os

import pytest
import torch

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 2)))  # more than the free cores would stall, not help


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(0)
