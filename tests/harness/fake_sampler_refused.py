"""The sampling process of a server that may not be read: power sensors, a fault once, no sample ever.

`python -m tests.harness.fake_sampler_refused PID HZ`; at 1 Hz it says nothing at all.
"""

from __future__ import annotations

import json
import sys
import time

from harness.backends.guard import end_with_parent

if __name__ == "__main__":
    end_with_parent()
    if float(sys.argv[2]) > 1:
        sources = {"gpus": [], "gpu_note": "", "cpu_zones": ["package-0"], "cpu_note": ""}
        for told in (sources, f"process {sys.argv[1]} cannot be read: Permission denied"):
            sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
    time.sleep(60)
