// Who the API names, as people are called here.

import type { Account } from './types';

/** `user:dora@example.org` as `dora@example.org`, `service:reeve` as `service reeve`. */
export function person(label: string): string {
  return label.replace(/^user:/, '').replace(/^(\w+):/, '$1 ');
}

/** Whether a label of the API names this account. */
export function isMe(label: string, account: Pick<Account, 'id' | 'email' | 'username'> | null): boolean {
  return account !== null && [account.id, account.email, account.username].includes(label.replace(/^user:/, ''));
}
