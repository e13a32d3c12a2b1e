"""
Policy gradient against a learned reward, with and without certified advantage signs.

    python examples/certified_signs.py

A synthetic stand-in for RLHF. Each of 32 prompts has 64 possible completions with 16 features; some completions are far more
extreme than others. A linear reward model is fitted to 100 noisy labels. The policy (one logit per completion) is trained on
groups of 16 completions to maximise the *learned* reward; what counts is the *true* one, in two worlds:

- overrated extremes: the true reward also has a penalty for extreme completions, which the linear model cannot represent;
- label noise only: the true reward is linear, and all errors of the model come from the noise of the labels.

The gradient uses the advantages as they are, weighted by `sign_certified_weights`, or all multiplied by the mean of these
weights: the last shows how much of the effect is that of smaller steps.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch as th
from _common import parse_options, print_origin, run_side_by_side, save_picture

from sb3_ordergrad.evaluation.plots import line_style
from sb3_ordergrad.lstatistics import LStatistic, sign_certified_weights

N_PROMPTS, N_COMPLETIONS, N_FEATURES = 32, 64, 16
GROUP_SIZE, K = 16, 4
N_LABELS, LABEL_NOISE = 100, 2.0
QUANTILE = 0.5
LEARNING_RATE = 0.1
# Penalty of the true reward per unit of the length of the irrelevant features
WORLDS = {"overrated extremes": 0.3, "label noise only": 0.0}
WEIGHTS = ("none", "certified", "their mean")
# World and objective of each comparison
COMPARISONS = (("overrated extremes", "mean"), ("overrated extremes", "max"), ("label noise only", "mean"))


class Task(NamedTuple):
    """
    :param features: input of the reward model, shape ``(prompts, completions, features)``
    :param true_reward: shape ``(prompts, completions)``
    :param learned_reward: shape ``(prompts, completions)``
    """

    features: th.Tensor
    true_reward: th.Tensor
    learned_reward: th.Tensor


def make_task(penalty: float, generator: th.Generator) -> Task:
    """
    :param penalty: what the true reward subtracts for extreme completions
    :param generator: source of the randomness
    :return: completions, their true reward, and that of a model fitted by ridge regression to a few noisy labels
    """
    features = th.randn(N_PROMPTS, N_COMPLETIONS, N_FEATURES, generator=generator)
    features *= th.randn(N_PROMPTS, N_COMPLETIONS, 1, generator=generator).exp()
    # A quarter of the features matter
    relevant, irrelevant = features.split([N_FEATURES // 4, N_FEATURES - N_FEATURES // 4], dim=-1)
    true_reward = 0.5 * relevant.sum(-1) - penalty * irrelevant.norm(dim=-1)
    labelled = th.randint(N_PROMPTS * N_COMPLETIONS, (N_LABELS,), generator=generator)
    inputs = features.flatten(0, 1)[labelled]
    labels = true_reward.flatten()[labelled] + LABEL_NOISE * th.randn(N_LABELS, generator=generator)
    inputs, labels = inputs - inputs.mean(0), labels - labels.mean()
    head = th.linalg.solve(inputs.T @ inputs + th.eye(N_FEATURES), inputs.T @ labels)
    return Task(features, true_reward, features @ head)


def train(world: str, objective: str, weights: str, seed: int, n_steps: int) -> np.ndarray:
    """
    Policy gradient on groups of completions, ``(1/N) sum_i k a_i grad log p_i`` for each prompt.

    :param world: key of ``WORLDS``
    :param objective: objective of the advantages, for samples of ``K``
    :param weights: one of ``WEIGHTS``
    :param seed: seed of the task and of the training
    :param n_steps: number of steps
    :return: expected true and learned reward of the policy before each step and at the end, shape ``(n_steps + 1, 2)``
    """
    generator = th.Generator().manual_seed(seed)
    task = make_task(WORLDS[world], generator)
    statistic = LStatistic(GROUP_SIZE, K, objective)
    logits = th.zeros(N_PROMPTS, N_COMPLETIONS)
    curve = np.empty((n_steps + 1, 2))
    for step in range(n_steps + 1):
        probs = logits.softmax(-1)
        curve[step] = [(probs * reward).sum(-1).mean() for reward in (task.true_reward, task.learned_reward)]
        members = probs.multinomial(GROUP_SIZE, replacement=True, generator=generator)
        rewards = task.learned_reward.gather(1, members)
        advantages = K * statistic.advantages(rewards)
        if weights != "none":
            features = task.features.gather(1, members.unsqueeze(-1).expand(-1, -1, N_FEATURES))
            certified = sign_certified_weights(rewards, features, objective, K, QUANTILE)
            advantages *= certified if weights == "certified" else certified.mean()
        # grad log p of a softmax: one-hot less probabilities
        gradient = th.zeros_like(logits).scatter_add(1, members, advantages) - probs * advantages.sum(1, keepdim=True)
        logits += LEARNING_RATE * gradient / GROUP_SIZE
    return curve


def print_table(curves: dict[tuple[str, str, str], np.ndarray]) -> None:
    """
    Print the true reward at the end, averaged and for every seed.

    :param curves: true and learned reward by world, objective and weights, shape ``(seeds, steps + 1, 2)``
    """
    print("\nExpected reward of the policy at the end, mean over seeds, and the true reward of every seed:\n")
    print("| errors of the reward model | objective | weights | learned | true | best true | true, every seed |")
    print("|---|---|---|---:|---:|---:|---|")
    for (world, objective, weights), curve in curves.items():
        true, learned = curve[:, -1].T
        cells = (f"{learned.mean():.2f}", f"{true.mean():.2f}", f"{curve[:, :, 0].max(1).mean():.2f}")
        print(f"| {world} | {objective} | {weights} | {' | '.join(cells)} | {' '.join(f'{value:.2f}' for value in true)} |")
    print("\n`best true` is the mean over seeds of the highest true reward during training.")


def main(argv: Sequence[str] | None = None) -> None:
    options = parse_options(__file__, __doc__, argv, steps=300, seeds=8)
    from matplotlib.figure import Figure

    arms = [(world, objective, weights) for world, objective in COMPARISONS for weights in WEIGHTS]
    cases = [(*arm, seed, options.steps) for arm in arms for seed in range(options.seeds)]
    runs = iter(run_side_by_side(train, cases, options.n_jobs))
    curves = {arm: np.stack([next(runs) for _ in range(options.seeds)]) for arm in arms}
    print_table(curves)

    figure = Figure(figsize=(9.6, 3.4), layout="constrained")
    for ax, (world, objective) in zip(figure.subplots(1, 3), COMPARISONS, strict=True):
        for index, weights in enumerate(WEIGHTS):
            true = curves[world, objective, weights][:, :, 0]
            style = line_style(index)
            ax.plot(true.T, color=style["color"], alpha=0.2, linewidth=0.7)
            ax.plot(true.mean(0), label=weights, **style)
        ax.set(title=f"{world}, {objective}", xlabel="step")
        ax.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("true reward")
    figure.axes[0].legend(title="weights", frameon=False, fontsize="small")
    print_origin(options)
    save_picture(figure, options.out)


if __name__ == "__main__":
    main()
