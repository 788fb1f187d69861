"""The main job: four queues with real work behind them, one worker killed in the middle, and a check at the end."""
