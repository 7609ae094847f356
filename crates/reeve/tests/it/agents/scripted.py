#!/usr/bin/env python3
"""An agent for tests that does what the prompt says. It speaks the protocol over its standard streams, and remembers in a
file below its home what it was told, by session."""
import json, os, subprocess, sys, time, urllib.error, urllib.request

# Whether it calls servers of tools over HTTP; otherwise it starts them.
over_http = "--stdio" not in sys.argv
# The servers of tools that it was told of.
servers = []
kept = os.path.join(os.environ["HOME"], ".scripted-agent.json")
asked = 0
# What it was told of its session: models and modes.
settings_heard = []
MODELS = {"currentModelId": "first", "availableModels": [{"modelId": "first", "name": "First"}, {"modelId": "second", "name": "Second"}]}
MODES = {"currentModeId": "default", "availableModes": [{"id": one, "name": one} for one in ("default", "plan", "bypassPermissions")]}

def say(**message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()

def hear():
    line = sys.stdin.readline()
    if not line:
        sys.exit(0)
    return json.loads(line)

def ask(method, **params):
    """Asks Reeve, and answers its result or its error."""
    global asked
    asked += 1
    say(id=f"q{asked}", method=method, params={"sessionId": session, **params})
    while True:
        heard = hear()
        if heard.get("id") == f"q{asked}" and "method" not in heard:
            return heard

def update(**what):
    say(method="session/update", params={"sessionId": session, "update": what})

def words(text):
    update(sessionUpdate="agent_message_chunk", content={"type": "text", "text": text})

def memory():
    try:
        return json.load(open(kept))
    except FileNotFoundError:
        return {}

def remember(text):
    known = memory()
    known.setdefault(session, []).append(text)
    json.dump(known, open(kept, "w"))

def write():
    change = {"type": "diff", "path": "/workspace/made.txt", "oldText": None, "newText": "made\n"}
    call = {"toolCallId": "t", "title": "Write made.txt", "kind": "edit", "rawInput": {"path": "made.txt", "password": "hidden-1"}}
    update(sessionUpdate="tool_call", status="pending", **call)
    options = [{"optionId": "fine", "name": "Yes", "kind": "allow_once"}, {"optionId": "always", "name": "Always", "kind": "allow_always"},
               {"optionId": "never", "name": "No", "kind": "reject_once"}]
    outcome = ask("session/request_permission", toolCall={"toolCallId": "t", "content": [change]}, options=options)["result"]["outcome"]
    chosen = outcome.get("optionId")
    if chosen == "fine":
        open("/workspace/made.txt", "w").write("made\n")
    update(sessionUpdate="tool_call_update", toolCallId="t", status="completed" if chosen == "fine" else "failed", content=[change])
    words(f"chosen: {chosen}")

def think():
    address = os.environ["ANTHROPIC_BASE_URL"]
    key = os.environ["ANTHROPIC_API_KEY"]
    def post(path, key):
        body = json.dumps({"model": "scripted-1", "messages": []}).encode()
        wanted = urllib.request.Request(address + path, body, {"x-api-key": key, "content-type": "application/json"})
        try:
            return urllib.request.urlopen(wanted, timeout=20).read().decode()
        except urllib.error.HTTPError as error:
            return str(error.code)
    words(f"{post('/v1/messages', key)} {post('/v1/files', key)} {post('/v1/messages', 'guess')}")

def spend():
    """Uses the tokens that the answer tells of."""
    body = json.dumps({"model": "scripted-1", "messages": ["spend"]}).encode()
    headers = {"x-api-key": os.environ["ANTHROPIC_API_KEY"], "content-type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(os.environ["ANTHROPIC_BASE_URL"] + "/v1/messages", body, headers), timeout=20).read()

def settings():
    words(" ".join(settings_heard))

def files():
    written = ask("fs/write_text_file", path="/workspace/notes/a.txt", content="one\ntwo\nthree\n")
    read = ask("fs/read_text_file", path="/workspace/notes/a.txt", line=2, limit=1)
    outside = ask("fs/read_text_file", path="/etc/passwd")
    words(f"{'result' in written} {read['result']['content'].strip()} {outside['error']['code']}")

def ask_and_do():
    """Asks for one file, then writes it and another."""
    change = {"type": "diff", "path": "/workspace/asked.txt", "oldText": None, "newText": "asked\n"}
    call = {"toolCallId": "a", "title": "Write asked.txt", "kind": "edit", "content": [change]}
    options = [{"optionId": "yes", "name": "Yes", "kind": "allow_once"}, {"optionId": "no", "name": "No", "kind": "reject_once"}]
    ask("session/request_permission", toolCall=call, options=options)
    told = ["result" in ask("fs/write_text_file", path=f"/workspace/{name}.txt", content=f"{name}\n") for name in ("asked", "other")]
    words(f"{told[0]} {told[1]}")

def run():
    made = ask("terminal/create", command="sh", args=["-c", "echo out; echo err >&2; exit 3"])
    terminal = made["result"]["terminalId"]
    end = ask("terminal/wait_for_exit", terminalId=terminal)["result"]
    output = ask("terminal/output", terminalId=terminal)["result"]["output"]
    ask("terminal/release", terminalId=terminal)
    words(f"{end['exitCode']} {output.split()}")

class Tools:
    """The tools that it was told of, over HTTP or over the standard streams of a program that it starts."""
    def __init__(self, server):
        self.server, self.asked = server, 0
        if "url" not in server:
            environment = {**os.environ, **{one["name"]: one["value"] for one in server["env"]}}
            argv = [server["command"], *server["args"]]
            self.child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True)
        self.ask("initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo={"name": "scripted", "version": "1"})

    def ask(self, method, **params):
        self.asked += 1
        body = json.dumps({"jsonrpc": "2.0", "id": self.asked, "method": method, "params": params})
        if "url" not in self.server:
            self.child.stdin.write(body + "\n")
            self.child.stdin.flush()
            return json.loads(self.child.stdout.readline())
        headers = {one["name"]: one["value"] for one in self.server["headers"]}
        headers |= {"content-type": "application/json", "accept": "application/json, text/event-stream"}
        return json.loads(urllib.request.urlopen(urllib.request.Request(self.server["url"], body.encode(), headers), timeout=100).read())

    def call(self, name, **arguments):
        result = self.ask("tools/call", name=name, arguments=arguments)["result"]
        return result, result["content"][0]["text"]

def tools():
    """Calls tools that it is offered, one that policy denies among them, and states wrongly what came of that."""
    box = Tools(servers[0])
    offered = {tool["name"]: tool for tool in box.ask("tools/list")["result"]["tools"]}
    told = ["diagnose" in offered, "workspace_execute" in offered]
    nowhere = "host=127.0.0.1 port=1 dbname=nowhere"
    looked, _ = box.call("get_server_info", connection_string=nowhere)
    told += [looked["isError"], "event_id" in looked.get("structuredContent", {})]
    denied, said = box.call("terminate_connection", connection_string=nowhere, pid=4711)
    told += [denied["isError"], "denied" in said, said.split("\n")[0]]
    entry = {"did": "Ended 4711.", "act": "1-1", "target": "4711", "outcome": "succeeded"}
    _, said = box.call("state_what_was_done", entries=[entry])
    told.append("not succeeded" in said)
    if "url" in servers[0]:
        guess = {"url": servers[0]["url"], "headers": [{"name": "x-api-key", "value": os.environ["ANTHROPIC_API_KEY"]}]}
        try:
            told.append(bool(Tools(guess)))
        except urllib.error.HTTPError as error:
            told.append(error.code)
    words(" ".join(str(one) for one in told))

def prompt(identity, text):
    remember(text)
    if text == "hang":
        words("hanging")
        while hear().get("method") != "session/cancel":
            pass
        return say(id=identity, result={"stopReason": "cancelled"})
    if text == "die":
        sys.stderr.write("first\nboom ghp_abcdefghijklmnopqrstuvwxyz0123456789\n")
        sys.stderr.flush()
        os._exit(3)
    if text == "unsafe":
        update(sessionUpdate="current_mode_update", currentModeId="bypassPermissions")
    if text == "flood":
        line = "x" * 4000 + "\n"
        for _ in range(5000):
            sys.stderr.write(line)
        words("flooded")
    if text == "noise":
        sys.stdout.write("no message at all\n")
        words("noisy")
    if text == "recall":
        words(f"{len(memory().get(session, []))} turns")
    for known in (write, think, files, ask_and_do, run, spend, settings, tools):
        if text == known.__name__:
            known()
    if text == "count":
        spend()
        usage = {"inputTokens": 7, "outputTokens": 3, "totalTokens": 10}
        return say(id=identity, result={"stopReason": "end_turn", "usage": usage})
    say(id=identity, result={"stopReason": "end_turn"})

session = ""
while True:
    heard = hear()
    method, identity = heard.get("method"), heard.get("id")
    params = heard.get("params", {})
    if method == "initialize":
        say(id=identity, result={"protocolVersion": 1, "agentCapabilities": {"loadSession": True, "mcpCapabilities": {"http": over_http}}})
    elif method == "session/new":
        servers = params["mcpServers"]
        session = f"s{len(memory()) + 1}"
        remember("begun")
        say(id=identity, result={"sessionId": session, "models": MODELS, "modes": MODES})
    elif method in ("session/set_model", "session/set_mode"):
        settings_heard.append(params.get("modelId") or params.get("modeId"))
        say(id=identity, result={})
    elif method == "session/load":
        session, servers = params["sessionId"], params["mcpServers"]
        words("told again")
        say(id=identity, result=None)
    elif method == "session/prompt":
        prompt(identity, params["prompt"][0]["text"])
