import math

import torch
from torch.nn.functional import normalize

from spam_plugin.models.appearance.losses import contrast


def batch(seed=0, count=8):
    torch.manual_seed(seed)
    vectors = normalize(torch.randn(count, 4), dim=1)
    identity = torch.arange(count) // 2
    return vectors, identity, identity[:, None] != identity[None]


def test_it_is_the_mean_of_each_anchors_share():
    vectors, identity, rival = batch()
    total = 0.0
    for anchor in range(8):
        partner = anchor ^ 1
        odds = [math.exp(float(vectors[anchor] @ vectors[other]) / 0.1) for other in range(8) if other != anchor]
        total -= math.log(math.exp(float(vectors[anchor] @ vectors[partner]) / 0.1) / sum(odds))
    assert math.isclose(float(contrast(vectors, identity, rival)), total / 8, rel_tol=1e-4)


def test_pairs_that_may_be_one_object_count_neither_way():
    vectors, identity, rival = batch()
    rival[0:2, 2:4] = rival[2:4, 0:2] = False
    moved = vectors.clone()
    before = contrast(vectors[:4], identity[:4], rival[:4, :4])
    moved[2:4] = moved[0:2].flip(0)  # now as alike as can be
    assert math.isclose(float(before), 0.0, abs_tol=1e-6)
    assert math.isclose(float(contrast(moved[:4], identity[:4], rival[:4, :4])), 0.0, abs_tol=1e-6)


def test_what_has_no_weight_teaches_nothing():
    vectors, identity, rival = batch()
    weight = torch.ones(8)
    weight[2:4] = 0
    vectors.requires_grad_()
    rival[2:4] = rival[:, 2:4] = False
    contrast(vectors, identity, rival, weight).backward()
    assert float(vectors.grad[2:4].abs().max()) == 0.0
    assert float(vectors.grad[:2].abs().max()) > 0.0


def test_a_batch_without_a_pair_costs_nothing_and_has_a_gradient():
    vectors = normalize(torch.randn(3, 4), dim=1).requires_grad_()
    loss = contrast(vectors, torch.arange(3), ~torch.eye(3, dtype=torch.bool))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert bool(torch.isfinite(vectors.grad).all())
