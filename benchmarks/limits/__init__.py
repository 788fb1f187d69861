"""The parts of the scenario `limits`, one file each."""
