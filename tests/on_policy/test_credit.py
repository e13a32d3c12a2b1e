"""Pseudo-rewards, groups and the log against independent references."""

import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv
from toy_envs import RolloutLog, ToyEnv, small

from sb3_ordergrad import OrderA2C, OrderPPO
from sb3_ordergrad.common.episodes import POOLED, Episode, Rollout
from sb3_ordergrad.common.groups import MAX_GROUPS, EpisodeMemory, TransformedReturn
from sb3_ordergrad.common.pseudo_rewards import CREDITS
from sb3_ordergrad.common.remaining_return import RemainingReturn
from sb3_ordergrad.lstatistics import parse_objective, rank_weights

ALGORITHMS = pytest.mark.parametrize("algorithm", [OrderPPO, OrderA2C])


def brute_force_phi(x: float, others: np.ndarray, weights: np.ndarray) -> float:
    """K times (mean over the samples with x and K - 1 others, less the mean over those of K others)."""
    k = len(weights)
    with_x = [weights @ np.sort([x, *sample]) for sample in itertools.combinations(others, k - 1)]
    without = [weights @ np.sort(sample) for sample in itertools.combinations(others, k)]
    return k * float(np.mean(with_x) - np.mean(without))


class Step(NamedTuple):
    rollout: int
    row: int
    env: int
    key: str
    elapsed: int
    before: float
    reward: float
    ends: bool


def play(scripts: list[tuple[list[int], list[float], list[str]]], n_steps: int, n_rollouts: int) -> list[Step]:
    """The steps of scripted environments, each given by the lengths, rewards and keys of its episodes, in SB3's order."""
    steps = []
    for env, (lengths, rewards, keys) in enumerate(scripts):
        episode, elapsed, collected = 0, 0, 0.0
        for t in range(n_steps * n_rollouts):
            ends = elapsed + 1 == lengths[episode % len(lengths)]
            reward = rewards[t % len(rewards)]
            steps.append(Step(t // n_steps, t % n_steps, env, keys[episode % len(keys)], elapsed, collected, reward, ends))
            elapsed, collected = (0, 0.0) if ends else (elapsed + 1, collected + reward)
            episode += ends
    return sorted(steps, key=lambda step: (step.rollout, step.row, step.env))


def reference(
    steps: list[Step], n_steps: int, n_rollouts: int, n_envs: int, group_size: int, weights: np.ndarray, credit: str
) -> np.ndarray:
    """Pseudo-rewards by their definition, step by step; shape (n_rollouts, n_steps, n_envs)."""
    k = len(weights)
    pseudo = np.zeros((n_rollouts, n_steps, n_envs))
    recent: dict[str, list[float]] = {}
    remaining: dict[str, RemainingReturn] = {}
    for rollout in range(n_rollouts):
        ended: dict[str, list[Step]] = {}
        for step in steps:
            if step.rollout == rollout and step.ends:
                ended.setdefault(step.key, []).append(step)
        groups = {}
        for key in {*recent, *ended}:
            new = [step.before + step.reward for step in ended.get(key, [])]
            members = recent.get(key, []) + new
            groups[key] = members[-max(group_size, len(new)) :]
            recent[key] = groups[key][-group_size:]
        for step in steps:
            if step.rollout != rollout:
                continue
            group, mine = groups.get(step.key, []), ended.get(step.key, [])
            ends_with = [end for end in mine if end.env == step.env and end.row >= step.row]
            # the first end at or after this step is the step's own, unless a key says that another episode comes between
            end = min(ends_with, key=lambda end: end.row) if ends_with else None
            if end is None:
                others = np.array(group[1:])
            else:
                position = len(group) - len(mine) + mine.index(end)
                others = np.delete(np.array(group), position)
            ranked = len(group) > k

            def phi(x: float, others: np.ndarray = others, ranked: bool = ranked) -> float:
                return brute_force_phi(x, others, weights) if ranked else x

            after = step.before + step.reward
            if credit == "terminal":
                value = phi(after) if step.ends else 0.0
            elif credit == "dense" or not group:
                value = phi(after) - phi(step.before)
            else:
                # zero before the first group that could be ranked
                b = remaining.get(step.key, RemainingReturn())
                now = float(b(np.array(step.elapsed)))
                later = 0.0 if step.ends else float(b(np.array(step.elapsed + 1)))
                slope = weights.sum() if ranked else 1.0
                value = phi(after + later) - phi(step.before + now) - slope * (later - now)
            pseudo[rollout, step.row, step.env] = value
        for key, ends in ended.items():
            if len(groups[key]) > k:
                episodes = [episode_of(steps, end) for end in ends]
                remaining.setdefault(key, RemainingReturn()).update(episodes, group_size)
    return pseudo


def episode_of(steps: list[Step], end: Step) -> Episode:
    """The episode that ends with this step."""
    own = [step for step in steps if step.env == end.env and (step.rollout, step.row) <= (end.rollout, end.row)]
    own = own[len(own) - end.elapsed - 1 :]
    return Episode(end.key, end.before + end.reward, np.array([step.before for step in own]))


def train(
    algorithm: type[BaseAlgorithm],
    scripts: list[tuple[list[int], list[float], list[str]]],
    n_steps: int,
    n_rollouts: int,
    truncated: bool = False,
    **kwargs: Any,
) -> RolloutLog:
    def make(lengths: list[int], rewards: list[float], keys: list[str]) -> Callable[[], ToyEnv]:
        return lambda: ToyEnv(
            lengths=lengths, rewards=rewards, truncated=truncated, info=lambda episode: {"task": keys[episode % len(keys)]}
        )

    env = DummyVecEnv([make(*script) for script in scripts])
    log = RolloutLog()
    if algorithm is OrderPPO:
        kwargs["batch_size"] = n_steps * len(scripts)
    model = algorithm("MlpPolicy", env, **small(algorithm, n_steps=n_steps, smooth_rare_losses=False, **kwargs))
    model.learn(n_steps * n_rollouts * len(scripts), callback=log)
    assert len(log.rewards) == n_rollouts
    return log


def raw(log: RolloutLog) -> np.ndarray:
    """The pseudo-rewards of all rollouts, their scale taken out."""
    return np.array(
        [rewards / entry.get("train/reward_scale", 1.0) for rewards, entry in zip(log.rewards, log.log, strict=True)]
    )


RNG = np.random.default_rng(5)
# an episode within a rollout, one over three of them, one-step episodes, ties, and rewards of both signs
SCRIPTS = [
    ([2, 3, 9, 1], RNG.normal(size=37).round(1).tolist(), ["a", "b", "a"]),
    ([3, 1, 1, 4], RNG.normal(size=41).round(1).tolist(), ["a"]),
    ([5, 2], [1.0, -1.0, 0.0], ["b", "a"]),
]


# a time limit adds nothing
@pytest.mark.parametrize(("group_size", "truncated"), [(4, False), (7, True)])
@pytest.mark.parametrize("objective", ["cvar:0.5", "max", "mean - 0.5*gini"])
@pytest.mark.parametrize("credit", ["dense", "projected", "terminal"])
@ALGORITHMS
def test_equals_the_definition(
    algorithm: type[BaseAlgorithm], credit: str, objective: str, group_size: int, truncated: bool
) -> None:
    n_steps, n_rollouts = 4, 7
    weights = rank_weights(objective, 3)
    for group_by in (None, "task"):
        scripts = [(lengths, rewards, keys if group_by else [""]) for lengths, rewards, keys in SCRIPTS]
        log = train(
            algorithm, scripts, n_steps, n_rollouts, truncated,
            objective=objective, k=3, group_size=group_size, credit=credit, group_by=group_by,
        )  # fmt: skip
        steps = play(scripts, n_steps, n_rollouts)
        expected = reference(steps, n_steps, n_rollouts, len(scripts), group_size, weights, credit)
        # the buffer is float32
        np.testing.assert_allclose(raw(log), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("credit", [credit for credit in CREDITS if credit != "terminal"])
@ALGORITHMS
def test_mean_leaves_the_rewards(algorithm: type[BaseAlgorithm], credit: str) -> None:
    """The pseudo-rewards of the mean, computed at the end of annealing from another objective, are the rewards."""
    scripts = [([3], RNG.normal(size=23).tolist(), [""]) for _ in range(2)]
    rewards = np.array([[script[1][t % 23] for script in scripts] for t in range(48)]).reshape(6, 8, 2)
    plain = train(algorithm, scripts, 8, 6, objective="mean", credit=credit)
    np.testing.assert_array_equal(np.array(plain.rewards), rewards.astype(np.float32))
    annealed = train(
        algorithm, scripts, 8, 6, objective="mean", anneal=0.01, anneal_from="max", k=2, group_size=4, credit=credit
    )
    np.testing.assert_allclose(raw(annealed)[1:], rewards[1:], rtol=1e-5, atol=1e-5)


@ALGORITHMS
def test_plain_rewards_until_the_group_can_be_ranked(algorithm: type[BaseAlgorithm]) -> None:
    scripts = [([4], RNG.normal(size=64).tolist(), [""])]
    for credit in CREDITS:
        log = train(algorithm, scripts, 8, 4, objective="max", k=4, group_size=5, credit=credit)
        assert [entry["rollout/ranked_groups"] for entry in log.log] == [0, 0, 1, 1]
        assert ["rollout/objective" in entry for entry in log.log] == [False, False, True, True]
        plain = np.reshape(scripts[0][1][:8], (2, 4))
        expected = plain if credit != "terminal" else np.c_[np.zeros((2, 3)), plain.sum(1)]
        np.testing.assert_allclose(raw(log)[0].ravel()[:4], expected.ravel()[:4], rtol=1e-5, atol=1e-5)


def rollout_of(returns: list[float], key: str = POOLED, ongoing: list[str] | None = None, n_timesteps: int = 3) -> Rollout:
    """A rollout in which episodes of one group ended."""
    rollout = Rollout(n_timesteps, 1)
    rollout.finished = [Episode(key, value, np.zeros(1)) for value in returns]
    rollout.ongoing_group_keys = ongoing or []
    return rollout


def test_hand_computed_influence() -> None:
    """
    Returns 0, 2, 6 and K = 2, the larger of two. Episode 0 with the others 2 and 6: max(0, 2) and max(0, 6), mean 4, without
    it max(2, 6), so phi = 2 (4 - 6) = -4. Episode 1: (2 + 6) / 2 - 6 = -2, phi = -4. Episode 2: 6 - 2 = 4, phi = 8.
    """
    group = EpisodeMemory().add(rollout_of([0.0, 2.0, 6.0]), 3)[POOLED]
    phi = TransformedReturn(group, 2, parse_objective("max"))
    np.testing.assert_allclose(phi(np.array([0.0, 2.0, 6.0]), np.arange(3)), [-4.0, -4.0, 8.0], atol=1e-12)
    # an unfinished episode meets the most recent two, 2 and 6: at 4 the mean of max(4,2), max(4,6) is 5, phi = 2 (5 - 6) = -2
    np.testing.assert_allclose(phi(np.array([4.0]), np.array([-1])), [-2.0], atol=1e-12)


def test_memory_keeps_the_most_recent() -> None:
    memory = EpisodeMemory()

    def add(returns: list[float], n_timesteps: int, key: str = POOLED) -> dict[str, Any]:
        return memory.add(rollout_of(returns, key, [POOLED, "empty"], n_timesteps), 3)

    assert add([1.0, 2.0], 10)[POOLED].returns.tolist() == [1.0, 2.0]
    group = add([3.0, 4.0], 7)[POOLED]
    assert (group.returns.tolist(), group.ages.tolist(), group.n_new) == ([2.0, 3.0, 4.0], [7, 0, 0], 2)
    # the two that ended, and the unfinished episode of the first environment
    assert group.episodes.tolist() == [0, 1, 2]
    # a rollout with more than group_size episodes compares all it has
    assert add([5.0, 6.0, 7.0, 8.0], 30)[POOLED].returns.tolist() == [5.0, 6.0, 7.0, 8.0]
    assert add([], 40)[POOLED].returns.tolist() == [6.0, 7.0, 8.0]
    groups = add([9.0], 50, "other")
    assert groups["other"].returns.tolist() == [9.0]
    assert (groups[POOLED].returns.tolist(), groups[POOLED].n_new) == ([6.0, 7.0, 8.0], 0)
    # a group without an episode in this rollout is kept
    for key in (POOLED, "other"):
        assert list(memory.add(rollout_of([], ongoing=[key]), 3)) == [key]


def test_memory_forgets_the_groups_not_seen_for_longest() -> None:
    memory = EpisodeMemory()
    for number in range(2 * MAX_GROUPS):
        memory.add(rollout_of([1.0], str(number), ["0"]), 3)
    assert len(memory.recent) == MAX_GROUPS
    assert "0" in memory.recent and "1" not in memory.recent and str(2 * MAX_GROUPS - 1) in memory.recent


@ALGORITHMS
def test_value_targets_do_not_depend_on_the_unit_of_the_rewards(algorithm: type[BaseAlgorithm]) -> None:
    targets = []
    for unit in (1.0, 1000.0):
        scripts = [([3, 5], (unit * np.random.default_rng(2).normal(size=31)).tolist(), [""]) for _ in range(2)]
        log = train(algorithm, scripts, 16, 4, objective="max", k=2, group_size=4)
        targets.append(np.array(log.rewards[1:]))
    np.testing.assert_allclose(targets[0], targets[1], rtol=1e-3, atol=1e-4)


@ALGORITHMS
def test_annealing_schedule(algorithm: type[BaseAlgorithm]) -> None:
    """The objective moves over the stated fraction of training, and starts again with the next training."""
    env = ToyEnv(lengths=[2], rewards=RNG.normal(size=50).tolist())
    model = algorithm("MlpPolicy", env, **small(algorithm, objective="min", anneal=0.5, k=2, group_size=4))
    first, second = RolloutLog(), RolloutLog()
    model.learn(8 * 10, callback=first)
    model.learn(8 * 10, callback=second)
    for log in (first, second):
        fractions = [entry["train/anneal_fraction"] for entry in log.log]
        assert fractions[0] <= 0.2
        np.testing.assert_allclose(np.diff(fractions[:5]), 0.2, atol=1e-9)
        assert fractions[6:] == [1.0] * 4


@ALGORITHMS
def test_pseudo_rewards_follow_the_annealed_objective(algorithm: type[BaseAlgorithm]) -> None:
    """Levels of one family are interpolated: from cvar:1 to cvar:0.5 over the whole of training."""
    scripts = [([2], np.random.default_rng(9).normal(size=(80)).tolist(), [""])]
    log = train(
        algorithm, scripts, 8, 10, objective="cvar:0.5", anneal_from="cvar:1", anneal=1.0, k=2, group_size=4, credit="terminal"
    )
    for rollout, (pseudo, entry) in enumerate(zip(raw(log), log.log, strict=True)):
        returns = np.reshape(scripts[0][1][8 * rollout : 8 * rollout + 8], (4, 2)).sum(1)
        weights = rank_weights(f"cvar:{1.0 - 0.5 * entry['train/anneal_fraction']!r}", 2)
        expected = [brute_force_phi(x, np.delete(returns, i), weights) for i, x in enumerate(returns)]
        np.testing.assert_allclose(pseudo.ravel()[1::2], expected, rtol=1e-5, atol=1e-5)


@ALGORITHMS
def test_log(algorithm: type[BaseAlgorithm]) -> None:
    scripts = [([2], np.arange(32.0).tolist(), [""])]
    log = train(algorithm, scripts, 8, 2, objective="min", k=2, group_size=6, credit="terminal")
    # returns 1, 5, 9, 13, then 17, 21, 25, 29; the last six of them are compared
    entry, members = log.log[1], np.array([9.0, 13.0, 17.0, 21.0, 25.0, 29.0])
    assert entry["rollout/group_mean"] == members.mean()
    assert entry["rollout/group_median"] == np.median(members)
    assert entry["rollout/group_max"] == 29.0
    # 0.1 of six episodes are less than one
    np.testing.assert_allclose(entry["rollout/group_cvar_0.1"], 9.0)
    assert entry["rollout/group_size"] == 6
    # four ended in this rollout, two by the end of the one before
    np.testing.assert_allclose(entry["rollout/group_age"], 2 * 8 / 6)
    pairs = [min(pair) for pair in itertools.combinations(members, 2)]
    np.testing.assert_allclose(entry["rollout/objective"], np.mean(pairs))
    assert (entry["train/anneal_fraction"], entry["rollout/ranked_groups"]) == (1.0, 1)
    assert entry["rollout/credited_steps"] == np.mean(log.rewards[1] != 0.0) <= 0.5


@ALGORITHMS
def test_age_after_a_new_training(algorithm: type[BaseAlgorithm]) -> None:
    """SB3 counts timesteps from zero again; the episodes of the last training still have a positive age."""
    env = ToyEnv(lengths=[4])
    model = algorithm("MlpPolicy", env, **small(algorithm, k=2, group_size=8))
    model.learn(80)
    log = RolloutLog()
    model.learn(80, callback=log)
    assert min(entry["rollout/group_age"] for entry in log.log) >= 0.0


@ALGORITHMS
def test_defaults_of_gamma_and_gae_lambda(algorithm: type[BaseAlgorithm], tmp_path: Path) -> None:
    """They follow the credit and the objective, when these change as well; what the user gives stays."""

    def used(model: Any) -> tuple[float, float]:
        model.learn(1)
        assert (model.rollout_buffer.gamma, model.rollout_buffer.gae_lambda) == (model.gamma, model.gae_lambda)
        return model.gamma, model.gae_lambda

    short = 0.9 if algorithm is OrderPPO else 1.0
    usual = 0.95 if algorithm is OrderPPO else 1.0
    model: Any = algorithm("MlpPolicy", ToyEnv(), **small(algorithm))
    assert used(model) == (0.99, short)
    model.objective = "mean"
    assert used(model) == (0.99, usual)
    model.objective, model.k = [0.5, 0.5], 2
    assert used(model) == (0.99, usual)
    model.credit = "terminal"
    assert used(model) == (1.0, usual)
    model.save(tmp_path / "model")
    load = partial(algorithm.load, tmp_path / "model", env=ToyEnv(), device="cpu", objective="cvar:0.5")
    assert used(load()) == (1.0, usual)
    assert used(load(credit="dense")) == (0.99, short)
    assert used(load(credit="dense", gamma=0.9)) == (0.9, short)
    assert used(load(gamma=0.99, gae_lambda=0.9)) == (0.99, 0.9)
    given: Any = algorithm("MlpPolicy", ToyEnv(), **small(algorithm, gamma=0.99, gae_lambda=0.8))
    given.credit = "terminal"
    assert used(given) == (0.99, 0.8)
