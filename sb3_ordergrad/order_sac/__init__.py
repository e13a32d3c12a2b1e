from sb3_ordergrad.order_sac.order_sac import OrderSAC
from sb3_ordergrad.order_sac.policies import CnnPolicy, MlpPolicy, MultiInputPolicy

__all__ = ["CnnPolicy", "MlpPolicy", "MultiInputPolicy", "OrderSAC"]
