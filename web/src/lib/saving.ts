// Answers of any size, saved as files: straight to the disk where the browser offers that, else through its own memory.

import { isAbort, raw, saveAs, type QueryValue } from './api';

/** What browsers offer that can write to a file as bytes come (not all do, and none on a page without TLS). */
interface Picker {
  showSaveFilePicker?: (options: { suggestedName: string }) => Promise<FileSystemFileHandle>;
}

/** Saves what a path of the API answers. Fulfilled with false when whoever was asked for a place did not name one. */
export async function saveStream(path: string, query: Record<string, QueryValue>, name: string): Promise<boolean> {
  const pick = (window as Picker).showSaveFilePicker;
  if (!pick) {
    saveAs(await (await raw(path, { query })).blob(), name);
    return true;
  }
  let handle: FileSystemFileHandle;
  try {
    // Asked before anything is fetched: a browser asks only right after a click.
    handle = await pick({ suggestedName: name });
  } catch (error) {
    if (isAbort(error)) return false;
    throw error;
  }
  const response = await raw(path, { query });
  const file = await handle.createWritable();
  if (!response.body) {
    await file.close();
    return true;
  }
  // What breaks off leaves the file as it was before.
  await response.body.pipeTo(file);
  return true;
}
