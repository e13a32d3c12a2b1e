"""What OrderPPO and OrderA2C share: episodes, comparison groups, pseudo-rewards, and the hooks into SB3's on-policy loop."""
