"""
Rivals of OrderPPO: each a short subclass of Stable-Baselines3's PPO, with the rule of its paper.

Their parameters come on top of PPO's, by keyword. All see raw returns, also under ``VecNormalize``, whose rewards should not
be clipped then (``clip_reward=1e9``): a clipped penalty is another task.
"""
