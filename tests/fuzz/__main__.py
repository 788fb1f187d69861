"""Run one target for as long as libFuzzer's options say: python tests/fuzz payload -max_total_time=3600 corpus/"""

from __future__ import annotations

import sys

import atheris
from fuzz_targets import TARGETS

if __name__ == "__main__":
    atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGETS[sys.argv[1]])
    atheris.Fuzz()
