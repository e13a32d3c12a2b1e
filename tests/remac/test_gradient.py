"""The actor's gradient is that of the definition, whichever networks the critics have."""

import itertools
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.torch_layers import FlattenExtractor
from torch import nn
from toy_envs import ToyEnv

from sb3_ordergrad import ReMAC
from sb3_ordergrad.lstatistics import rank_weights
from sb3_ordergrad.remac import networks
from sb3_ordergrad.remac.actor_gradient import action_gradient
from sb3_ordergrad.remac.networks import PlainNetwork, SampledNetwork, is_plain
from sb3_ordergrad.remac.samples import sample_actions

BATCH, ACTION_DIM = 16, 2


def make_model(**kwargs: Any) -> Any:
    """A model that has learned a little, so that its critics disagree."""
    policy_kwargs = {"net_arch": [24, 20], **kwargs.pop("policy_kwargs", {})}
    settings: dict[str, Any] = {"buffer_size": 200, "batch_size": BATCH, "learning_starts": 40, "seed": 0, "device": "cpu"}
    env = ToyEnv(action_space=spaces.Box(-1.0, 1.0, (ACTION_DIM,)))
    return ReMAC("MlpPolicy", env, policy_kwargs=policy_kwargs, **settings | {"learning_rate": 3e-3} | kwargs).learn(60)


def expected_objective(model: Any, actor: Any, observations: th.Tensor, noise: th.Tensor) -> th.Tensor:
    """In double precision, state by state: the L-statistic of every subset of k actions."""
    critic = deepcopy(model.critic).double()
    alpha = th.as_tensor(rank_weights(model.objective, model.k))
    total = th.zeros((), dtype=th.float64)
    for state, draws in zip(observations.double(), noise.double().unbind(1), strict=True):
        latent = actor.latent_pi(state)
        mean, std = actor.mu(latent), actor.log_std(latent).clamp(-20, 2).exp()
        actions = th.tanh(mean + std * draws)
        q_values = th.cat(critic(state.expand(len(draws), -1), actions), dim=1).min(dim=1).values
        subsets = [th.stack(subset).sort().values for subset in itertools.combinations(q_values, model.k)]
        total = total + (th.stack(subsets) @ alpha).mean()
    return total / len(observations)


@pytest.mark.parametrize(
    ("objective", "k", "policy_kwargs"),
    [
        ("max", 4, {}),
        ("max", 6, {"activation_fn": nn.Tanh}),
        ("max", 1, {"n_critics": 3}),
        ("cvar:0.5", 4, {"n_critics": 1}),
        ("median", 3, {"net_arch": []}),
        ("top:2", 4, {"activation_fn": nn.GELU}),
        ("mean - 0.5*gini", 3, {}),
        ([0.0, 1.0, -0.5], 3, {"net_arch": {"pi": [8], "qf": [12]}}),
    ],
)
def test_update(objective: Any, k: int, policy_kwargs: dict[str, Any]) -> None:
    model = make_model(objective=objective, k=k, n_action_samples=6, policy_kwargs=policy_kwargs)
    actor = deepcopy(model.actor).double()
    np.random.seed(3)
    th.manual_seed(3)
    model.train(1, BATCH)
    np.random.seed(3)
    th.manual_seed(3)
    observations = model.replay_buffer.sample(BATCH).observations
    noise = th.randn(6, BATCH, ACTION_DIM)
    # With the updated critics: the actor's step comes last
    expected = expected_objective(model, actor, observations, noise)
    actor.zero_grad()
    (-expected).backward()
    ours, theirs = (th.cat([parameter.grad.flatten() for parameter in a.parameters()]) for a in (model.actor, actor))
    assert (ours - theirs).norm() / theirs.norm() < 1e-5
    assert model.logger.name_to_value["train/actor_loss"] == pytest.approx(-expected.item(), rel=1e-5, abs=1e-6)


def override_forward(critic: Any) -> None:
    original = critic.forward
    critic.forward = lambda *args: [2.0 * value for value in original(*args)]


@pytest.mark.parametrize(
    ("change", "is_plain_after"),
    [
        (lambda critic: critic.qf0.__setitem__(1, nn.Tanh()), True),
        (lambda critic: critic.qf0.__setitem__(1, nn.GELU()), False),
        (lambda critic: critic.qf0.__setitem__(2, nn.Linear(24, 20, bias=False)), False),
        (lambda critic: critic.qf0.insert(1, nn.LayerNorm(24)), False),
        (lambda critic: critic.qf0.insert(1, nn.BatchNorm1d(24)), False),
        (lambda critic: critic.qf0.insert(1, nn.Dropout(0.5)), False),
        (lambda critic: critic.qf0[0].register_forward_hook(lambda module, inputs, output: 2.0 * output), False),
        (override_forward, True),
    ],
    ids=["tanh", "GELU", "no bias", "layer norm", "batch norm", "dropout", "hook", "forward"],
)
def test_other_networks(change: Callable[[Any], Any], is_plain_after: bool) -> None:
    """Also those in which the values of a batch are random, or depend on the whole batch."""
    model = make_model()
    assert all(map(is_plain, model.critic.q_networks))
    change(model.critic)
    assert is_plain(model.critic.q_networks[0]) == is_plain_after
    observations, weights = model.replay_buffer.sample(BATCH).observations, th.tensor([0.0, 0.0, 0.5, 0.5])
    actions = th.tanh(th.randn(4, BATCH, ACTION_DIM)).requires_grad_()
    th.manual_seed(1)
    values = action_gradient(model.critic, observations, actions, weights, model._memory)
    th.manual_seed(1)
    flat = th.cat(model.critic(observations.repeat(4, 1), actions.flatten(0, 1)), dim=1)
    q_values = flat.min(dim=1).values.view(4, BATCH)
    objective = q_values.sort(dim=0).values[2:].mean()
    th.testing.assert_close(values.q_values, q_values)
    th.testing.assert_close(values.objective, objective)
    th.testing.assert_close(values.gradient, th.autograd.grad(objective, actions)[0])


class CountingExtractor(FlattenExtractor):
    """Counts the states that it sees."""

    n_states = 0

    def forward(self, observations: th.Tensor) -> th.Tensor:
        self.n_states += len(observations)
        return super().forward(observations)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU])
def test_memory_and_features(activation: type[nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory and chunks serve any batch size; features are computed once per state; the critics get no gradient."""
    model = make_model(policy_kwargs={"features_extractor_class": CountingExtractor, "activation_fn": activation})
    model.critic.zero_grad()
    weights, extractor = th.full((8,), 1.0 / 8.0), model.critic.features_extractor
    for batch in (4, 16, 8):
        observations = model.replay_buffer.sample(batch).observations
        actions = sample_actions(model.actor, observations, 8).actions
        extractor.n_states = 0
        whole = action_gradient(model.critic, observations, actions, weights, model._memory)
        assert extractor.n_states == batch
        with monkeypatch.context() as patch:
            patch.setattr(networks, "CHUNK_SIZE", 3)
            chunks = action_gradient(model.critic, observations, actions, weights, [{}, {}])
        for ours, theirs in zip(whole, chunks, strict=True):
            th.testing.assert_close(ours, theirs)
    assert all(parameter.grad is None for parameter in model.critic.parameters())


@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU])
@pytest.mark.parametrize(("objective", "k", "n_kept"), [("max", 4, 5), ("max", 8, 1), ("min", 3, 6), ("mean", 8, 8)])
def test_only_kept_samples_are_differentiated(
    objective: str, k: int, n_kept: int, activation: type[nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(objective=objective, k=k, policy_kwargs={"activation_fn": activation})
    network_type: Any = PlainNetwork if activation is nn.ReLU else SampledNetwork
    original, n_rows = network_type.action_gradient, []
    monkeypatch.setattr(network_type, "action_gradient", lambda *args: n_rows.append(len(args[1])) or original(*args))
    model.train(1, BATCH)
    # Each kept sample through one of the two critics
    assert len(n_rows) == 2 and sum(n_rows) == n_kept * BATCH
