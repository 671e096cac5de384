"""The sampled loss: exact with the whole vocabulary, unbiased partition functions without."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from irnn_tvm.examples.language_model.sampled import sampled_cross_entropy

VOCABULARY, HIDDEN, FREQUENT = 40, 8, 10


@pytest.fixture
def case() -> tuple[torch.Tensor, nn.Linear, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    output = nn.Linear(HIDDEN, VOCABULARY)
    with torch.no_grad():
        output.weight.copy_(torch.randn(VOCABULARY, HIDDEN, generator=generator))
        output.bias.copy_(torch.randn(VOCABULARY, generator=generator))
    features = torch.randn(6, HIDDEN, generator=generator)
    return features, output, torch.tensor([0, 9, 10, 39, 20, 20])


def test_with_all_words_it_is_the_cross_entropy(case: tuple[torch.Tensor, nn.Linear, torch.Tensor]) -> None:
    features, output, targets = case
    features.requires_grad_()
    sampled = sampled_cross_entropy(
        features, output, targets, FREQUENT, VOCABULARY - FREQUENT, torch.Generator()
    )
    gradients = torch.autograd.grad(sampled, [features, output.weight, output.bias])
    exact = F.cross_entropy(output(features), targets)
    expected = torch.autograd.grad(exact, [features, output.weight, output.bias])
    torch.testing.assert_close(sampled, exact)
    for got, wanted in zip(gradients, expected, strict=True):
        torch.testing.assert_close(got, wanted)


def test_partition_function_is_unbiased(case: tuple[torch.Tensor, nn.Linear, torch.Tensor]) -> None:
    """The mean over draws of exp(loss) * p(target) is 1 for a single position, whatever is drawn."""
    features, output, targets = case
    generator = torch.Generator().manual_seed(0)
    for position in (0, 3):
        one = features[position : position + 1], output, targets[position : position + 1]
        exact = float(F.cross_entropy(output(one[0]), one[2]).detach().exp())
        with torch.no_grad():
            draws = [float(sampled_cross_entropy(*one, FREQUENT, 10, generator).exp()) for _ in range(4000)]
        mean = torch.tensor(draws).double()
        error = float(mean.std() / len(draws) ** 0.5)
        assert abs(float(mean.mean()) - exact) < 5 * error
        assert float(mean.std()) > 0
