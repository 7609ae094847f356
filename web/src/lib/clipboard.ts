// The clipboard, where browsers offer it: on pages with TLS and on this machine.

const NONE = 'This browser gives pages without TLS no clipboard. Select the text and copy it by the keyboard.';

/** Puts a text into the clipboard; throws a sentence when it cannot. */
export async function copyText(text: string): Promise<void> {
  if (!navigator.clipboard) throw new Error(NONE);
  await navigator.clipboard.writeText(text);
}
