// A Docker Engine of the tests' own: with a socket and a network of its own, so that nothing of this machine's is touched.
// What it made of images stays below target/, because making them takes minutes.

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
const kept = join(process.env.CARGO_TARGET_DIR ?? join(root, 'target'), 'docker-for-page');

/** Starts it. What this machine cannot is thrown as a sentence. */
export async function engine() {
  if (process.getuid() !== 0) throw new Error('starting a Docker Engine takes root');
  for (const program of ['dockerd', 'docker', 'setpriv', 'unshare']) {
    if (!has(program)) throw new Error(`there is no \`${program}\` on this machine; scripts/ensure tests installs it`);
  }
  const own = await mkdtemp(join(tmpdir(), 'reeve-engine-'));
  mkdirSync(kept, { recursive: true });
  const settings = join(own, 'daemon.json');
  writeFileSync(settings, '{}');
  const host = `unix://${join(own, 'sock')}`;
  // It ends with this process, however that ends.
  const words = ['--pdeathsig', 'TERM', 'unshare', '--net', 'dockerd', '--bridge', 'none', '--iptables=false', '--ip-forward=false', '--ip-masq=false'];
  const places = ['--host', host, '--data-root', join(kept, 'data'), '--exec-root', join(own, 'exec'), '--pidfile', join(kept, 'pid'), '--config-file', settings];
  const child = spawn('setpriv', [...words, ...places], { stdio: ['ignore', 'ignore', 'pipe'] });
  const said = [];
  const ended = once(child, 'exit');

  async function stop() {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGTERM');
      const late = setTimeout(() => child.kill('SIGKILL'), 30_000);
      await ended;
      clearTimeout(late);
    }
    for (const place of mountsBelow(own).reverse()) execFileSync('umount', ['--lazy', place]);
    await rm(own, { recursive: true, force: true });
  }

  const listens = new Promise((resolve, reject) => {
    createInterface({ input: child.stderr }).on('line', (line) => {
      said.push(line);
      if (said.length > 20) said.shift();
      if (line.includes('API listen on')) resolve();
    });
    child.once('error', reject);
    child.once('exit', () => reject(new Error(`this machine cannot run dockerd; it says: ${said.join(' | ')}`)));
  });
  try {
    await listens;
  } catch (error) {
    await stop();
    throw error;
  }
  const docker = (...args) => execFileSync('docker', ['--host', host, ...args], { encoding: 'utf8' }).trim();
  // What a run left that was killed.
  for (const container of docker('ps', '--all', '--quiet').split('\n').filter(Boolean)) docker('rm', '--force', container);
  for (const volume of docker('volume', 'ls', '--quiet').split('\n').filter(Boolean)) docker('volume', 'rm', volume);
  return { host, docker, stop };
}

function has(program) {
  try {
    execFileSync('sh', ['-c', `command -v ${program}`], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

function mountsBelow(directory) {
  const places = readFileSync('/proc/self/mountinfo', 'utf8').split('\n').map((line) => line.split(' ')[4]);
  return places.filter((place) => place?.startsWith(`${directory}/`));
}
