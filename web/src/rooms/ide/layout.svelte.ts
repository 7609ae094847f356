// How the IDE of one workspace is laid out: remembered in the browser, never with the content of a file.

export type Side = 'explorer' | 'search' | 'ports' | 'trash' | 'history';
export type Bottom = 'terminal' | 'output' | 'problems';
export type Phone = 'files' | 'editor' | 'chat' | 'terminal' | 'preview';

interface Kept {
  side: Side | null;
  sideWidth: number;
  bottom: boolean;
  bottomHeight: number;
  panel: Bottom;
  preview: boolean;
  previewWidth: number;
  chat: boolean;
  chatWidth: number;
  /** The session that the chat shows. */
  chatSession: string | null;
  wrap: boolean;
  fontSize: number;
  tabs: string[];
  active: string | null;
  /** The second pane of the editor: its files, the one in front, and its share of the width. */
  besideTabs: string[];
  besideActive: string | null;
  besideShare: number;
  names: Record<string, string>;
}

const DEFAULT: Kept = {
  side: 'explorer',
  sideWidth: 250,
  bottom: true,
  bottomHeight: 240,
  panel: 'terminal',
  preview: false,
  previewWidth: 440,
  chat: false,
  chatWidth: 400,
  chatSession: null,
  wrap: false,
  fontSize: 13,
  tabs: [],
  active: null,
  besideTabs: [],
  besideActive: null,
  besideShare: 0.5,
  names: {},
};

export class Layout {
  kept = $state<Kept>(DEFAULT);
  phone = $state<Phone>('files');
  readonly #place: string;

  constructor(workspace: string) {
    this.#place = `reeve.ide.${workspace}`;
    this.kept = { ...DEFAULT, ...this.#read() };
  }

  #read(): Partial<Kept> {
    try {
      return JSON.parse(localStorage.getItem(this.#place) ?? '{}') as Partial<Kept>;
    } catch {
      return {};
    }
  }

  remember(): void {
    try {
      localStorage.setItem(this.#place, JSON.stringify(this.kept));
    } catch {
      // A browser that keeps nothing: the layout holds until the page is closed.
    }
  }

  side(side: Side): void {
    this.kept.side = side;
    this.phone = 'files';
  }

  toggleSide(side: Side): void {
    this.kept.side = this.kept.side === side ? null : side;
    this.phone = 'files';
  }

  panel(panel: Bottom): void {
    this.kept.bottom = true;
    this.kept.panel = panel;
    this.phone = 'terminal';
  }
}
