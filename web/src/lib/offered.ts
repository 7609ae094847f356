// What workspaces can be made from here, with what, and what holds for all of them: asked once, as it stays while the server runs.

import { get } from './api';
import type { Offered, WorkspaceDriver, WorkspaceTemplate } from './types';

let asked: Promise<Offered> | null = null;

export function offered(): Promise<Offered> {
  asked ??= get<Offered>('/workspace-templates').catch((error: unknown) => {
    asked = null;
    throw error;
  });
  return asked;
}

/** The drivers of this server that can make a template. */
export function driversOf(template: WorkspaceTemplate | undefined, all: readonly WorkspaceDriver[]): WorkspaceDriver[] {
  return all.filter(({ name }) => template?.drivers.includes(name));
}

/** Of them, the one that is taken unless somebody says otherwise. */
export function usualOf(drivers: readonly WorkspaceDriver[]): WorkspaceDriver | undefined {
  return drivers.find((driver) => driver.default) ?? drivers[0];
}
