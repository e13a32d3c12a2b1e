from collections.abc import Callable
from itertools import chain
from typing import Any, ClassVar, TypeVar

import torch as th
from stable_baselines3 import SAC
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, ReplayBufferSamples, Schedule, TensorDict
from stable_baselines3.common.utils import polyak_update
from stable_baselines3.sac.policies import SACPolicy

from sb3_ordergrad.lstatistics import ObjectiveLike
from sb3_ordergrad.remac.actor_gradient import RankWeights, action_gradient
from sb3_ordergrad.remac.checks import check_parameters, check_policy, value_weights
from sb3_ordergrad.remac.critics import plain_networks, set_critic_gradient, smallest_values
from sb3_ordergrad.remac.mlp import Mlp, Scratch
from sb3_ordergrad.remac.policies import CnnPolicy, MlpPolicy, MultiInputPolicy
from sb3_ordergrad.remac.samples import ActionSamples, plain_network, sample_actions

SelfReMAC = TypeVar("SelfReMAC", bound="ReMAC")


class ReMAC(SAC):
    """
    SAC that maximises an L-statistic of the critic's values over several actions per state, in place of value plus entropy.

    With N = ``n_action_samples`` actions a_1..a_N of the policy in state s and their values, the smallest among the critics,
    sorted as Q_(1) <= ... <= Q_(N), the actor maximises the mean over the states of ``sum_m (W alpha)_m Q_(m)``, the unbiased
    estimate of ``E[sum_j alpha_j Q_(j:k)]`` for k actions. For ``objective="max"`` that is the expected best of k actions
    (max@k), which keeps the policy stochastic without an entropy bonus; ``k=1`` maximises Q itself.
    The critic learns ``r + gamma * (1 - done) * min_j Q'_j(s', a')`` with one action a' of the policy.

    Paper: ReMAC, https://arxiv.org/abs/2606.05888; SAC, https://arxiv.org/abs/1801.01290
    Code: the networks, buffers and loops are those of stable_baselines3.SAC

    :param policy: The policy model to use (MlpPolicy, CnnPolicy, ...)
    :param env: The environment to learn from (if registered in Gym, can be str)
    :param learning_rate: learning rate for adam optimizer,
        the same learning rate will be used for all networks (Q-Values, Actor and Value function)
        it can be a function of the current progress remaining (from 1 to 0)
    :param buffer_size: size of the replay buffer
    :param learning_starts: how many steps of the model to collect transitions for before learning starts
    :param batch_size: Minibatch size for each gradient update
    :param tau: the soft update coefficient ("Polyak update", between 0 and 1)
    :param gamma: the discount factor
    :param train_freq: Update the model every ``train_freq`` steps. Alternatively pass a tuple of frequency and unit
        like ``(5, "step")`` or ``(2, "episode")``.
    :param gradient_steps: How many gradient steps to do after each rollout (see ``train_freq``)
        Set to ``-1`` means to do as many gradient steps as steps done in the environment
        during the rollout.
    :param action_noise: the action noise type (None by default), this can help
        for hard exploration problem. Cf common.noise for the different action noise type.
    :param replay_buffer_class: Replay buffer class to use (for instance ``HerReplayBuffer``).
        If ``None``, it will be automatically selected.
    :param replay_buffer_kwargs: Keyword arguments to pass to the replay buffer on creation.
    :param optimize_memory_usage: Enable a memory efficient variant of the replay buffer
        at a cost of more complexity.
        See https://github.com/DLR-RM/stable-baselines3/issues/37#issuecomment-637501195
    :param n_steps: When n_step > 1, uses n-step return (with the NStepReplayBuffer) when updating the Q-value network.
        Note: it is only used when ``replay_buffer_class`` is ``None``, and is not supported for Dict
        observation spaces yet. When passing a custom ``replay_buffer_class``, configure it directly
        with ``replay_buffer_kwargs={"n_steps": ..., "gamma": ...}`` instead.
    :param ent_coef: Entropy coefficient of the critic's target; the actor's objective has no entropy. 0 is the plain critic;
        with a number, or ``"auto"`` (and ``"auto_0.1"`` for using 0.1 as initial value) to learn it as SAC does, the critic is
        that of SAC
    :param target_update_interval: update the target network every ``target_network_update_freq``
        gradient steps.
    :param target_entropy: target entropy when learning ``ent_coef`` (``ent_coef = 'auto'``)
    :param use_sde: Whether to use generalized State Dependent Exploration (gSDE)
        instead of action noise exploration (default: False)
    :param sde_sample_freq: Sample a new noise matrix every n steps when using gSDE
        Default: -1 (only sample at the beginning of the rollout)
    :param use_sde_at_warmup: Whether to use gSDE instead of uniform sampling
        during the warm up phase (before learning starts)
    :param stats_window_size: Window size for the rollout logging, specifying the number of episodes to average
        the reported success rate, mean episode length, and mean reward over
    :param tensorboard_log: the log location for tensorboard (if None, no logging)
    :param policy_kwargs: additional arguments to be passed to the policy on creation. See :ref:`sac_policies`
    :param verbose: Verbosity level: 0 for no output, 1 for info messages (such as device or wrappers used), 2 for
        debug messages
    :param seed: Seed for the pseudo random generators
    :param device: Device (cpu, cuda, ...) on which the code should be run.
        Setting it to auto, the code will be run on the GPU if possible.
    :param objective: What to maximise over the values of the actions of a state: ``"max"``, ``"top:2"``, ``"cvar:0.5"``, a
        vector of ``k`` ascending rank weights, ... (all spellings: ``docs/objectives.md``)
    :param k: Sample size K of the objective, a real number with ``1 <= k <= n_action_samples``, or a function of the current
        progress remaining (from 1 to 0)
    :param n_action_samples: Number N of actions per state from which the objective is estimated
    :param actor_adam_eps: Adam's epsilon for the actor alone; a large one shrinks the steps where gradients are small, which
        with a large k they are. ``None`` leaves what ``policy_kwargs["optimizer_kwargs"]`` says (Adam's default is 1e-8)
    :param _init_setup_model: Whether or not to build the network at the creation of the instance
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": MlpPolicy,
        "CnnPolicy": CnnPolicy,
        "MultiInputPolicy": MultiInputPolicy,
    }

    # samples, values and gradient of the last update, until somebody looks at the log
    _last_update: tuple[ActionSamples, th.Tensor, list[th.Tensor]] | None = None

    def __init__(
        self,
        policy: str | type[SACPolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 3e-4,
        buffer_size: int = 1_000_000,  # 1e6
        learning_starts: int = 100,
        batch_size: int = 256,
        tau: float = 0.005,
        gamma: float = 0.99,
        train_freq: int | tuple[int, str] = 1,
        gradient_steps: int = 1,
        action_noise: ActionNoise | None = None,
        replay_buffer_class: type[ReplayBuffer] | None = None,
        replay_buffer_kwargs: dict[str, Any] | None = None,
        optimize_memory_usage: bool = False,
        n_steps: int = 1,
        ent_coef: str | float = 0.0,
        target_update_interval: int = 1,
        target_entropy: str | float = "auto",
        use_sde: bool = False,
        sde_sample_freq: int = -1,
        use_sde_at_warmup: bool = False,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "auto",
        objective: ObjectiveLike = "max",
        k: float | Callable[[float], float] = 4,
        n_action_samples: int = 8,
        actor_adam_eps: float | None = None,
        _init_setup_model: bool = True,
    ):
        super().__init__(
            policy,
            env,
            learning_rate=learning_rate,
            buffer_size=buffer_size,
            learning_starts=learning_starts,
            batch_size=batch_size,
            tau=tau,
            gamma=gamma,
            train_freq=train_freq,
            gradient_steps=gradient_steps,
            action_noise=action_noise,
            replay_buffer_class=replay_buffer_class,
            replay_buffer_kwargs=replay_buffer_kwargs,
            optimize_memory_usage=optimize_memory_usage,
            n_steps=n_steps,
            ent_coef=ent_coef,
            target_update_interval=target_update_interval,
            target_entropy=target_entropy,
            use_sde=use_sde,
            sde_sample_freq=sde_sample_freq,
            use_sde_at_warmup=use_sde_at_warmup,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            # SB3 writes into it
            policy_kwargs=None if policy_kwargs is None else policy_kwargs.copy(),
            verbose=verbose,
            seed=seed,
            device=device,
            _init_setup_model=False,
        )
        self.objective = objective
        self.k = k
        self.n_action_samples = n_action_samples
        self.actor_adam_eps = actor_adam_eps

        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        check_parameters(self.objective, self.k, self.n_action_samples, self.actor_adam_eps)
        super()._setup_model()
        check_policy(self.policy, self.actor_adam_eps)
        # One sample makes SAC's own update, to the bit; the fused Adam rounds differently
        if self.n_action_samples > 1:
            for owner in (self.actor, self.critic):
                owner.optimizer = _fused(owner.optimizer, self.device)
        self._eps_as_built = [group.get("eps") for group in self.actor.optimizer.param_groups]
        self._set_actor_eps()
        self._ranks: tuple[float, int, ObjectiveLike, RankWeights] | None = None
        self._scratch = Scratch()
        self._actor_scratch = Scratch()

    def _set_actor_eps(self) -> None:
        for group, as_built in zip(self.actor.optimizer.param_groups, self._eps_as_built, strict=True):
            if as_built is not None:
                group["eps"] = as_built if self.actor_adam_eps is None else self.actor_adam_eps

    def set_parameters(
        self, load_path_or_dict: str | TensorDict, exact_match: bool = True, device: th.device | str = "auto"
    ) -> None:
        super().set_parameters(load_path_or_dict, exact_match, device)
        # The optimizer brings the epsilon it was saved with
        self._set_actor_eps()

    def _rank_weights(self) -> tuple[float, RankWeights]:
        """The present k and its weights on the sorted values."""
        # The last steps of several environments go beyond the end
        k = self.k(max(0.0, self._current_progress_remaining)) if callable(self.k) else self.k
        if self._ranks is None or self._ranks[:2] != (k, self.n_action_samples) or self._ranks[2] is not self.objective:
            weights = value_weights(self.objective, k, self.n_action_samples)
            ranks = RankWeights.of(weights, next(self.critic.parameters()))
            self._ranks = float(k), self.n_action_samples, self.objective, ranks
        return self._ranks[0], self._ranks[3]

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        self._last_update = None
        # Switch to train mode (this affects batch norm / dropout)
        self.policy.set_training_mode(True)
        optimizers = [self.actor.optimizer, self.critic.optimizer]
        if self.ent_coef_optimizer is not None:
            optimizers += [self.ent_coef_optimizer]
        self._update_learning_rate(optimizers)
        if self.actor_adam_eps is not None:
            self._set_actor_eps()
        k, ranks = self._rank_weights()
        # With every training: who has changed a network, or has put a hook into it, is heard
        actor_network, networks = plain_network(self.actor), plain_networks(self.critic)

        # Tensors, read once and together at the end: on a GPU each reading waits for all that was queued
        logs: dict[str, list[th.Tensor]] = {"ent_coef": [], "ent_coef_loss": [], "actor_loss": [], "critic_loss": []}
        for gradient_step in range(gradient_steps):
            replay_data = self.replay_buffer.sample(batch_size, env=self._vec_normalize_env)  # type: ignore[union-attr]
            # The order of draws is SAC's: actions of the present states, then of the next ones
            samples = sample_actions(
                self.actor, replay_data.observations, self.n_action_samples, actor_network, self._actor_scratch
            )
            ent_coef = self._update_ent_coef(samples, logs)
            targets = self._targets(replay_data, ent_coef, actor_network)
            critic_loss = set_critic_gradient(
                self.critic, networks, replay_data.observations, replay_data.actions, targets, self._scratch
            )
            self.critic.optimizer.step()
            values = action_gradient(self.critic, networks, replay_data.observations, samples.actions, ranks, self._scratch)
            samples.set_actor_gradient(self.actor, -values.gradient)
            self.actor.optimizer.step()
            logs["critic_loss"].append(critic_loss)
            logs["actor_loss"].append(-values.objective)

            if gradient_step % self.target_update_interval == 0:
                polyak_update(self.critic.parameters(), self.critic_target.parameters(), self.tau)
                # Copy running stats, see https://github.com/DLR-RM/stable-baselines3/issues/996
                polyak_update(self.batch_norm_stats, self.batch_norm_stats_target, 1.0)

        self._n_updates += gradient_steps
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/k", k)
        read = iter(th.stack(list(chain(*logs.values()))).tolist())
        for name, steps in logs.items():
            if steps:
                self.logger.record(f"train/{name}", sum(next(read) for _ in steps) / len(steps))
        gradients = [parameter.grad for group in self.actor.optimizer.param_groups for parameter in group["params"]]
        self._last_update = samples.detach(), values.q_values, [gradient for gradient in gradients if gradient is not None]

    def _update_ent_coef(self, samples: ActionSamples, logs: dict[str, list[th.Tensor]]) -> th.Tensor:
        """Tune the entropy coefficient as SAC does, with all samples; return the one before the update."""
        if self.ent_coef_optimizer is None or self.log_ent_coef is None:
            ent_coef = self.ent_coef_tensor
        else:
            # Detached from the graph, so that other losses do not change it
            ent_coef = th.exp(self.log_ent_coef.detach())
            assert isinstance(self.target_entropy, float)
            with th.no_grad():
                excess = samples.log_prob(self.actor.action_dist.epsilon) + self.target_entropy
            loss = -(self.log_ent_coef * excess).mean()
            logs["ent_coef_loss"].append(loss.detach())
            self.ent_coef_optimizer.zero_grad()
            loss.backward()
            self.ent_coef_optimizer.step()
        logs["ent_coef"].append(ent_coef.reshape(()))
        return ent_coef

    @th.no_grad()
    def _targets(self, replay_data: ReplayBufferSamples, ent_coef: th.Tensor, actor_network: Mlp | None) -> th.Tensor:
        """What the critics learn, from one action of the policy in each next state."""
        # For n-step replay, discount factor is gamma**n_steps (when no early termination)
        discounts = replay_data.discounts if replay_data.discounts is not None else self.gamma
        observations = replay_data.next_observations
        samples = sample_actions(self.actor, observations, 1, actor_network, self._scratch)
        networks = plain_networks(self.critic_target)
        q_values = smallest_values(self.critic_target, networks, observations, samples.actions[0], self._scratch)
        # To ask a GPU for the number would take longer
        if ent_coef.device.type != "cpu" or float(ent_coef) != 0.0:
            q_values = q_values - ent_coef * samples.log_prob(self.actor.action_dist.epsilon).reshape(-1, 1)
        return replay_data.rewards + (1 - replay_data.dones) * discounts * q_values

    @property
    def logger(self) -> Logger:
        """Getter for the logger object. Whoever asks for it finds the state of the policy in the last update."""
        self._record_policy()
        return super().logger

    def _record_policy(self) -> None:
        if self._last_update is None:
            return
        samples, q_values, gradients = self._last_update
        self._last_update = None
        with th.no_grad():
            scalars = {
                "entropy": -samples.log_prob(self.actor.action_dist.epsilon).mean(),
                "action_std": samples.std.mean(),
                "q_spread": q_values.std(dim=0, correction=min(1, len(q_values) - 1)).mean(),
            }
            if gradients:
                scalars["actor_grad_norm"] = th.cat([gradient.flatten() for gradient in gradients]).norm()
        for name, value in zip(scalars, th.stack(list(scalars.values())).tolist(), strict=True):
            self._logger.record(f"train/{name}", value)

    def learn(
        self: SelfReMAC,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 4,
        tb_log_name: str = "ReMAC",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfReMAC:
        return super().learn(
            total_timesteps=total_timesteps,
            callback=callback,
            log_interval=log_interval,
            tb_log_name=tb_log_name,
            reset_num_timesteps=reset_num_timesteps,
            progress_bar=progress_bar,
        )

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_ranks", "_last_update", "_scratch", "_actor_scratch", "_eps_as_built"]


def _fused(optimizer: th.optim.Optimizer, device: th.device) -> th.optim.Optimizer:
    """
    :param optimizer: an optimizer that has made no step yet
    :param device: where its parameters are
    :return: the same optimizer; if it is Adam without a choice of implementation, the fused one: one call for all parameters
    """
    is_open = type(optimizer) is th.optim.Adam and optimizer.defaults["fused"] is optimizer.defaults["foreach"] is None
    if not is_open or device.type not in ("cpu", "cuda"):
        return optimizer
    choice = {"fused": True}
    return th.optim.Adam([group | choice for group in optimizer.param_groups], **optimizer.defaults | choice)
