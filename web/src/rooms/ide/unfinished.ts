// Uploads that were begun and not finished, so that sending the same file again goes on with them, after a reload too. The
// server keeps what has arrived for a day.

const KEPT = 'reeve-uploads';
const KEPT_MAX = 50;
const DAY_MS = 24 * 60 * 60 * 1000;

interface Unfinished {
  mark: string;
  id: string;
  at: number;
}

/** The same file is the same place, size and time of its last change; its digest is checked at the end anyway. */
const markOf = (workspaceId: string, key: string, file: File) => JSON.stringify([workspaceId, key, file.size, file.lastModified]);

function all(): Unfinished[] {
  try {
    const read: unknown = JSON.parse(localStorage.getItem(KEPT) ?? '[]');
    const list = Array.isArray(read) ? (read as Unfinished[]) : [];
    return list.filter((one) => typeof one?.id === 'string' && Date.now() - one.at < DAY_MS);
  } catch {
    return [];
  }
}

function put(list: Unfinished[]): void {
  try {
    localStorage.setItem(KEPT, JSON.stringify(list.slice(-KEPT_MAX)));
  } catch {
    // A browser that keeps nothing begins again after a reload.
  }
}

export function find(workspaceId: string, key: string, file: File): string | undefined {
  const mark = markOf(workspaceId, key, file);
  return all().find((one) => one.mark === mark)?.id;
}

export function keep(workspaceId: string, key: string, file: File, id: string): void {
  const mark = markOf(workspaceId, key, file);
  put([...all().filter((one) => one.mark !== mark), { mark, id, at: Date.now() }]);
}

export function drop(workspaceId: string, key: string, file: File): void {
  const mark = markOf(workspaceId, key, file);
  put(all().filter((one) => one.mark !== mark));
}
