#!/usr/bin/env python3
"""An agent for a bench: answers a prompt `updates N` with N calls, each named by the moment at which it is written, in
nanoseconds since 1970, ten in a second."""
import json, sys, time

def say(**message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()

for line in sys.stdin:
    heard = json.loads(line)
    method, identity, params = heard.get("method"), heard.get("id"), heard.get("params", {})
    if method == "initialize":
        say(id=identity, result={"protocolVersion": 1, "agentCapabilities": {}})
    elif method == "session/new":
        say(id=identity, result={"sessionId": "one"})
    elif method == "session/prompt":
        count = int(params["prompt"][0]["text"].split()[1])
        for number in range(count):
            due = time.monotonic() + 0.1
            call = {"sessionUpdate": "tool_call", "toolCallId": f"c{number}", "kind": "read", "status": "completed"}
            call["title"] = str(time.time_ns())
            say(method="session/update", params={"sessionId": "one", "update": call})
            time.sleep(max(0.0, due - time.monotonic()))
        say(id=identity, result={"stopReason": "end_turn"})
