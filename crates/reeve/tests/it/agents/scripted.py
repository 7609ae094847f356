#!/usr/bin/env python3
"""An agent for tests that does what the prompt says. It speaks the protocol over its standard streams, and remembers in a
file below its home what it was told, by session."""
import json, os, sys, time, urllib.error, urllib.request

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
    for known in (write, think, files, ask_and_do, run, spend, settings):
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
        say(id=identity, result={"protocolVersion": 1, "agentCapabilities": {"loadSession": True}})
    elif method == "session/new":
        session = f"s{len(memory()) + 1}"
        remember("begun")
        say(id=identity, result={"sessionId": session, "models": MODELS, "modes": MODES})
    elif method in ("session/set_model", "session/set_mode"):
        settings_heard.append(params.get("modelId") or params.get("modeId"))
        say(id=identity, result={})
    elif method == "session/load":
        session = params["sessionId"]
        words("told again")
        say(id=identity, result=None)
    elif method == "session/prompt":
        prompt(identity, params["prompt"][0]["text"])
