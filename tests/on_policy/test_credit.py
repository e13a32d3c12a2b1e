"""Pseudo-rewards, groups, the value scale and the log against independent references."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv
from toy_envs import RolloutLog, ToyEnv, small

from sb3_ordergrad import OrderA2C, OrderPPO
from sb3_ordergrad.common.credit import CREDITS
from sb3_ordergrad.common.episodes import Episode
from sb3_ordergrad.common.groups import MAX_GROUPS, EpisodeMemory, TransformedReturn
from sb3_ordergrad.common.projection import RemainingReturn
from sb3_ordergrad.common.value_scale import ValueScale
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
    paid = np.zeros((n_rollouts, n_steps, n_envs))
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
            elif credit == "dense" or step.key not in remaining or not group:
                value = phi(after) - phi(step.before)
            else:
                b = remaining[step.key]
                now = float(b(np.array(step.elapsed)))
                later = 0.0 if step.ends else float(b(np.array(step.elapsed + 1)))
                slope = weights.sum() if ranked else 1.0
                value = phi(after + later) - phi(step.before + now) - slope * (later - now)
            paid[rollout, step.row, step.env] = value
        for key, ends in ended.items():
            remaining.setdefault(key, RemainingReturn(group_size)).update([episode_of(steps, end) for end in ends])
    return paid


def episode_of(steps: list[Step], end: Step) -> Episode:
    """The episode that ends with this step."""
    own = [step for step in steps if step.env == end.env and (step.rollout, step.row) <= (end.rollout, end.row)]
    own = own[len(own) - end.elapsed - 1 :]
    return Episode(end.env, end.row, end.key, end.before + end.reward, np.array([step.before for step in own]))


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
    model = algorithm("MlpPolicy", env, **small(algorithm, n_steps=n_steps, **kwargs))
    model.learn(n_steps * n_rollouts * len(scripts), callback=log)
    assert len(log.rewards) == n_rollouts
    return log


def raw(log: RolloutLog) -> np.ndarray:
    """The pseudo-rewards of all rollouts, the value scale taken out."""
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


@pytest.mark.parametrize("group_size", [4, 7])
@pytest.mark.parametrize("objective", ["cvar:0.5", "max", "mean - 0.5*gini"])
@pytest.mark.parametrize("credit", ["dense", "projected", "terminal"])
@ALGORITHMS
def test_equals_the_definition(algorithm: type[BaseAlgorithm], credit: str, objective: str, group_size: int) -> None:
    n_steps, n_rollouts = 4, 7
    weights = rank_weights(objective, 3)
    for group_by in (None, "task"):
        scripts = [(lengths, rewards, keys if group_by else [""]) for lengths, rewards, keys in SCRIPTS]
        log = train(
            algorithm, scripts, n_steps, n_rollouts,
            objective=objective, k=3, group_size=group_size, credit=credit, group_by=group_by,
        )  # fmt: skip
        steps = play(scripts, n_steps, n_rollouts)
        expected = reference(steps, n_steps, n_rollouts, len(scripts), group_size, weights, credit)
        # the buffer is float32
        np.testing.assert_allclose(raw(log), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("truncated", [False, True])
@pytest.mark.parametrize("credit", CREDITS)
@ALGORITHMS
def test_sum_is_the_transformed_return(algorithm: type[BaseAlgorithm], credit: str, truncated: bool) -> None:
    """``sum_t g_t = phi_i(R_i) + const``, a time limit adds nothing, and the advantages ``K a_i`` have sum zero."""
    lengths, n_envs = [4], 6
    rewards = RNG.normal(size=(n_envs, 16))
    scripts = [(lengths, rewards[env].tolist(), [""]) for env in range(n_envs)]
    log = train(algorithm, scripts, 8, 2, truncated, objective="cvar:0.5", k=2, group_size=6, credit=credit)
    weights = rank_weights("cvar:0.5", 2)
    # two episodes an environment and rollout: twelve in a group
    for rollout, paid in enumerate(raw(log)):
        returns = rewards[:, 8 * rollout : 8 * rollout + 8].reshape(n_envs, 2, 4).sum(2).T
        sums = paid.reshape(2, 4, n_envs).sum(1)
        members = returns.ravel()
        # phi(start) is what the episode's sum leaves out, a constant: start is 0, or the return that time alone lets expect
        start = rewards[:, :8].reshape(n_envs, 2, 4).sum(2).mean() if credit == "projected" and rollout > 0 else 0.0
        for i, total in enumerate(sums.ravel()):
            others = np.delete(members, i)
            constant = 0.0 if credit == "terminal" else start - brute_force_phi(start, others, weights)
            assert total == pytest.approx(brute_force_phi(members[i], others, weights) + constant, rel=1e-5, abs=1e-5)
        if credit == "terminal":
            assert abs(sums.sum()) < 1e-4
            np.testing.assert_array_equal(paid.reshape(2, 4, n_envs)[:, :3], 0.0)


@pytest.mark.parametrize("credit", [credit for credit in CREDITS if credit != "terminal"])
@ALGORITHMS
def test_mean_leaves_the_rewards(algorithm: type[BaseAlgorithm], credit: str) -> None:
    """At the end of annealing away from another objective the mean goes the long way, and must not change the rewards."""
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


def test_hand_computed_influence() -> None:
    """
    Returns 0, 2, 6 and K = 2, the larger of two. Episode 0 with the others 2 and 6: max(0, 2) and max(0, 6), mean 4, without
    it max(2, 6), so phi = 2 (4 - 6) = -4. Episode 1: (2 + 6) / 2 - 6 = -2, phi = -4. Episode 2: 6 - 2 = 4, phi = 8.
    """
    episodes = [Episode(0, step, "", value, np.zeros(1)) for step, value in enumerate([0.0, 2.0, 6.0])]
    group = EpisodeMemory(3).add(episodes, [], 3)[""]
    phi = TransformedReturn(group, 2, parse_objective("max"))
    np.testing.assert_allclose(phi(np.array([0.0, 2.0, 6.0]), np.arange(3)), [-4.0, -4.0, 8.0], atol=1e-12)
    # an episode under way meets the most recent two, 2 and 6: at 4 the mean of max(4,2), max(4,6) is 5, phi = 2 (5 - 6) = -2
    np.testing.assert_allclose(phi(np.array([4.0]), np.array([-1])), [-2.0], atol=1e-12)


def test_memory_keeps_the_most_recent() -> None:
    memory = EpisodeMemory(3)

    def add(values: list[float], n_timesteps: int, key: str = "") -> dict[str, Any]:
        return memory.add([Episode(0, 0, key, value, np.zeros(1)) for value in values], ["", "empty"], n_timesteps)

    assert add([1.0, 2.0], 10)[""].returns.tolist() == [1.0, 2.0]
    group = add([3.0, 4.0], 7)[""]
    assert (group.returns.tolist(), group.ages.tolist(), group.n_new) == ([2.0, 3.0, 4.0], [7, 0, 0], 2)
    # a rollout with more than group_size episodes compares all it has
    assert add([5.0, 6.0, 7.0, 8.0], 30)[""].returns.tolist() == [5.0, 6.0, 7.0, 8.0]
    assert add([], 40)[""].returns.tolist() == [6.0, 7.0, 8.0]
    groups = add([9.0], 50, "other")
    assert groups["other"].returns.tolist() == [9.0]
    assert (groups[""].returns.tolist(), groups[""].n_new) == ([6.0, 7.0, 8.0], 0)
    # a group without an episode in sight is not looked at, but kept
    assert list(memory.add([], [""], 1)) == [""]
    assert list(memory.add([], ["other"], 1)) == ["other"]


def test_memory_forgets_the_groups_not_seen_for_longest() -> None:
    memory = EpisodeMemory(3)
    for number in range(2 * MAX_GROUPS):
        memory.add([Episode(0, 0, str(number), 1.0, np.zeros(1))], ["0"], 1)
    assert len(memory.recent) == MAX_GROUPS
    assert "0" in memory.recent and "1" not in memory.recent and str(2 * MAX_GROUPS - 1) in memory.recent


@ALGORITHMS
def test_fractional_k_waits_for_enough_episodes(algorithm: type[BaseAlgorithm]) -> None:
    """With k = 2.5 a group of 3 cannot be ranked: leaving one out leaves fewer than k."""
    scripts = [([1], RNG.normal(size=31).tolist(), [""])]
    log = train(algorithm, scripts, 3, 2, objective="max", k=2.5, group_size=4)
    assert np.isfinite(log.rewards).all()


def test_remaining_return_by_hand() -> None:
    remaining = RemainingReturn(half_life=2)
    assert remaining(np.array([0, 5])).tolist() == [0.0, 0.0]
    # collected before each step: 0, 1 of 4 in all; 0, 2, 3 of 6
    first = Episode(0, 0, "", 4.0, np.array([0.0, 1.0]))
    second = Episode(0, 0, "", 6.0, np.array([0.0, 2.0, 3.0]))
    remaining.update([first, second])
    np.testing.assert_allclose(remaining(np.arange(5)), [5.0, 3.5, 3.0, 3.0, 3.0])
    # two more episodes halve the weight of the first two
    remaining.update([Episode(0, 0, "", 8.0, np.array([0.0])), Episode(0, 0, "", 8.0, np.array([0.0]))])
    np.testing.assert_allclose(remaining(np.arange(3)), [(0.5 * 10 + 16) / 3, 3.5, 3.0])
    # steps that no episode has reached for long are forgotten: the last step that was reached speaks for them
    for _ in range(100):
        remaining.update([Episode(0, 0, "", -8.0, np.array([0.0]))])
    np.testing.assert_allclose(remaining(np.arange(3)), [-8.0, -8.0, -8.0])


def test_value_scale_is_the_deviation_of_discounted_sums() -> None:
    rng = np.random.default_rng(0)
    rewards, starts = rng.normal(size=(40, 3)) * 7, rng.random((40, 3)) < 0.2
    sums, expected = np.zeros(3), []
    for step in range(40):
        sums = np.where(starts[step], 0.0, 0.9 * sums) + rewards[step]
        expected.append(sums)
    scale = value_scale(3)
    # split over rollouts; SB3's running estimate starts with a ten-thousandth of an observation
    scale.update(rewards[:11], starts[:11].astype(float))
    np.testing.assert_allclose(scale.update(rewards[11:], starts[11:].astype(float)), np.std(expected), rtol=1e-3)
    assert value_scale(2).update(np.zeros((5, 2)), np.zeros((5, 2))) >= 1e-4
    # one-step episodes that all pay the same
    np.testing.assert_allclose(value_scale(2).update(np.full((50, 2), -7.0), np.ones((50, 2))), 0.7, rtol=1e-3)


def value_scale(n_envs: int) -> ValueScale:
    scale = ValueScale()
    scale.restart(n_envs, 0.9)
    return scale


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
def test_annealed_objective_is_the_one_that_pays(algorithm: type[BaseAlgorithm]) -> None:
    """Levels of one family are interpolated: from cvar:1 to cvar:0.5 over the whole of training."""
    scripts = [([2], np.random.default_rng(9).normal(size=(80)).tolist(), [""])]
    log = train(
        algorithm, scripts, 8, 10, objective="cvar:0.5", anneal_from="cvar:1", anneal=1.0, k=2, group_size=4, credit="terminal"
    )
    for rollout, (paid, entry) in enumerate(zip(raw(log), log.log, strict=True)):
        returns = np.reshape(scripts[0][1][8 * rollout : 8 * rollout + 8], (4, 2)).sum(1)
        weights = rank_weights(f"cvar:{1.0 - 0.5 * entry['train/anneal_fraction']!r}", 2)
        expected = [brute_force_phi(x, np.delete(returns, i), weights) for i, x in enumerate(returns)]
        np.testing.assert_allclose(paid.ravel()[1::2], expected, rtol=1e-5, atol=1e-5)


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
    """SB3 counts timesteps from zero again; episodes of the training before are old, not from the future."""
    env = ToyEnv(lengths=[4])
    model = algorithm("MlpPolicy", env, **small(algorithm, k=2, group_size=8))
    model.learn(80)
    log = RolloutLog()
    model.learn(80, callback=log)
    assert min(entry["rollout/group_age"] for entry in log.log) >= 0.0


@pytest.mark.parametrize("algorithm", [OrderPPO, OrderA2C])
def test_terminal_credit_is_not_discounted_by_default(algorithm: type[OrderPPO | OrderA2C]) -> None:
    assert algorithm("MlpPolicy", "CartPole-v1", device="cpu").gamma == 0.99
    assert algorithm("MlpPolicy", "CartPole-v1", credit="terminal", device="cpu").gamma == 1.0
    assert algorithm("MlpPolicy", "CartPole-v1", credit="terminal", gamma=0.9, device="cpu").gamma == 0.9


def test_credit_of_a_tail_is_short_by_default() -> None:
    assert OrderPPO("MlpPolicy", "CartPole-v1", objective="cvar:0.25", device="cpu").gae_lambda == 0.8
    assert OrderPPO("MlpPolicy", "CartPole-v1", objective="mean", device="cpu").gae_lambda == 0.95
    assert OrderPPO("MlpPolicy", "CartPole-v1", objective=[0.5, 0.5], k=2, device="cpu").gae_lambda == 0.95
    assert OrderPPO("MlpPolicy", "CartPole-v1", credit="terminal", device="cpu").gae_lambda == 0.95
    assert OrderPPO("MlpPolicy", "CartPole-v1", gae_lambda=0.9, device="cpu").gae_lambda == 0.9
    assert OrderA2C("MlpPolicy", "CartPole-v1", device="cpu").gae_lambda == 1.0
