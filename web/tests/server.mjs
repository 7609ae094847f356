// A real server for the tests of the page: its own data directory, its own port, and nothing left of it afterwards.
//
// REEVE_BIN      the program, target/debug/reeve of this project unless told otherwise

import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const program = process.env.REEVE_BIN ?? join(here, '../../target/debug/reeve');

// Settings of whoever runs the tests must not reach the server under test.
const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('REEVE_')));

/** Runs the program against the data directory; answers what it printed, read as JSON. */
export function reeve(data, args, input) {
  return new Promise((resolve, reject) => {
    const child = execFile(program, ['--data-dir', data, '--output', 'json', ...args], { env: environment, timeout: 60_000 }, (error, out, told) => {
      if (error) reject(new Error(`reeve ${args.join(' ')}: ${told || error.message}`));
      else resolve(JSON.parse(out));
    });
    child.stdin.end(input ?? '');
  });
}

/** Models that answer from a script, one for talking and one for working on files. */
const models = (providers) => `[models]
default = "garden/talk"
${Object.entries(providers).map(([name, model]) => `
[models.providers.${name}]
kind = "replay"
models = ["${model}"]
script = ${JSON.stringify(join(here, 'models', `${name}.jsonl`))}
`).join('')}`;

/**
 * Starts a server, without a model where `thinks` is false; `agents` is what `agents.toml` in its data directory says, `more`
 * names further models by their scripts. `log` holds what it said; `kill` ends it as a power cut does, `again` starts it anew
 * where it was; `stop` removes its workspaces, ends it and removes its directory.
 */
export async function start({ agents, more, thinks = true } = {}) {
  const data = await mkdtemp(join(tmpdir(), 'reeve-web-'));
  if (thinks) await writeFile(join(data, 'models.toml'), models({ garden: 'talk', coder: 'work', poet: 'parts', ...more }));
  if (agents) await writeFile(join(data, 'agents.toml'), agents);
  const policy = ['--policy', join(here, 'policy.yaml')];
  return launch(data, program, (listen) => ['up', ...placed(data, listen), ...policy], environment);
}

/** The same as one types it: `make up` with these words, and with these variables. `link` is the way in that it prints. */
export async function makeUp(words, variables) {
  const data = await mkdtemp(join(tmpdir(), 'reeve-web-'));
  const plain = Object.fromEntries(Object.entries(environment).filter(([name]) => !name.startsWith('MAKE') && name !== 'MFLAGS'));
  const args = (listen) => ['--no-print-directory', '--directory', join(here, '../..'), 'up', `ARGS=${[...words, ...placed(data, listen)].join(' ')}`];
  const up = await launch(data, 'make', args, { ...plain, ...variables });
  const link = up.said(/Sign in at (\S+)/, up.log);
  link.catch(() => undefined);
  return { ...up, link };
}

const placed = (data, listen) => ['--data-dir', data, '--listen', listen];

async function launch(data, command, args, env) {
  const log = [];
  let running;

  async function up(listen) {
    const child = spawn(command, args(listen), {
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
      // Ctrl-C is for the tests: they remove the workspaces before they end the server.
      detached: true,
    });
    running = { child, ended: once(child, 'exit') };
    for (const stream of [child.stdout, child.stderr]) createInterface({ input: stream }).on('line', (line) => log.push(line));
    return said(/listening on (http:\/\/[\d.:]+)/);
  }

  /** What the first line that fits says, of those that will be said, and of `before`. */
  function said(pattern, before = []) {
    const { child } = running;
    return new Promise((resolve, reject) => {
      const look = (line) => {
        const found = pattern.exec(line);
        if (found) resolve(found[1]);
      };
      before.forEach(look);
      for (const stream of [child.stdout, child.stderr]) createInterface({ input: stream }).on('line', look);
      child.once('error', reject);
      child.once('exit', (code) => reject(new Error(`the server ended with code ${code}:\n${log.join('\n')}`)));
    });
  }

  async function kill() {
    running.child.kill('SIGKILL');
    await running.ended;
  }

  async function stop() {
    const { child, ended } = running;
    if (child.exitCode === null && child.signalCode === null) {
      await removeWorkspaces(data).catch((error) => log.push(`workspaces were left: ${error.message}`));
      child.kill('SIGTERM');
      const late = setTimeout(() => child.kill('SIGKILL'), 30_000);
      await ended;
      clearTimeout(late);
    }
    await rm(data, { recursive: true, force: true });
  }

  try {
    const url = await up('127.0.0.1:0');
    return { url, data, log, said, kill, again: () => up(new URL(url).host), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Workspaces outlive their server: whoever ends it for good removes them first, those in the trash too. */
async function removeWorkspaces(data) {
  for (const state of [[], ['--state', 'deleted']]) {
    const { workspaces } = await reeve(data, ['workspaces', 'list', ...state]);
    for (const { id } of workspaces) await reeve(data, ['workspaces', 'delete', id, '--force']);
  }
}
