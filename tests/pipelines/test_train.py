"""What makes training repeatable."""

from collections.abc import Iterator

import pytest
import torch

from pipelines.train import repeat_sums_exactly


@pytest.fixture
def two_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = True


@pytest.mark.usefixtures("two_threads")
def test_the_gradient_of_indexing_is_the_same_each_time() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(80, 64, generator=generator, requires_grad=True)
    chosen = torch.randint(0, 80, (30, 40), generator=generator)
    weights = torch.randn(30, 40, 64, generator=generator)
    repeat_sums_exactly()

    def gradient() -> torch.Tensor:
        (found,) = torch.autograd.grad((values[chosen] * weights).sum(), values)
        return found

    first = gradient()
    assert all(torch.equal(first, gradient()) for _ in range(200))
