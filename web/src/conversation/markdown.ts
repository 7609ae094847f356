// What agents say, as Markdown, in pieces: code stands for itself, the rest becomes HTML of a few harmless kinds. HTML that an
// agent writes is shown as it is written; pictures become links, because loading one would tell its server who reads.

import DOMPurify from 'dompurify';
import { Marked, type Tokens } from 'marked';

export type Piece = { what: 'html'; html: string } | { what: 'code'; text: string; language: string };

const escaped = (text: string) => text.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);

const marked = new Marked({
  gfm: true,
  breaks: true,
  renderer: {
    html: ({ text }: Tokens.HTML | Tokens.Tag) => escaped(text),
    image: ({ href, text }: Tokens.Image) => `<a href="${escaped(href)}">${escaped(text || href)}</a>`,
    checkbox: ({ checked }: Tokens.Checkbox) => (checked ? '☑ ' : '☐ '),
    heading({ tokens, depth }: Tokens.Heading) {
      // The page has its own first and second headings.
      const level = Math.min(depth + 2, 6);
      return `<h${level}>${this.parser.parseInline(tokens)}</h${level}>`;
    },
  },
});

const purify = DOMPurify();
purify.addHook('afterSanitizeAttributes', (node) => {
  if (node.tagName !== 'A') return;
  node.setAttribute('target', '_blank');
  node.setAttribute('rel', 'noopener noreferrer nofollow');
});

function clean(html: string): string {
  return purify.sanitize(html, {
    ALLOWED_TAGS: ['a', 'b', 'blockquote', 'br', 'code', 'del', 'em', 'h3', 'h4', 'h5', 'h6', 'hr', 'i', 'li', 'ol', 'p', 'pre', 's', 'strong', 'sub', 'sup', 'table', 'tbody', 'td', 'th', 'thead', 'tr', 'ul'],
    ALLOWED_ATTR: ['href', 'title', 'start', 'align'],
    ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i,
    ALLOW_DATA_ATTR: false,
    ALLOW_ARIA_ATTR: false,
  });
}

/** The pieces of a text. `known` keeps what was made before, so that a text that grows is not made anew each time. */
export function piecesOf(text: string, known: Map<string, Piece>): Piece[] {
  const tokens = marked.lexer(text);
  const pieces: Piece[] = [];
  const seen = new Map<string, Piece>();
  for (const token of tokens) {
    if (token.type === 'space' || token.type === 'def') continue;
    const piece = known.get(token.raw) ?? made(token as Tokens.Generic);
    seen.set(token.raw, piece);
    pieces.push(piece);
  }
  known.clear();
  for (const [raw, piece] of seen) known.set(raw, piece);
  return pieces;
}

function made(token: Tokens.Generic): Piece {
  if (token.type === 'code') return { what: 'code', text: token['text'] as string, language: ((token['lang'] as string | undefined) ?? '').split(/\s/)[0] ?? '' };
  return { what: 'html', html: clean(marked.parser([token])) };
}
