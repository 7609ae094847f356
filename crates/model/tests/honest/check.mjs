// Checks requests against the types of the vendors' clients: each is written as a literal of its type and compiled.

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const here = dirname(fileURLToPath(import.meta.url));
const requests = process.argv[2];
const types = [
  ["anthropic", 'import type { MessageCreateParamsStreaming as T } from "@anthropic-ai/sdk/resources/messages";'],
  ["openai-chat", 'import type { ChatCompletionCreateParamsStreaming as T } from "openai/resources/chat/completions";'],
  ["openai-responses", 'import type { ResponseCreateParamsStreaming as T } from "openai/resources/responses/responses";'],
];

const options = {
  strict: true,
  noEmit: true,
  skipLibCheck: true,
  target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
  types: [],
};

let passed = 0;
let failed = 0;
for (const name of readdirSync(requests).sort()) {
  const [, line] = types.find(([prefix]) => name.startsWith(prefix));
  const file = join(here, name.replace(".json", ".ts"));
  writeFileSync(file, `${line}\nexport const request: T = ${readFileSync(join(requests, name), "utf8")};\n`);
  const problems = ts.getPreEmitDiagnostics(ts.createProgram([file], options));
  if (problems.length === 0) {
    passed += 1;
    continue;
  }
  failed += 1;
  for (const { messageText, start, file: at } of problems) {
    const place = at ? `:${at.getLineAndCharacterOfPosition(start).line}` : "";
    console.log(`${name}${place}: ${ts.flattenDiagnosticMessageText(messageText, "\n")}`);
  }
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed ? 1 : 0;
