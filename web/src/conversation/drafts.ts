// What was typed into a session and not sent yet, for as long as the page is open.

const kept = new Map<string, string>();

export const drafts = {
  get: (id: string) => kept.get(id) ?? '',
  set(id: string, text: string): void {
    if (text) kept.set(id, text);
    else kept.delete(id);
  },
};
