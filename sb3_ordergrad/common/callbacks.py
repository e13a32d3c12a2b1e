"""Callbacks of an algorithm itself."""

from stable_baselines3.common.callbacks import BaseCallback, CallbackList, ConvertCallback
from stable_baselines3.common.type_aliases import MaybeCallback


def put_first(own: BaseCallback, callback: MaybeCallback) -> CallbackList:
    """
    :param own: of the algorithm
    :param callback: of the user, who sees what the algorithm's callback has changed
    :return: both, the algorithm's first
    """
    others = callback if isinstance(callback, list) else [] if callback is None else [callback]
    return CallbackList([own, *(other if isinstance(other, BaseCallback) else ConvertCallback(other) for other in others)])
