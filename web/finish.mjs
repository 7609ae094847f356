// Finishes a build of the page: compresses it, notes what it was built from, and says how large it is.

import { createHash } from 'node:crypto';
import { existsSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

const web = dirname(fileURLToPath(import.meta.url));
const dist = join(web, '../crates/web/dist');

// crates/web/tests/it/main.rs has the same list.
const sources = ['finish.mjs', 'index.html', 'package-lock.json', 'package.json', 'public', 'src', 'svelte.config.js', 'tsconfig.json', 'vite.config.ts'];

function files(path) {
  if (!existsSync(path)) return [];
  return statSync(path).isDirectory() ? readdirSync(path).flatMap((name) => files(join(path, name))) : [path];
}

/** SHA-256 over each file in the order of their paths: path, NUL, length in decimal, NUL, content. */
function sourceHash() {
  const named = sources.flatMap((name) => files(join(web, name))).map((path) => ({ path, name: relative(web, path) }));
  named.sort((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)));
  const hash = createHash('sha256');
  for (const { path, name } of named) {
    const content = readFileSync(path);
    hash.update(`${name}\0${content.length}\0`).update(content);
  }
  return hash.digest('hex');
}

// The bundler's own list of chunks is for the figures below, not for browsers.
const manifestPath = join(dist, '.vite/manifest.json');
const manifest = existsSync(manifestPath) ? JSON.parse(readFileSync(manifestPath, 'utf8')) : null;
rmSync(join(dist, '.vite'), { recursive: true, force: true });

const sizes = new Map();
for (const path of files(dist)) {
  const content = readFileSync(path);
  let packed = content.length;
  if (/\.(js|css|html|svg|json|wasm)$/.test(path) && content.length > 512) {
    const brotli = brotliCompressSync(content, { params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: content.length } });
    const gzip = gzipSync(content, { level: 9 });
    if (brotli.length < content.length) writeFileSync(`${path}.br`, brotli);
    if (gzip.length < content.length) writeFileSync(`${path}.gz`, gzip);
    packed = Math.min(gzip.length, content.length);
  }
  sizes.set(relative(dist, path), packed);
}
writeFileSync(join(dist, 'SOURCE.sha256'), `${sourceHash()}\n`);

// What a browser loads first, and what opening the IDE adds: chunks that are imported statically, from the manifest.
const kb = (bytes) => `${(bytes / 1000).toFixed(1)} kB`;
const total = [...sizes.values()].reduce((sum, size) => sum + size, 0);
console.log(`the whole page, gzip: ${kb(total)} in ${sizes.size} files`);
if (manifest) {
  const closure = (key, seen = new Set()) => {
    const chunk = manifest[key];
    if (!chunk || seen.has(chunk.file)) return seen;
    seen.add(chunk.file);
    for (const css of chunk.css ?? []) seen.add(css);
    for (const next of chunk.imports ?? []) closure(next, seen);
    return seen;
  };
  const weigh = (names) => [...names].reduce((sum, name) => sum + (sizes.get(name) ?? 0), 0);
  const first = closure('index.html').add('index.html');
  console.log(`first load, gzip: ${kb(weigh(first))}`);
  for (const key of Object.keys(manifest).filter((name) => /^src\/rooms\/[^/]+\/index\.ts$/.test(name))) {
    console.log(`room ${key.split('/')[2]}, gzip: ${kb(weigh(closure(key, new Set(first))) )} with the first load`);
  }
}
