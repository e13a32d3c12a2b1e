"""Machinery that OrderPPO and OrderA2C share: episode returns, groups, credit, the on-policy mixin."""
