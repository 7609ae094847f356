// Questions to people, in words.

import type { Account, ActionClass, Approval, ApprovalStatus, ToolInfo } from './types';
import { names } from './names.svelte';
import { isMe } from './people';
import { list, plural, toolTitle } from './words';

type Tone = 'neutral' | 'accent' | 'green' | 'amber' | 'red';

export const risks: Record<ActionClass, { word: string; tone: Tone; text: string }> = {
  read: { word: 'Reads', tone: 'neutral', text: 'It looks and changes nothing.' },
  write: { word: 'Changes', tone: 'amber', text: 'It changes something that can be changed back, or does no lasting harm.' },
  destructive: { word: 'Destructive', tone: 'red', text: 'It ends, removes or loses something.' },
};

export const statuses: Record<ApprovalStatus, { word: string; tone: Tone }> = {
  pending: { word: 'Waiting', tone: 'accent' },
  approved: { word: 'Approved', tone: 'green' },
  denied: { word: 'Denied', tone: 'red' },
  cancelled: { word: 'Withdrawn', tone: 'neutral' },
  expired: { word: 'Expired', tone: 'neutral' },
  stale: { word: 'No longer fits', tone: 'amber' },
};

/** What an agent asks of the one it works for: may I do this? */
const PERMISSION = 'agent_permission';

/** Whether it is such a question, which its owner may answer: policy names nobody else. */
export function isOwnersQuestion(approval: Approval): boolean {
  return approval.tool_name === PERMISSION && approval.approver_roles.length === 0 && approval.quorum <= 1;
}

/** A text among the values of a question; empty when there is none. */
export function valueOf(approval: Approval, key: string): string {
  const value = approval.request_context.arguments[key];
  return typeof value === 'string' ? value : '';
}

/** `Terminate connection on database orders`, or what an agent wants to do in its own words. */
export function heading(approval: Approval): string {
  if (approval.tool_name === PERMISSION && valueOf(approval, 'title')) return valueOf(approval, 'title');
  const tool = toolTitle(approval.tool_name);
  const kind = approval.resource_type;
  // `Delete workspace` need not say `on workspace`.
  const on = tool.toLowerCase().includes(kind) ? '' : ` on ${kind}`;
  return `${tool}${on} “${names.of(kind, approval.resource_name)}”`;
}

/** Whether it can be undone, in a sentence. */
export function reversible(tool: ToolInfo | undefined): string {
  if (!tool) return '';
  const why = tool.reversibility?.description ?? tool.reversibility?.reason;
  const word = { yes: 'It can be undone', partial: 'It can be undone in part', no: 'It cannot be undone' }[tool.reversible];
  return why ? `${word}: ${why.charAt(0).toLowerCase()}${why.slice(1).replace(/\.$/, '')}.` : `${word}.`;
}

/** `1 of 2 have said yes`. */
export function progress(approval: Approval): string {
  const yes = approval.votes.filter((vote) => vote.choice === 'approve').length;
  return approval.quorum <= 1 ? 'One person must say yes.' : `${yes} of ${plural(approval.quorum, 'person', 'people')} said yes.`;
}

/** Why this account cannot decide, or nothing. The server decides in the end; this only explains beforehand. */
export function cannotDecide(approval: Approval, account: Account | null): string {
  if (!account) return '';
  if (isOwnersQuestion(approval) && isMe(approval.requested_by, account)) return '';
  if (isMe(approval.requested_by, account))
    return 'You asked for this yourself, or it was asked for you. Somebody else must decide, so that no single person can do it alone.';
  if (approval.votes.some((vote) => isMe(vote.by, account)))
    return 'You have said yes. The others are still to answer.';
  if (account.permissions && !account.permissions.includes('approve') && !account.roles.includes('admin'))
    return 'Your roles do not let you answer questions. Ask an administrator if they should.';
  const wanted = approval.approver_roles;
  if (wanted.length && !account.roles.includes('admin') && !wanted.some((role) => account.roles.includes(role)))
    return `Only somebody with the role ${list(wanted, 'or')} can answer this one.`;
  return '';
}
