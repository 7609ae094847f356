// A model server for tests: it speaks as much of Anthropic's and Google's APIs as Claude Code and Gemini CLI ask for, and
// always says the same. A turn is one call of the shell that writes `made.txt`, and a last word once the call has a result.
// Who is told to ask the gate calls a tool of Reeve's instead, and its last word is the result.
// Prints the port that it listens on; ends when its standard input does.
import { createServer } from "node:http";

const COMMAND = "echo made-by-tool > made.txt";
const LAST_WORD = "It is made.";
const GATE = "ask the gate";
const GATE_TOOL = "get_server_info";
const NOWHERE = { connection_string: "host=127.0.0.1 port=1 dbname=nowhere" };
const BODY_BYTES_MAX = 32 * 1024 * 1024;

const json = (response, value, status = 200) => {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(value));
};

const events = (response, all) => {
  response.writeHead(200, { "content-type": "text/event-stream", connection: "close" });
  for (const [name, data] of all) response.write(`${name ? `event: ${name}\n` : ""}data: ${JSON.stringify(data)}\n\n`);
  response.end();
};

/** What to call of what is offered, if anything: each client has names of its own for the tools of a server. */
const call = (names, shell, request) => {
  const gate = request.includes(GATE);
  const name = names.find((name) => (gate ? name.endsWith(GATE_TOOL) : name === shell));
  return name && { name, input: gate ? NOWHERE : { command: COMMAND, description: "Make a file" } };
};

/** What it says when nothing is left to call. */
const lastWordOf = (names, request, result) => {
  if (!request.includes(GATE)) return LAST_WORD;
  return result ? JSON.stringify(result) : `no ${GATE_TOOL} among ${names}`;
};

const anthropic = (response, body) => {
  const tools = (body.tools ?? []).map((tool) => tool.name);
  const content = body.messages?.at(-1)?.content;
  const result = Array.isArray(content) && content.find((part) => part.type === "tool_result");
  const calls = !result && call(tools, "Bash", JSON.stringify(body.messages ?? ""));
  const lastWord = lastWordOf(tools, JSON.stringify(body.messages ?? ""), result?.content);
  const usage = { input_tokens: 11, output_tokens: 1 };
  const message = { id: "msg_1", type: "message", role: "assistant", model: body.model, content: [], stop_reason: null, stop_sequence: null, usage };
  const block = calls ? { type: "tool_use", id: "toolu_01", ...calls } : { type: "text", text: lastWord };
  const stop_reason = calls ? "tool_use" : "end_turn";
  if (!body.stream) return json(response, { ...message, content: [block], stop_reason });
  const start = calls ? { ...block, input: {} } : { type: "text", text: "" };
  const deltas = calls
    ? [{ type: "input_json_delta", partial_json: JSON.stringify(calls.input) }]
    : lastWord.split(/(?<= )/).map((text) => ({ type: "text_delta", text }));
  const all = [
    { type: "message_start", message },
    { type: "content_block_start", index: 0, content_block: start },
    ...deltas.map((delta) => ({ type: "content_block_delta", index: 0, delta })),
    { type: "content_block_stop", index: 0 },
    { type: "message_delta", delta: { stop_reason, stop_sequence: null }, usage: { output_tokens: 9 } },
    { type: "message_stop" },
  ];
  events(response, all.map((event) => [event.type, event]));
};

const gemini = (response, body, streams) => {
  const functions = (body.tools ?? []).flatMap((tool) => tool.functionDeclarations ?? []).map((one) => one.name);
  const parts = (body.contents ?? []).flatMap((content) => content.parts ?? []);
  const result = parts.find((part) => part.functionResponse);
  const calls = !result && call(functions, "run_shell_command", JSON.stringify(parts));
  const lastWord = lastWordOf(functions, JSON.stringify(parts), result?.functionResponse);
  // Without tools the CLI asks which model to take, and who speaks next.
  const routing = { complexity_reasoning: "small", complexity_score: 1, model_choice: "flash", reasoning: "done", next_speaker: "user" };
  const part = calls
    ? { functionCall: { name: calls.name, args: calls.input } }
    : { text: functions.length > 0 ? lastWord : JSON.stringify(routing) };
  const candidates = [{ content: { role: "model", parts: [part] }, finishReason: "STOP", index: 0 }];
  const usageMetadata = { promptTokenCount: 1, candidatesTokenCount: 1, totalTokenCount: 2 };
  const answer = { candidates, usageMetadata, modelVersion: "scripted" };
  return streams ? events(response, [[null, answer]]) : json(response, answer);
};

const server = createServer(async (request, response) => {
  const pieces = [];
  let length = 0;
  for await (const piece of request) {
    length += piece.length;
    if (length > BODY_BYTES_MAX) return request.destroy();
    pieces.push(piece);
  }
  let body = {};
  try {
    body = JSON.parse(Buffer.concat(pieces).toString() || "{}");
  } catch {
    return json(response, { error: { message: "no JSON" } }, 400);
  }
  const path = request.url.split("?")[0];
  if (request.method === "GET") return json(response, { data: [], has_more: false });
  if (request.method === "HEAD") return response.end();
  if (path.includes("count_tokens")) return json(response, { input_tokens: 10 });
  if (path.includes("countTokens")) return json(response, { totalTokens: 10 });
  if (path.endsWith("/v1/messages")) return anthropic(response, body);
  if (path.includes("enerateContent")) return gemini(response, body, path.includes("stream"));
  return json(response, { error: { message: `there is nothing at ${path}` } }, 404);
});

server.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.resume().on("end", () => process.exit(0));
