"""The actor's gradient is that of the naive definition, with and without the shortcuts, and these skip what they may."""

import itertools
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import ContinuousCritic
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.sac.policies import SACPolicy
from torch import nn
from toy_envs import ToyEnv

from sb3_ordergrad import ReMAC
from sb3_ordergrad.lstatistics import rank_weights
from sb3_ordergrad.remac import actor_gradient, remac
from sb3_ordergrad.remac.actor_gradient import RankWeights, action_gradient
from sb3_ordergrad.remac.critics import plain_networks
from sb3_ordergrad.remac.mlp import Mlp, Scratch
from sb3_ordergrad.remac.samples import sample_actions

BATCH, ACTION_DIM = 16, 2
SHORTCUTS = pytest.mark.parametrize("shortcut", [True, False], ids=["shortcut", "autograd"])


def make_model(policy: Any = "MlpPolicy", n_updates: int = 20, **kwargs: Any) -> Any:
    """A model that has learnt a little, so that its critics disagree."""
    policy_kwargs = {"net_arch": [24, 20], **kwargs.pop("policy_kwargs", {})}
    settings: dict[str, Any] = {"buffer_size": 200, "batch_size": BATCH, "learning_starts": 40, "seed": 0, "device": "cpu"}
    env = ToyEnv(action_space=spaces.Box(-1.0, 1.0, (ACTION_DIM,)))
    model = ReMAC(policy, env, policy_kwargs=policy_kwargs, **settings | {"learning_rate": 3e-3} | kwargs)
    return model.learn(40 + n_updates)


def naive_objective(model: Any, actor: Any, observations: th.Tensor, noise: th.Tensor) -> th.Tensor:
    """In double precision, state by state: all samples, all critics, and the L-statistic of every subset of k actions."""
    critic = deepcopy(model.critic).double()
    alpha = th.as_tensor(rank_weights(model.objective, model.k))
    total = th.zeros((), dtype=th.float64)
    for state, draws in zip(observations.double(), noise.double().unbind(1), strict=True):
        latent = actor.latent_pi(state)
        mean, std = actor.mu(latent), actor.log_std(latent).clamp(-20, 2).exp()
        q_values = []
        for draw in draws:
            inputs = th.cat([state, th.tanh(mean + std * draw)])
            q_values.append(th.cat([network(inputs) for network in critic.q_networks]).min())
        subsets = [th.stack(subset).sort().values for subset in itertools.combinations(q_values, model.k)]
        total = total + (th.stack(subsets) @ alpha).mean()
    return total / len(observations)


def actor_gradients(actor: Any) -> th.Tensor:
    return th.cat([parameter.grad.flatten().double() for parameter in actor.parameters()])


@SHORTCUTS
@pytest.mark.parametrize(
    ("objective", "k", "policy_kwargs"),
    [
        ("max", 4, {}),
        ("max", 6, {"activation_fn": nn.Tanh}),
        ("max", 1, {"n_critics": 3}),
        ("cvar:0.5", 4, {"n_critics": 1}),
        ("median", 3, {"net_arch": []}),
        ("mean - 0.5*gini", 3, {}),
        ("top:2", 4, {"activation_fn": nn.ELU}),
        ([0.0, 1.0, -0.5], 3, {"net_arch": {"pi": [8], "qf": [12]}}),
    ],
)
def test_gradient_of_an_update(
    objective: Any, k: int, policy_kwargs: dict[str, Any], shortcut: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not shortcut:
        for name in ("plain_network", "plain_networks"):
            monkeypatch.setattr(remac, name, lambda owner: None)
    model = make_model(objective=objective, k=k, n_action_samples=6, policy_kwargs=policy_kwargs)
    actor = deepcopy(model.actor).double()
    for step in ("train", "naive"):
        np.random.seed(3)
        th.manual_seed(3)
        if step == "train":
            model.train(1, BATCH)
    observations = model.replay_buffer.sample(BATCH).observations
    noise = th.randn(6, BATCH, ACTION_DIM)
    # The critic as it is after the update: the actor's step comes last
    expected = naive_objective(model, actor, observations, noise)
    actor.zero_grad()
    (-expected).backward()
    error = (actor_gradients(model.actor) - actor_gradients(actor)).norm() / actor_gradients(actor).norm()
    assert error < 1e-5
    assert model.logger.name_to_value["train/actor_loss"] == pytest.approx(-expected.item(), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(
    ("objective", "k", "n_kept"),
    [("max", 4, 5), ("max", 8, 1), ("max", 1, 8), ("min", 3, 6), ("median", 3, 6), ("mean", 8, 8)],
)
def test_backward_pass_through_kept_ranks_only(objective: str, k: int, n_kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(objective=objective, k=k)
    n_rows = []

    def counting(self: Mlp, hidden: Any, *args: Any, **kwargs: Any) -> th.Tensor:
        n_rows.append(len(hidden[0]))
        return original(self, hidden, *args, **kwargs)

    original = Mlp.input_gradient
    monkeypatch.setattr(Mlp, "input_gradient", counting)
    model.train(1, BATCH)
    # each kept sample through one of the two critics
    assert len(n_rows) == 2 and min(n_rows) > 0 and sum(n_rows) == n_kept * BATCH


@SHORTCUTS
def test_critic_gets_no_gradient(shortcut: bool) -> None:
    model = make_model()
    model.critic.zero_grad()
    observations = model.replay_buffer.sample(BATCH).observations
    samples = sample_actions(model.actor, observations, 8)
    networks = plain_networks(model.critic) if shortcut else None
    ranks = model._rank_weights()[1]
    values = action_gradient(model.critic, networks, observations, samples.actions, ranks, Scratch())
    assert all(parameter.grad is None for parameter in model.critic.parameters())
    assert values.gradient.shape == samples.actions.shape and values.q_values.shape == (8, BATCH)
    assert not values.gradient.requires_grad and not values.objective.requires_grad


class CountingExtractor(FlattenExtractor):
    """Counts the states that pass."""

    n_states = 0

    def forward(self, observations: th.Tensor) -> th.Tensor:
        self.n_states += len(observations)
        return super().forward(observations)


@SHORTCUTS
def test_features_once_per_state(shortcut: bool) -> None:
    model = make_model(policy_kwargs={"features_extractor_class": CountingExtractor})
    observations = model.replay_buffer.sample(BATCH).observations
    extractors = model.actor.features_extractor, model.critic.features_extractor
    before = [extractor.n_states for extractor in extractors]
    samples = sample_actions(model.actor, observations, 8)
    networks = plain_networks(model.critic) if shortcut else None
    action_gradient(model.critic, networks, observations, samples.actions, model._rank_weights()[1], Scratch())
    assert [extractor.n_states for extractor in extractors] == [count + BATCH for count in before]


class NegatedCritic(ContinuousCritic):
    """Has a forward pass of its own."""

    def forward(self, obs: th.Tensor, actions: th.Tensor) -> tuple[th.Tensor, ...]:
        return tuple(-value for value in super().forward(obs, actions))


class NegatedPolicy(SACPolicy):
    def make_critic(self, features_extractor: Any = None) -> ContinuousCritic:
        return NegatedCritic(**self._update_features_extractor(self.critic_kwargs, features_extractor)).to(self.device)


def with_hook(model: Any) -> Any:
    model.critic.q_networks[0][0].register_forward_hook(lambda module, inputs, output: 2.0 * output)
    return model


def with_layer_norm(model: Any) -> Any:
    model.critic.q_networks[0].insert(1, nn.LayerNorm(24))
    return model


@pytest.mark.parametrize(
    "make",
    [
        lambda: make_model(NegatedPolicy),
        lambda: with_hook(make_model()),
        lambda: with_layer_norm(make_model()),
        lambda: make_model(policy_kwargs={"activation_fn": nn.GELU}),
    ],
    ids=["own forward", "hook", "layer norm", "activation"],
)
def test_critics_that_are_no_plain_networks(make: Callable[[], Any]) -> None:
    """They are called as they are."""
    model = make()
    assert plain_networks(model.critic) is None
    observations = model.replay_buffer.sample(BATCH).observations
    actions = th.tanh(th.randn(4, BATCH, ACTION_DIM)).requires_grad_()
    ranks = RankWeights.of(np.array([0.0, 0.0, 0.5, 0.5]), observations)
    values = action_gradient(model.critic, None, observations, actions, ranks, Scratch())
    q_values = th.stack([th.cat(model.critic(observations, one), dim=1).min(dim=1).values for one in actions])
    objective = q_values.sort(dim=0).values[2:].mean()
    th.testing.assert_close(values.q_values, q_values)
    th.testing.assert_close(values.gradient, th.autograd.grad(objective, actions)[0])


def test_rows_as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """There, all kept rows pass through every critic."""
    model = make_model(k=3)
    observations = model.replay_buffer.sample(BATCH).observations
    actions = sample_actions(model.actor, observations, 8).actions
    arguments = model.critic, plain_networks(model.critic), observations, actions, model._rank_weights()[1], Scratch()
    expected = action_gradient(*arguments).gradient
    monkeypatch.setattr(actor_gradient, "_own_rows", lambda rows, factors, mine: (rows, factors * mine))
    th.testing.assert_close(action_gradient(*arguments).gradient, expected)


def test_scratch_grows_with_the_batch() -> None:
    """The same memory serves batches of any size, one after the other."""
    model = make_model()
    ranks = model._rank_weights()[1]
    for batch in (4, 16, 8):
        observations = model.replay_buffer.sample(batch).observations
        actions = sample_actions(model.actor, observations, 8).actions
        ours, plain = (
            action_gradient(model.critic, networks, observations, actions, ranks, model._scratch)
            for networks in (plain_networks(model.critic), None)
        )
        th.testing.assert_close(ours.gradient, plain.gradient)
        th.testing.assert_close(ours.q_values, plain.q_values)
