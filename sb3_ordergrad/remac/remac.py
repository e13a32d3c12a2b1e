from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch as th
from stable_baselines3 import SAC
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, ReplayBufferSamples, Schedule, TensorDict
from stable_baselines3.common.utils import polyak_update
from stable_baselines3.sac.policies import SACPolicy
from torch.nn import functional as F

from sb3_ordergrad.lstatistics import ObjectiveLike
from sb3_ordergrad.remac.actor_gradient import action_gradient
from sb3_ordergrad.remac.parameters import check_parameters, check_policy, value_weights
from sb3_ordergrad.remac.policies import CnnPolicy, MlpPolicy, MultiInputPolicy
from sb3_ordergrad.remac.samples import ActionSamples, sample_actions

SelfReMAC = TypeVar("SelfReMAC", bound="ReMAC")

POLICY_LOG_INTERVAL = 10  # updates between two records of the policy's state, which take 2 % of an update


class ReMAC(SAC):
    """
    SAC whose actor maximises an L-statistic of the Q-values of several actions per state, instead of Q-value plus entropy.

    In state s, the actor samples N = ``n_action_samples`` actions. Their Q-values, the minimum over the critics, are sorted,
    Q_(1) <= ... <= Q_(N), and the actor maximises the mean over the states of ``sum_m (W alpha)_m Q_(m)``, an unbiased
    estimate of ``E[sum_j alpha_j Q_(j:k)]`` for k actions. With ``objective="max"`` that is the expected best of k actions
    (max@k), which keeps the policy stochastic without an entropy bonus; with ``k=1`` it is Q itself.
    The critics learn ``r + gamma * (1 - done) * min_j Q'_j(s', a')`` from one action a' of the policy in the next state.

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
    :param ent_coef: Entropy coefficient in the critics' target (the actor's objective has no entropy term). 0 means no
        entropy; a number, or ``"auto"`` (``"auto_0.1"`` for using 0.1 as initial value) to learn it as in SAC, gives the
        soft critic of SAC
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
    :param objective: L-statistic of the Q-values of a state's actions to maximise: ``"max"``, ``"top:2"``, ``"cvar:0.5"``,
        a vector of ``k`` rank weights in ascending order, ... (see ``docs/reference/objectives.md``)
    :param k: Sample size of the objective, a real number with ``1 <= k <= n_action_samples``, it can be a function of the
        current progress remaining (from 1 to 0)
    :param n_action_samples: Number of actions per state from which the objective is estimated, between 1 and 1000
    :param actor_adam_eps: Adam's epsilon for the actor only. Gradients are small when k is large; a small epsilon makes up for
        that, a large one does not. ``None`` means that of ``policy_kwargs["optimizer_kwargs"]`` (Adam's default is 1e-8)
    :param _init_setup_model: Whether or not to build the network at the creation of the instance
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": MlpPolicy,
        "CnnPolicy": CnnPolicy,
        "MultiInputPolicy": MultiInputPolicy,
    }

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
        super()._setup_model()
        self._check_parameters()
        self._set_actor_eps()
        # The fused one rounds differently from SAC's, whose bits a single sample has
        implementation = "fused" if self.n_action_samples > 1 else "foreach"
        _use_implementation(implementation, self.actor.optimizer)
        _use_implementation(implementation, self.critic.optimizer)
        self._memory: list[dict[int, th.Tensor]] = [{} for _ in self.critic.q_networks]

    def _setup_learn(self, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        # Attributes may have been changed since the model was created
        self._check_parameters()
        return super()._setup_learn(*args, **kwargs)

    def _check_parameters(self) -> None:
        """Raise a ValueError if a parameter that SAC does not have is out of its range."""
        check_parameters(self.objective, self.k, self.n_action_samples, self.actor_adam_eps)
        check_policy(self.policy, self.actor_adam_eps)

    def _set_actor_eps(self) -> None:
        if self.actor_adam_eps is not None:
            for group in self.actor.optimizer.param_groups:
                group["eps"] = self.actor_adam_eps

    def set_parameters(
        self, load_path_or_dict: str | TensorDict, exact_match: bool = True, device: th.device | str = "auto"
    ) -> None:
        epsilons = [group.get("eps") for group in self.actor.optimizer.param_groups]
        super().set_parameters(load_path_or_dict, exact_match, device)
        # The optimizer's state includes the epsilon of the saved model; keep that of this one
        for group, eps in zip(self.actor.optimizer.param_groups, epsilons, strict=True):
            if eps is not None:
                group["eps"] = eps

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        # Switch to train mode (this affects batch norm / dropout)
        self.policy.set_training_mode(True)
        optimizers = [self.actor.optimizer, self.critic.optimizer]
        if self.ent_coef_optimizer is not None:
            optimizers += [self.ent_coef_optimizer]
        self._update_learning_rate(optimizers)
        self._set_actor_eps()

        # With several environments, the last steps go beyond the end of training
        k = self.k(max(0.0, self._current_progress_remaining)) if callable(self.k) else self.k
        weights = th.as_tensor(value_weights(self.objective, k, self.n_action_samples)).to(next(self.critic.parameters()))

        losses: dict[str, list[float]] = {"ent_coef": [], "ent_coef_loss": [], "actor_loss": [], "critic_loss": []}
        for gradient_step in range(gradient_steps):
            replay_data = self.replay_buffer.sample(batch_size, env=self._vec_normalize_env)  # type: ignore[union-attr]
            # Same order of random draws as in SAC: actions in the current states, then in the next ones
            samples = sample_actions(self.actor, replay_data.observations, self.n_action_samples)
            ent_coef = self._update_ent_coef(samples, losses)

            target_q_values = self._target_q_values(replay_data, ent_coef)
            current_q_values = self.critic(replay_data.observations, replay_data.actions)
            critic_loss = 0.5 * th.stack([F.mse_loss(current_q, target_q_values) for current_q in current_q_values]).sum()
            losses["critic_loss"].append(critic_loss.item())
            self.critic.optimizer.zero_grad()
            critic_loss.backward()
            self.critic.optimizer.step()

            values = action_gradient(self.critic, replay_data.observations, samples.actions, weights, self._memory)
            losses["actor_loss"].append(-values.objective.item())
            self.actor.optimizer.zero_grad()
            # A frozen actor has no graph
            if samples.actions.requires_grad:
                samples.actions.backward(-values.gradient)
            self.actor.optimizer.step()

            if gradient_step % self.target_update_interval == 0:
                polyak_update(self.critic.parameters(), self.critic_target.parameters(), self.tau)
                # Copy running stats, see https://github.com/DLR-RM/stable-baselines3/issues/996
                polyak_update(self.batch_norm_stats, self.batch_norm_stats_target, 1.0)

        self._n_updates += gradient_steps
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/k", k)
        for name, steps in losses.items():
            if steps:
                self.logger.record(f"train/{name}", np.mean(steps))
        if gradient_steps > (self._n_updates - 1) % POLICY_LOG_INTERVAL:
            self._log_policy(samples, values.q_values)

    def _update_ent_coef(self, samples: ActionSamples, losses: dict[str, list[float]]) -> th.Tensor:
        """Return the entropy coefficient, and take a step on its loss if it is learned."""
        if self.ent_coef_optimizer is None or self.log_ent_coef is None:
            ent_coef = self.ent_coef_tensor
        else:
            # Detached, so that other losses do not change it
            ent_coef = th.exp(self.log_ent_coef.detach())
            assert isinstance(self.target_entropy, float)
            excess = samples.log_prob(self.actor.action_dist.epsilon) + self.target_entropy
            ent_coef_loss = -(self.log_ent_coef * excess).mean()
            losses["ent_coef_loss"].append(ent_coef_loss.item())
            self.ent_coef_optimizer.zero_grad()
            ent_coef_loss.backward()
            self.ent_coef_optimizer.step()
        losses["ent_coef"].append(ent_coef.item())
        return ent_coef

    @th.no_grad()
    def _target_q_values(self, replay_data: ReplayBufferSamples, ent_coef: th.Tensor) -> th.Tensor:
        """Targets of the critics, from one action of the policy in each next state; shape ``(batch_size, 1)``."""
        # For n-step replay, discount factor is gamma**n_steps (when no early termination)
        discounts = replay_data.discounts if replay_data.discounts is not None else self.gamma
        samples = sample_actions(self.actor, replay_data.next_observations, 1)
        q_values = self.critic_target(replay_data.next_observations, samples.actions[0])
        next_q_values = th.cat(q_values, dim=1).amin(dim=1, keepdim=True)
        if ent_coef.item() != 0.0:
            next_q_values = next_q_values - ent_coef * samples.log_prob(self.actor.action_dist.epsilon).reshape(-1, 1)
        return replay_data.rewards + (1 - replay_data.dones) * discounts * next_q_values

    @th.no_grad()
    def _log_policy(self, samples: ActionSamples, q_values: th.Tensor) -> None:
        """Record the state of the policy in the last gradient step, in the first and in every 10th update."""
        gradients = [parameter.grad.flatten() for parameter in self.actor.parameters() if parameter.grad is not None]
        self.logger.record("train/entropy", -samples.log_prob(self.actor.action_dist.epsilon).mean().item())
        self.logger.record("train/action_std", samples.std.mean().item())
        self.logger.record("train/q_spread", q_values.std(dim=0).mean().item() if len(q_values) > 1 else 0.0)
        self.logger.record("train/actor_grad_norm", th.cat(gradients).norm().item() if gradients else 0.0)

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
        return [*super()._excluded_save_params(), "_memory"]


def _use_implementation(name: str, optimizer: th.optim.Optimizer) -> None:
    """Update all parameters of Adam in one call, unless an implementation was chosen."""
    for group in optimizer.param_groups if type(optimizer) is th.optim.Adam else []:
        is_supported = all(parameter.device.type in ("cpu", "cuda") for parameter in group["params"])
        if is_supported and group["fused"] is group["foreach"] is None:
            group[name] = True
