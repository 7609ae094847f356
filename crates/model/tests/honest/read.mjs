// Serves the transcripts and reads them with the vendors' clients. What they must find is what the Rust tests expect.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import Anthropic from "@anthropic-ai/sdk";
import { GoogleGenAI } from "@google/genai";
import OpenAI from "openai";

const transcripts = process.argv[2];
const words = "The disk is 92 % full – see µ.";
const calls = [["list_sessions", { database: "prod" }], ["list_locks", {}]];

let next;
const server = createServer((request, response) => {
  request.resume().on("end", () => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.end(readFileSync(join(transcripts, `${next}.sse`)));
  });
});
await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
const url = `http://127.0.0.1:${server.address().port}`;

const anthropic = new Anthropic({ apiKey: "none", baseURL: url, maxRetries: 0 });
const openai = new OpenAI({ apiKey: "none", baseURL: `${url}/v1`, maxRetries: 0 });
const gemini = new GoogleGenAI({ apiKey: "none", httpOptions: { baseUrl: url } });

const messages = [{ role: "user", content: "How is prod?" }];
const message = (model = "claude-sonnet-5-5") =>
  anthropic.messages.stream({ model, max_tokens: 100, messages }).finalMessage();
const completion = () =>
  openai.chat.completions.stream({ model: "gpt-4.1", messages, stream_options: { include_usage: true } });
const made = (answer) => answer.choices[0].message.tool_calls.map(({ function: { name, arguments: text } }) => [name, JSON.parse(text)]);
const response = async () => {
  const stream = await openai.responses.create({ model: "gpt-5-mini", input: "How is prod?", stream: true, store: false });
  const events = [];
  for await (const event of stream) events.push(event);
  const last = events.at(-1);
  const said = events.filter(({ type }) => type === "response.output_text.delta").map(({ delta }) => delta).join("");
  assert.deepEqual(events.map((event) => event.sequence_number), events.map((_, at) => at));
  return { last, said };
};
const chunks = async () => {
  const stream = await gemini.models.generateContentStream({ model: "gemini-3.8-flash", contents: "How is prod?" });
  const all = [];
  for await (const chunk of stream) all.push(chunk);
  return all;
};

const checks = {
  "anthropic-text": async () => {
    const answer = await message();
    assert.deepEqual(answer.content.map(({ type, text }) => [type, text]), [["text", words]]);
    assert.equal(answer.stop_reason, "end_turn");
    const { input_tokens, output_tokens, cache_read_input_tokens, cache_creation_input_tokens } = answer.usage;
    assert.deepEqual([input_tokens, output_tokens, cache_read_input_tokens, cache_creation_input_tokens], [12, 15, 1000, 200]);
  },
  "anthropic-thinking-tools": async () => {
    const answer = await message("claude-opus-4-6");
    const [thinking, redacted, text, ...uses] = answer.content;
    assert.equal(thinking.thinking, "Two databases, so two calls.");
    assert.equal(thinking.signature, "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pk=");
    assert.equal(redacted.data, "EmwKAhgBEgy3va3pzix/LafPsn4aDFIT2Xlxh0L5L8rLVyIw");
    assert.equal(text.text, "Looking at both.");
    assert.deepEqual(uses.map(({ name, input }) => [name, input]), calls);
    assert.equal(answer.stop_reason, "tool_use");
  },
  "anthropic-overloaded": async () => {
    await assert.rejects(message(), /overloaded/i);
  },
  "openai-chat-text": async () => {
    const answer = await completion().finalChatCompletion();
    assert.equal(answer.choices[0].message.content, words);
    assert.equal(answer.choices[0].finish_reason, "stop");
    assert.deepEqual([answer.usage.prompt_tokens, answer.usage.prompt_tokens_details.cached_tokens], [1219, 1000]);
  },
  "openai-chat-tools": async () => {
    const answer = await completion().finalChatCompletion();
    assert.deepEqual(made(answer), calls);
    assert.equal(answer.choices[0].finish_reason, "tool_calls");
  },
  "vllm-reasoning": async () => {
    const answer = await completion().finalChatCompletion();
    assert.equal(answer.choices[0].message.content, "ready");
    assert.equal(answer.usage.completion_tokens, 12);
  },
  "openai-responses-tools": async () => {
    const { last, said } = await response();
    assert.equal(last.type, "response.completed");
    assert.equal(said, "Looking at both.");
    const uses = last.response.output.filter(({ type }) => type === "function_call");
    assert.deepEqual(uses.map(({ name, arguments: text }) => [name, JSON.parse(text)]), calls);
    assert.equal(last.response.usage.input_tokens_details.cached_tokens, 64);
  },
  "openai-responses-incomplete": async () => {
    const { last, said } = await response();
    assert.equal(last.response.incomplete_details.reason, "max_output_tokens");
    assert.equal(said, "Looking");
  },
  "gemini-text": async () => {
    const all = await chunks();
    assert.equal(all.map(({ text }) => text ?? "").join(""), words);
    assert.equal(all.at(-1).candidates[0].finishReason, "STOP");
    assert.equal(all.at(-1).usageMetadata.cachedContentTokenCount, 1000);
  },
  "gemini-tools": async () => {
    const uses = (await chunks()).flatMap(({ functionCalls }) => functionCalls ?? []);
    assert.deepEqual(uses.map(({ name, args }) => [name, args]), calls);
  },
  "gemini-blocked": async () => {
    assert.equal((await chunks())[0].promptFeedback.blockReason, "PROHIBITED_CONTENT");
  },
};

let failed = 0;
for (const [name, check] of Object.entries(checks)) {
  next = name;
  try {
    await check();
  } catch (error) {
    failed += 1;
    console.log(`${name}: ${error.stack}`);
  }
}
console.log(`${Object.keys(checks).length - failed} passed, ${failed} failed`);
server.close();
server.closeAllConnections();
process.exitCode = failed ? 1 : 0;
