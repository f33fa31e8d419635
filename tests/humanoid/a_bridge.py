"""Stands for a bridge to a real robot: it says where it listens, and waits."""

import json
import time

if __name__ == "__main__":
    print(json.dumps({"port": 9}), flush=True)
    time.sleep(30)
