from sb3_ordergrad.order_ppo.order_ppo import OrderPPO
from sb3_ordergrad.order_ppo.policies import CnnPolicy, MlpPolicy, MultiInputPolicy

__all__ = ["CnnPolicy", "MlpPolicy", "MultiInputPolicy", "OrderPPO"]
