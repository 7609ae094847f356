// Which language a file is written in, by its name. Each is loaded when the first file of it is opened.

import { StreamLanguage, type LanguageSupport, type StreamParser } from '@codemirror/language';
import type { Extension } from '@codemirror/state';
import { extensionOf, nameOf } from './paths';

export interface Written {
  name: string;
  indent: number;
  load: () => Promise<Extension>;
}

const legacy = (load: () => Promise<StreamParser<unknown>>) => async () => StreamLanguage.define(await load());
const full = (load: () => Promise<LanguageSupport>) => load;

const javascript = (name: string, options: { jsx?: boolean; typescript?: boolean }): Written => ({
  name,
  indent: 2,
  load: full(async () => (await import('@codemirror/lang-javascript')).javascript(options)),
});

const LANGUAGES: [string, Written][] = [
  ['js mjs cjs', javascript('JavaScript', {})],
  ['jsx', javascript('JavaScript JSX', { jsx: true })],
  ['ts mts cts', javascript('TypeScript', { typescript: true })],
  ['tsx', javascript('TypeScript JSX', { jsx: true, typescript: true })],
  ['json jsonc webmanifest map', { name: 'JSON', indent: 2, load: async () => (await import('@codemirror/lang-json')).json() }],
  ['html htm xhtml svelte vue', { name: 'HTML', indent: 2, load: async () => (await import('@codemirror/lang-html')).html() }],
  ['css scss less', { name: 'CSS', indent: 2, load: async () => (await import('@codemirror/lang-css')).css() }],
  ['md markdown mdx', { name: 'Markdown', indent: 2, load: async () => (await import('@codemirror/lang-markdown')).markdown() }],
  ['py pyw pyi', { name: 'Python', indent: 4, load: async () => (await import('@codemirror/lang-python')).python() }],
  ['rs', { name: 'Rust', indent: 4, load: async () => (await import('@codemirror/lang-rust')).rust() }],
  ['go', { name: 'Go', indent: 4, load: async () => (await import('@codemirror/lang-go')).go() }],
  ['c h', { name: 'C', indent: 4, load: async () => (await import('@codemirror/lang-cpp')).cpp() }],
  ['cpp cc cxx hpp hh hxx', { name: 'C++', indent: 4, load: async () => (await import('@codemirror/lang-cpp')).cpp() }],
  ['java', { name: 'Java', indent: 4, load: async () => (await import('@codemirror/lang-java')).java() }],
  ['php phtml', { name: 'PHP', indent: 4, load: async () => (await import('@codemirror/lang-php')).php() }],
  ['sql', { name: 'SQL', indent: 2, load: async () => (await import('@codemirror/lang-sql')).sql() }],
  ['yaml yml', { name: 'YAML', indent: 2, load: async () => (await import('@codemirror/lang-yaml')).yaml() }],
  ['xml svg xsd xsl', { name: 'XML', indent: 2, load: async () => (await import('@codemirror/lang-xml')).xml() }],
  ['toml', { name: 'TOML', indent: 2, load: legacy(async () => (await import('@codemirror/legacy-modes/mode/toml')).toml) }],
  ['sh bash zsh ksh', { name: 'Shell', indent: 2, load: legacy(async () => (await import('@codemirror/legacy-modes/mode/shell')).shell) }],
  ['rb rake', { name: 'Ruby', indent: 2, load: legacy(async () => (await import('@codemirror/legacy-modes/mode/ruby')).ruby) }],
  ['lua', { name: 'Lua', indent: 2, load: legacy(async () => (await import('@codemirror/legacy-modes/mode/lua')).lua) }],
  ['ini cfg conf properties env', { name: 'Properties', indent: 2, load: legacy(async () => (await import('@codemirror/legacy-modes/mode/properties')).properties) }],
  ['diff patch', { name: 'Diff', indent: 2, load: legacy(async () => (await import('@codemirror/legacy-modes/mode/diff')).diff) }],
];

const dockerfile: Written = {
  name: 'Dockerfile',
  indent: 2,
  load: legacy(async () => (await import('@codemirror/legacy-modes/mode/dockerfile')).dockerFile),
};

const BY_EXTENSION = new Map(LANGUAGES.flatMap(([names, language]) => names.split(' ').map((name) => [name, language] as const)));
const BY_NAME: Record<string, string> = { '.bashrc': 'sh', '.profile': 'sh', 'cargo.lock': 'toml', '.env': 'ini', '.gitconfig': 'ini', '.editorconfig': 'ini' };

/** The language of a file; nothing is plain text. */
export function writtenIn(key: string): Written | undefined {
  const name = nameOf(key).toLowerCase();
  if (name === 'dockerfile' || name.startsWith('dockerfile.') || name.endsWith('.dockerfile')) return dockerfile;
  return BY_EXTENSION.get(BY_NAME[name] ?? extensionOf(key));
}

const IMAGES: Record<string, string> = {
  png: 'image/png',
  jpg: 'image/jpeg',
  jpeg: 'image/jpeg',
  gif: 'image/gif',
  webp: 'image/webp',
  avif: 'image/avif',
  ico: 'image/x-icon',
  bmp: 'image/bmp',
};

/** The media type of a picture that can be shown. */
export function pictureType(key: string): string | undefined {
  return IMAGES[extensionOf(key)];
}
