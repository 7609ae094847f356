// Numbers, times and words of the API as people read them.

const full = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
const clockTime = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const day = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' });
const dayAndYear = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short', year: 'numeric' });

/** The exact moment: `21 Nov 2026, 14:03:22`. */
export function absolute(at: string | Date): string {
  const date = new Date(at);
  return Number.isNaN(date.getTime()) ? String(at) : full.format(date);
}

/** The time of day: `14:03:22`. */
export function timeOfDay(at: string | Date): string {
  return clockTime.format(new Date(at));
}

/** `just now`, `5 min ago`, `in 2 h`, `yesterday`, `3 Nov`. */
export function relative(at: string | Date, now: number = Date.now()): string {
  const date = new Date(at);
  const away = date.getTime() - now;
  const seconds = Math.abs(away) / 1000;
  const say = (text: string) => (away > 0 ? `in ${text}` : `${text} ago`);
  // The clock of the page moves once a second, and the server's may be ahead a little.
  if (away < 3000 && seconds < 10) return 'just now';
  if (seconds < 60) return say(`${Math.round(seconds)} s`);
  if (seconds < 3600) return say(`${Math.round(seconds / 60)} min`);
  if (seconds < 86_400) return say(`${Math.round(seconds / 3600)} h`);
  if (seconds < 7 * 86_400) {
    const days = Math.round(seconds / 86_400);
    return days === 1 ? (away > 0 ? 'tomorrow' : 'yesterday') : say(`${days} days`);
  }
  return (date.getFullYear() === new Date(now).getFullYear() ? day : dayAndYear).format(date);
}

/** A length of time: `450 ms`, `12 s`, `3 min`, `2 h 5 min`, `4 days`. */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 10) return `${seconds.toFixed(1).replace(/\.0$/, '')} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return `${Math.round(hours / 24)} days`;
}

/** What is left, counting down: `1:04:09`, `4:09`. */
export function countdown(ms: number): string {
  const total = Math.max(0, Math.ceil(ms / 1000));
  const two = (value: number) => String(value).padStart(2, '0');
  const hours = Math.floor(total / 3600);
  const rest = `${hours ? two(Math.floor((total % 3600) / 60)) : Math.floor(total / 60)}:${two(total % 60)}`;
  return hours >= 48 ? `${Math.round(hours / 24)} days` : hours ? `${hours}:${rest}` : rest;
}

/** `512 B`, `1.5 KB`, `2 GB`; steps of 1024, as people expect of memory and files. */
export function bytes(count: number): string {
  const units = ['B', 'KB', 'MB', 'GB', 'TB'];
  let value = count;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 || Number.isInteger(value) ? 0 : 1;
  return `${value.toFixed(digits).replace(/\.0$/, '')} ${units[unit]}`;
}

/** `1.5 cores`. */
export function cores(millis: number): string {
  const value = millis / 1000;
  return `${Number(value.toFixed(2))} ${value === 1 ? 'core' : 'cores'}`;
}

/** `1 file`, `3 files`. */
export function plural(count: number, one: string, many = `${one}s`): string {
  return `${count.toLocaleString()} ${count === 1 ? one : many}`;
}

/** `terminate_connection` as `Terminate connection`. */
export function title(word: string): string {
  const text = word.replace(/[_-]+/g, ' ').trim();
  return text.charAt(0).toUpperCase() + text.slice(1);
}

const tools: Record<string, string> = {
  workspace_browse: 'Look into workspace',
  workspace_change: 'Change workspace',
  workspace_change_files: 'Change files',
  workspace_create: 'Create workspace',
  workspace_delete: 'Delete workspace',
  workspace_drop_snapshot: 'Drop snapshot',
  workspace_execute: 'Run program',
  workspace_extract: 'Unpack archive',
  workspace_fork: 'Fork workspace',
  workspace_import: 'Import workspace',
  workspace_open_terminal: 'Open terminal',
  workspace_restore: 'Restore workspace',
  workspace_roll_back: 'Roll back workspace',
  workspace_save_file: 'Save file',
  workspace_snapshot: 'Take snapshot',
  workspace_type: 'Type in terminal',
  workspace_start: 'Start workspace',
  workspace_suspend: 'Suspend workspace',
  workspace_upload: 'Upload file',
};

/** What a tool does, as a heading: `Delete workspace`, `Terminate connection`. */
export function toolTitle(name: string): string {
  return tools[name] ?? title(name);
}

/** `a`, `a and b`, `a, b and c`. */
export function list(items: readonly string[], last = 'and'): string {
  if (items.length < 2) return items.join('');
  return `${items.slice(0, -1).join(', ')} ${last} ${items[items.length - 1]}`;
}
