"""Opens gateways for packages.py: a line of keywords on stdin, the seconds until it answered on stdout."""

import json
import sys
import time

import execnet


def main():
    network = execnet.connect(sys.argv[1])
    for line in sys.stdin:
        begin = time.perf_counter()
        gateway = network.makegateway(**json.loads(line))
        gateway.remote_exec("channel.send(1)").receive()
        took = time.perf_counter() - begin
        gateway.exit()
        gateway.join()
        print(json.dumps(took), flush=True)


if __name__ == "__main__":
    main()
