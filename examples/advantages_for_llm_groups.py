"""
From the rewards of groups of completions to advantages, as a GRPO-style trainer would use the core.

    python examples/advantages_for_llm_groups.py

A trainer samples N completions for each prompt and scores them: rewards of shape (prompts, completions). GRPO's advantage is
(reward - mean of the group) / standard deviation of the group. `LStatistic.advantages` replaces it by that of another
objective in one call: max@K (what pass@K measures), the mean of the best m of K, the mean of the worst. The tables and the
picture compare these advantages. Nothing is trained: the trainer's gradient step stays the same.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch as th
from _common import parse_options, print_origin, save_picture

from sb3_ordergrad.evaluation.plots import line_style
from sb3_ordergrad.lstatistics import LStatistic, grouped_advantages

N_COMPLETIONS = 16
K = 4
# Objectives by their name in the tables
OBJECTIVES = {"mean": "mean", f"max@{K}": "max", f"top 2 of {K}": "top:2", "worst quarter": "cvar:0.25"}

Advantages = Callable[[th.Tensor], th.Tensor]


def grpo_advantages(rewards: th.Tensor) -> th.Tensor:
    """
    GRPO's advantages, ``(r - mean) / (std + 1e-4)`` within each group (https://arxiv.org/abs/2402.03300).

    :param rewards: shape (prompts, completions)
    :return: the same shape, dimensionless
    """
    centred = rewards - rewards.mean(-1, keepdim=True)
    return centred / (rewards.std(-1, keepdim=True) + 1e-4)


def order_advantages(objective: str, n_completions: int = N_COMPLETIONS, k: int = K) -> Advantages:
    """
    Advantages for an L-statistic of k completions: an unbiased gradient is ``(k/N) sum_i a_i grad log p_i``.

    :param objective: any objective, see docs/reference/objectives.md
    :param n_completions: completions of a prompt, N
    :param k: sample size, at most N - 1
    :return: function from rewards to advantages times k, both of shape (prompts, completions), in units of reward. With this
        factor the usual loss, the *mean* over completions of ``-a_i log p_i``, has this gradient
    """
    statistic = LStatistic(group_size=n_completions, k=k, objective=objective)
    return lambda rewards: k * statistic.advantages(rewards)


def policy_loss(log_probs: th.Tensor, advantages: th.Tensor) -> th.Tensor:
    """
    The loss of a trainer, without clipping and KL term.

    :param log_probs: log-probability of each completion, shape (prompts, completions)
    :param advantages: the same shape, without a gradient
    :return: a scalar to minimise
    """
    return -(advantages * log_probs).mean()


def solved_groups() -> th.Tensor:
    """
    :return: pass/fail rewards of prompts from hard to easy, shape (N - 1, N): in row c - 1 the first c completions are correct
    """
    return th.tril(th.ones(N_COMPLETIONS - 1, N_COMPLETIONS))


def print_graded_group(rewards: th.Tensor, estimators: dict[str, Advantages]) -> None:
    """
    Print the advantages of one prompt's completions, best first.

    :param rewards: graded rewards, shape (prompts, completions)
    :param estimators: functions from rewards to advantages, by name
    """
    print("\nGraded rewards of the first prompt (the best four and the worst two of 16) and their advantages:\n")
    print(f"| reward | {' | '.join(estimators)} |")
    print(f"|{'---:|' * (len(estimators) + 1)}")
    advantages = {name: estimate(rewards)[0] for name, estimate in estimators.items()}
    order = rewards[0].argsort(descending=True).tolist()
    for i in (*order[:4], *order[-2:]):
        print(f"| {rewards[0, i]:.2f} | {' | '.join(f'{column[i]:+.3f}' for column in advantages.values())} |")


def print_solved_groups(estimators: dict[str, Advantages]) -> None:
    """
    Print the advantage of a correct completion by the number of correct completions of its prompt.

    :param estimators: functions from rewards to advantages, by name
    """
    print("\nPass/fail rewards: advantage of a correct completion if c of 16 are correct:\n")
    print(f"| c | {' | '.join(estimators)} |")
    print(f"|{'---:|' * (len(estimators) + 1)}")
    worth = {name: estimate(solved_groups())[:, 0] for name, estimate in estimators.items()}
    for c in (1, 2, 4, 8, 12, 15):
        print(f"| {c} | {' | '.join(f'{column[c - 1]:+.3f}' for column in worth.values())} |")


def print_ragged_groups() -> None:
    """Print the advantages of groups of different sizes in one flat vector, e.g. after a filter dropped completions."""
    rewards = th.tensor([1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0])
    prompt_ids = th.tensor([7, 7, 7, 7, 7, 3, 3, 3, 3, 9])
    advantages = grouped_advantages(rewards, prompt_ids, k=2, objective="max")
    print("\nRagged groups, max@2; prompt 9 has a single completion, nothing to compare it with, so its advantage is 0:\n")
    print("| prompt | rewards | advantages |\n|---|---|---|")
    for prompt in (7, 3, 9):
        members = prompt_ids == prompt
        passed = " ".join(f"{reward:.0f}" for reward in rewards[members])
        print(f"| {prompt} | {passed} | {' '.join(f'{advantage:+.2f}' for advantage in advantages[members])} |")


def main(argv: Sequence[str] | None = None) -> None:
    options = parse_options(__file__, __doc__, argv)
    from matplotlib.figure import Figure

    estimators: dict[str, Advantages] = {"GRPO": grpo_advantages}
    estimators |= {name: order_advantages(objective) for name, objective in OBJECTIVES.items()}

    # Rewards of three prompts of growing difficulty, as from a reward model
    rng = np.random.default_rng(0)
    rewards = th.as_tensor(rng.beta(2.0, [[2.0], [4.0], [8.0]], size=(3, N_COMPLETIONS)), dtype=th.float32)
    print_graded_group(rewards, estimators)
    print_solved_groups(estimators)
    print_ragged_groups()

    # A trainer differentiates the log-probabilities; the advantages are constants
    log_probs = th.zeros_like(rewards, requires_grad=True)
    policy_loss(log_probs, estimators[f"max@{K}"](rewards)).backward()

    figure = Figure(figsize=(8.0, 3.4), layout="constrained")
    solved, graded = figure.subplots(1, 2)
    order = rewards[0].argsort()
    for index, (name, estimate) in enumerate(estimators.items()):
        solved.plot(range(1, N_COMPLETIONS), estimate(solved_groups())[:, 0], label=name, **line_style(index))
        graded.plot(rewards[0][order], estimate(rewards)[0][order], marker=".", **line_style(index))
    solved.set(xlabel="correct completions of 16", ylabel="advantage of a correct one", title="pass/fail")
    graded.set(xlabel="reward", ylabel="advantage", title="graded, one prompt")
    for ax in (solved, graded):
        ax.axhline(0, color="0.8", zorder=0)
        ax.spines[["top", "right"]].set_visible(False)
    solved.legend(frameon=False, fontsize="small")
    print_origin(options)
    save_picture(figure, options.out)


if __name__ == "__main__":
    main()
