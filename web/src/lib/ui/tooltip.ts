// A few words beside whatever the pointer or the focus rests on. One element for the whole page.

import type { Attachment } from 'svelte/attachments';
import { keysShown } from '../commands.svelte';
import { beside } from './place';

let bubble: HTMLElement | null = null;
let timer: ReturnType<typeof setTimeout> | undefined;
let lastShown = 0;

function show(target: Element, text: string, keys: string | undefined): void {
  if (!target.isConnected) return;
  bubble ??= Object.assign(document.createElement('div'), { className: 'reeve-tooltip', popover: 'manual' });
  bubble.setAttribute('aria-hidden', 'true');
  bubble.replaceChildren(text);
  for (const stroke of keys ? keysShown(keys) : []) {
    bubble.append(Object.assign(document.createElement('kbd'), { textContent: stroke }));
  }
  // A tooltip inside a dialog must be in the top layer with it, so it opens as a popover.
  document.body.append(bubble);
  bubble.showPopover();
  const at = beside(target.getBoundingClientRect(), bubble.getBoundingClientRect(), 'center');
  bubble.style.left = `${at.x}px`;
  bubble.style.top = `${at.y}px`;
}

function hide(): void {
  clearTimeout(timer);
  if (bubble?.isConnected) {
    lastShown = Date.now();
    bubble.remove();
  }
}

/** `{@attach tooltip('Close', 'Escape')}`. The element needs a name of its own for screen readers. */
export function tooltip(text: string, keys?: string): Attachment {
  return (target) => {
    const enter = (event: Event) => {
      if (event instanceof PointerEvent && event.pointerType === 'touch') return;
      if (event.type === 'focus' && !target.matches(':focus-visible')) return;
      clearTimeout(timer);
      // Moving along a row of buttons shows the next one at once.
      timer = setTimeout(() => show(target, text, keys), Date.now() - lastShown < 300 ? 0 : 500);
    };
    const leaving = ['pointerleave', 'blur', 'pointerdown', 'keydown'];
    target.addEventListener('pointerenter', enter);
    target.addEventListener('focus', enter);
    leaving.forEach((name) => target.addEventListener(name, hide));
    return () => {
      hide();
      target.removeEventListener('pointerenter', enter);
      target.removeEventListener('focus', enter);
      leaving.forEach((name) => target.removeEventListener(name, hide));
    };
  };
}
