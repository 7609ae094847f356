// SHA-256 of a file of any size, a piece at a time: what the browser itself offers wants the whole file in memory, and is not
// there on a page without TLS.

const PIECE = 4 * 1024 * 1024;

/** In hexadecimal. */
export async function digestOf(file: Blob, signal: AbortSignal): Promise<string> {
  const { sha256 } = await import('@noble/hashes/sha2.js');
  const hash = sha256.create();
  for (let at = 0; at < file.size; at += PIECE) {
    signal.throwIfAborted();
    hash.update(new Uint8Array(await file.slice(at, at + PIECE).arrayBuffer()));
  }
  return Array.from(hash.digest(), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
