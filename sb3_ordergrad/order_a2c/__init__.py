from sb3_ordergrad.order_a2c.order_a2c import OrderA2C
from sb3_ordergrad.order_a2c.policies import CnnPolicy, MlpPolicy, MultiInputPolicy

__all__ = ["CnnPolicy", "MlpPolicy", "MultiInputPolicy", "OrderA2C"]
