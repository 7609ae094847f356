// Runs the tests of the page in a real browser against one real server, and says how many passed. `scripts/test-web` calls
// it; with names (`node tests/run.mjs ide`) it runs only those files.

import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { fileURLToPath } from 'node:url';
import { start } from './server.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const names = process.argv.slice(2);
const files = readdirSync(here)
  .filter((name) => name.endsWith('.test.mjs') && (names.length === 0 || names.includes(name.replace('.test.mjs', ''))))
  .map((name) => join(here, name));

const server = await start();
const stopped = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => stopped.abort());

const count = { passed: 0, failed: 0 };
const skipped = new Set();
try {
  // The files inherit where the server is.
  process.env.REEVE_URL = server.url;
  process.env.REEVE_DATA = server.data;
  const tests = run({ files, concurrency: 1, signal: stopped.signal });
  tests.on('test:pass', (event) => {
    if (isTest(event)) count.passed++;
    else if (typeof event.skip === 'string') skipped.add(`skipped: ${event.name}: ${event.skip}`);
  });
  tests.on('test:fail', (event) => isTest(event) && count.failed++);
  const report = tests.compose(new spec());
  for await (const piece of report) process.stdout.write(piece);
} finally {
  await server.stop();
}
if (count.failed > 0) console.log(`the server said:\n${server.log.filter((line) => !line.includes('?link=')).join('\n')}`);

for (const line of skipped) console.log(line);
console.log(`${count.passed} passed, ${count.failed} failed`);
process.exitCode = count.failed > 0 || count.passed + skipped.size === 0 ? 1 : 0;

/** Groups and files are counted by what is in them; a file that could not be run counts itself. */
function isTest({ name, details, skip, todo }) {
  if (skip !== undefined || todo !== undefined || details.type === 'suite') return false;
  return !files.includes(name) || (details.error && details.error.failureType !== 'subtestsFailed');
}
