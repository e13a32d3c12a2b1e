"""RePPO's advantages are those of k tries: against enumeration, against PPO, and as a gradient."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from toy_envs import ToyEnv, small

from sb3_ordergrad import RePPO
from sb3_ordergrad.lstatistics import exact_lstatistic, rank_weights
from sb3_ordergrad.reppo.advantages import retry_advantages

OBJECTIVES = ["max", "min", "median", "cvar:0.25", "upper_cvar:0.4", "trimmed_mean:0.1:0.3"]


def batch(n_states: int = 6, n_actions: int = 4) -> tuple[th.Tensor, ...]:
    """:return: Q-values with ties, probabilities, actions and targets of random states, in double precision"""
    rng = np.random.default_rng(0)
    q_values = rng.integers(-2, 3, (n_states, n_actions)).astype(float)
    arrays = q_values, rng.dirichlet(np.ones(n_actions), n_states), rng.integers(n_actions, size=(n_states, 1))
    return *map(th.as_tensor, arrays), th.as_tensor(rng.normal(size=(n_states, 1)))


@pytest.mark.parametrize("k", [1, 2, 3, 4])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_enumeration_of_all_tries(objective: str, k: int) -> None:
    q_values, probs, actions, targets = batch()
    advantages = retry_advantages(q_values, probs, actions, targets, k, objective)
    tries = np.array(list(itertools.product(range(q_values.shape[1]), repeat=k)))
    for q, pi, action, target, advantage in zip(q_values, probs, actions[:, 0], targets, advantages, strict=True):
        values = q.numpy().copy()
        values[action] = target
        statistics = np.sort(values[tries], axis=1) @ rank_weights(objective, k)
        chances = pi.numpy()[tries]
        given = tries[:, 0] == int(action)
        include_one = chances[given, 1:].prod(axis=1) @ statistics[given]
        assert advantage.item() == pytest.approx(k * (include_one - chances.prod(axis=1) @ statistics), abs=1e-10)


@pytest.mark.parametrize("k", [0.5, 0.9, 1.2, 2.5, 7.3])
def test_best_of_a_real_number_of_tries(k: float) -> None:
    """The best of the other k - 1 tries has the distribution function ``F^(k-1)`` (ReMax, arXiv 2606.00151)."""
    q_values, probs, actions, targets = batch()
    advantages = retry_advantages(q_values, probs, actions, targets, k, "max")
    values = q_values.scatter(1, actions, targets).numpy()
    for x, pi, action, advantage in zip(values, probs.numpy(), actions[:, 0], advantages, strict=True):
        order = np.argsort(x)
        # E[(x_b - best of the others)_+] up to a constant, by integration over the gaps between the values
        gaps, below = np.diff(x[order]), np.cumsum(pi[order])[:-1] ** (k - 1)
        improvement = np.empty_like(x)
        improvement[order] = np.concatenate([[0.0], np.cumsum(gaps * below)])
        assert advantage.item() == pytest.approx(k * (improvement[action] - pi @ improvement), abs=1e-10)


@pytest.mark.parametrize(("k", "objective"), [(1, "max"), (1, "cvar:0.25"), (3, "mean"), (2.5, "mean")])
def test_one_try_is_ppo_with_a_q_baseline(k: float, objective: str) -> None:
    q_values, probs, actions, targets = batch()
    advantages = retry_advantages(q_values, probs, actions, targets, k, objective)
    baseline = (probs * q_values.scatter(1, actions, targets)).sum(dim=1, keepdim=True)
    th.testing.assert_close(advantages, targets - baseline, rtol=0, atol=1e-12)


class Chain:
    """
    Two steps from state 0 to one of the states 1 and 2, then to the end; deterministic.

    The rewards are ``first[a]`` and then ``second[s, a]``, gamma is 1. The policy has one logit for each state and action, and
    the critic knows the Q-values.
    """

    first = np.array([0.3, -0.2, 0.1])
    following = np.array([1, 2, 2])
    second = np.array([[0.0, 0.0, 0.0], [1.0, -2.0, 0.5], [0.7, 0.2, -1.0]])

    def __init__(self) -> None:
        self.logits = th.tensor(np.random.default_rng(1).normal(size=(3, 3)), requires_grad=True)
        self.probs = self.logits.softmax(dim=1)
        self.q_values = th.tensor(self.second)
        values = (self.probs.detach() * self.q_values).sum(dim=1)
        self.q_values[0] = th.tensor(self.first) + values[self.following]

    def expected_gradient(self, gae_lambda: float, k: float, objective: str) -> th.Tensor:
        """The mean over all trajectories of the sum of advantage times grad log pi, with GAE as SB3 computes it."""
        pi, total = self.probs.detach(), th.zeros((), dtype=th.float64)
        values = (pi * self.q_values).sum(dim=1)
        for a, b in itertools.product(range(3), repeat=2):
            after = int(self.following[a])
            deltas = [self.first[a] + values[after] - values[0], self.second[after, b] - values[after]]
            gae = th.stack([deltas[0] + gae_lambda * deltas[1], deltas[1]])
            states, actions = th.tensor([0, after]), th.tensor([[a], [b]])
            targets = (gae + values[states])[:, None]
            advantages = retry_advantages(self.q_values[states], pi[states], actions, targets, k, objective)[:, 0]
            log_probs = self.probs[states].gather(1, actions)[:, 0].log()
            total = total + pi[0, a] * pi[after, b] * (advantages * log_probs).sum()
        return th.autograd.grad(total, self.logits, retain_graph=True)[0]


@pytest.mark.parametrize("gae_lambda", [0.0, 0.8, 1.0])
def test_gradient_of_the_mean_is_unbiased(gae_lambda: float) -> None:
    chain = Chain()
    mean = (chain.probs[0] * (th.tensor(chain.first) + (chain.probs * th.tensor(chain.second)).sum(1)[chain.following])).sum()
    gradient = th.autograd.grad(mean, chain.logits, retain_graph=True)[0]
    th.testing.assert_close(chain.expected_gradient(gae_lambda, 1, "max"), gradient, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("k", "objective"), [(1.2, "max"), (0.8, "max"), (3, "max"), (4, "cvar:0.5"), (3, "median")])
def test_gradient_of_the_tries_is_unbiased(k: float, objective: str) -> None:
    """With lambda = 0 the targets are the Q-values, which J of each state takes as given: central differences of J."""
    chain = Chain()
    with th.no_grad():
        logits, probs, q_values = chain.logits.numpy(), chain.probs.numpy(), chain.q_values.numpy()
    visits = [1.0, probs[0, 0], probs[0, 1] + probs[0, 2]]
    step, gradient = 1e-5, np.zeros_like(logits)
    for state, action in itertools.product(range(3), repeat=2):
        pair = []
        for sign in (1, -1):
            shifted = np.exp(logits[state] + sign * step * np.eye(3)[action])
            pair.append(exact_lstatistic(q_values[state], shifted / shifted.sum(), k, objective).value)
        gradient[state, action] = visits[state] * (pair[0] - pair[1]) / (2 * step)
    np.testing.assert_allclose(chain.expected_gradient(0.0, k, objective), gradient, rtol=0, atol=1e-8)


def collect(**kwargs: Any) -> tuple[RePPO, RolloutBuffer]:
    """A model that has not learned from its rollout, in which time limits end the episodes."""
    settings = small(RePPO, n_steps=16, n_epochs=1, learning_rate=0.0, **kwargs)
    model = RePPO("MlpPolicy", ToyEnv(lengths=[3, 5], truncated=True), **settings).learn(16)
    return model, model.rollout_buffer


@pytest.mark.parametrize(("k", "objective"), [(1, "max"), (1.7, "max"), (4, "cvar:0.25")])
def test_rollout_holds_what_the_equations_say(k: float, objective: str) -> None:
    model, buffer = collect(k=k, objective=objective)
    observations = th.as_tensor(buffer.observations).reshape(16, -1)
    with th.no_grad():
        q_values, distribution = model.policy.q_values_and_distribution(observations)
        values, log_probs, _ = model.policy.evaluate_actions(observations, th.as_tensor(buffer.actions).long().flatten())
        state_values = model.policy.predict_values(observations)
    probs, actions = distribution.distribution.probs, th.as_tensor(buffer.actions).long()
    th.testing.assert_close(state_values[:, 0], (probs * q_values).sum(dim=1))
    th.testing.assert_close(values, q_values.gather(1, actions))
    # what the clipped value loss takes as the old value is q(s, a), and the ratio is 1 in the first minibatch
    np.testing.assert_allclose(buffer.values, values, atol=1e-6)
    np.testing.assert_allclose(buffer.log_probs[:, 0], log_probs, atol=1e-6)
    # GAE on V, with the values of truncated episodes already in the rewards, as SB3 adds them
    gae, advantages = 0.0, np.zeros(16)
    with th.no_grad():
        following = [*state_values[1:, 0].tolist(), model.policy.predict_values(th.as_tensor(model._last_obs)).item()]
    ends = [*(np.cumsum([3, 5, 3, 5]) - 1)]
    for step in reversed(range(16)):
        alive = 0.0 if step in ends else 1.0
        delta = float(buffer.rewards[step, 0]) + 0.99 * alive * following[step] - state_values[step].item()
        gae = delta + 0.99 * 0.8 * alive * gae
        advantages[step] = gae
    np.testing.assert_allclose(buffer.returns[:, 0], advantages + state_values[:, 0].numpy(), atol=1e-5)
    expected = retry_advantages(q_values, probs, actions, th.as_tensor(buffer.returns), k, objective)
    np.testing.assert_allclose(buffer.advantages, expected, atol=1e-5)


def test_callbacks_see_the_final_advantages() -> None:
    seen = []

    class Keep(BaseCallback):
        def _on_step(self) -> bool:
            return True

        def _on_rollout_end(self) -> None:
            seen.append(self.locals["rollout_buffer"].advantages.copy())

    model = RePPO("MlpPolicy", ToyEnv(), **small(RePPO, k=3)).learn(8, callback=Keep())
    np.testing.assert_array_equal(seen[0], model.rollout_buffer.advantages)


def test_value_clipping_is_around_the_old_q_value() -> None:
    """In the first minibatch the critic has not moved, so that a clipped value loss equals the other one."""
    losses = []
    for clip_range_vf in (None, 1e-6):
        model = RePPO("MlpPolicy", ToyEnv(), **small(RePPO, n_epochs=1, k=2, clip_range_vf=clip_range_vf)).learn(8)
        losses.append(model.logger.name_to_value["train/value_loss"])
    assert math.isclose(*losses, rel_tol=1e-6)


def test_rollouts_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large rollouts go through the networks in parts, with the same result."""
    whole = collect(k=2)[1].advantages
    monkeypatch.setattr("sb3_ordergrad.reppo.reppo.CHUNK_SIZE", 5)
    np.testing.assert_allclose(collect(k=2)[1].advantages, whole, atol=1e-6)
