// Where something that floats goes, so that it stays on the screen.

export type Align = 'start' | 'center' | 'end';

const MARGIN = 6;

/** Below the anchor when there is room, above it otherwise; never off the side. */
export function beside(anchor: DOMRect, box: DOMRect, align: Align): { x: number; y: number } {
  const below = anchor.bottom + 4;
  const fits = below + box.height <= window.innerHeight - MARGIN;
  const y = fits || anchor.top < box.height + MARGIN ? below : anchor.top - box.height - 4;
  const x =
    align === 'start'
      ? anchor.left
      : align === 'end'
        ? anchor.right - box.width
        : anchor.left + (anchor.width - box.width) / 2;
  return {
    x: Math.round(Math.max(MARGIN, Math.min(x, window.innerWidth - box.width - MARGIN))),
    y: Math.round(Math.max(MARGIN, Math.min(y, window.innerHeight - box.height - MARGIN))),
  };
}
