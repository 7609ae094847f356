// Who is signed in. The access token lives in this module's memory and nowhere else; an HttpOnly cookie renews it.

import type { Account, SignedIn } from './types';

/** `starting` until the cookie was tried; `expired` keeps the page and asks to sign in again over it. */
export type SessionState = 'starting' | 'signed-out' | 'signed-in' | 'expired';

class Session {
  state = $state<SessionState>('starting');
  account = $state<Account | null>(null);

  /** What the person is called. */
  get label(): string {
    return this.account?.name || this.account?.email || this.account?.id || '';
  }

  /** Whether requests of this account decide about questions of others: the server has the last word. */
  has(permission: string): boolean {
    return this.account?.permissions?.includes(permission) ?? false;
  }
}

export const session = new Session();

let token: string | null = null;
let renewAt = 0;

/** The token for a request, or nothing. */
export function accessToken(): string | null {
  return token;
}

/** Whether it is time to renew the token before it is used. */
export function isDue(): boolean {
  return token !== null && Date.now() >= renewAt;
}

/** Takes what signing in or renewing brought. */
export function accept(answer: SignedIn): void {
  token = answer.access_token;
  // A minute early, so that no request starts with a token about to end; short-lived ones at half their life.
  renewAt = Date.now() + Math.max(answer.expires_in - 60, answer.expires_in / 2) * 1000;
  session.account = answer.account;
  session.state = 'signed-in';
}

/** Forgets the token: `expired` when somebody was at work, `signed-out` otherwise. */
export function forget(state: 'expired' | 'signed-out'): void {
  token = null;
  session.state = state;
  if (state === 'signed-out') session.account = null;
}
