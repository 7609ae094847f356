// Records of the journal, in words.

import type { AuditEvent, Principal } from '$lib/types';
import type { IconName } from '$lib/ui';
import { names } from '$lib/names.svelte';
import { person } from '$lib/people';
import { duration, title, toolTitle } from '$lib/words';

type Tone = 'neutral' | 'accent' | 'green' | 'amber' | 'red';

export const kinds: Record<string, { word: string; icon: IconName }> = {
  delegation_decision: { word: 'Question routed', icon: 'branch' },
  gateway_request: { word: 'Request came in', icon: 'arrow-right' },
  tool_invoked: { word: 'Tool asked for', icon: 'play' },
  policy_decision: { word: 'Policy decided', icon: 'shield' },
  effect_intent: { word: 'Change begins', icon: 'edit' },
  tool_execution: { word: 'Tool ended', icon: 'check-circle' },
  tool_retry: { word: 'Checked again', icon: 'refresh' },
  verification_outcome: { word: 'Check after the change', icon: 'eye' },
  approval_requested: { word: 'People asked', icon: 'inbox' },
  approval_vote: { word: 'Answer given', icon: 'user' },
  approval_resolved: { word: 'Question settled', icon: 'check' },
  identity_changed: { word: 'Identity changed', icon: 'key' },
  configuration_changed: { word: 'Configuration changed', icon: 'settings' },
  access_denied: { word: 'Access refused', icon: 'lock' },
  governance_violation: { word: 'Rule broken', icon: 'alert' },
  lifecycle: { word: 'Server', icon: 'server' },
  external: { word: 'From another program', icon: 'external' },
};

const outcomes: Record<string, { word: string; tone: Tone }> = {
  success: { word: 'Success', tone: 'green' },
  approved: { word: 'Approved', tone: 'green' },
  allow: { word: 'Allowed', tone: 'green' },
  error: { word: 'Error', tone: 'red' },
  denied: { word: 'Denied', tone: 'red' },
  deny: { word: 'Denied', tone: 'red' },
  unknown: { word: 'Unknown', tone: 'amber' },
  require_approval: { word: 'Asked people', tone: 'accent' },
  pending: { word: 'Waiting', tone: 'accent' },
  expired: { word: 'Expired', tone: 'neutral' },
  cancelled: { word: 'Withdrawn', tone: 'neutral' },
  stale: { word: 'No longer fits', tone: 'amber' },
  escalation_required: { word: 'Needs a person', tone: 'amber' },
  verified_failed: { word: 'Check failed', tone: 'red' },
  verified_warning: { word: 'Check unsure', tone: 'amber' },
};

export const outcomeChoices = ['success', 'approved', 'denied', 'error', 'require_approval', 'unknown'];

export function outcomeOf(word: string | undefined): { word: string; tone: Tone } | null {
  return word ? (outcomes[word] ?? { word: title(word), tone: 'neutral' }) : null;
}

/** How a record ended. */
export function outcome(event: AuditEvent): { word: string; tone: Tone } | null {
  return outcomeOf(event.outcome?.status ?? event.policy_decision?.effect ?? event.approval?.status);
}

export function kind(event: AuditEvent): { word: string; icon: IconName } {
  return kinds[event.event_type] ?? { word: title(event.event_type), icon: 'dot' };
}

/** `alice`, `agent scout for alice`. */
export function who(principal: Principal | undefined): string {
  if (!principal) return '';
  const name = principal.kind === 'user' ? principal.id : `${principal.kind} ${principal.id}`;
  return principal.on_behalf_of ? `${name} for ${who(principal.on_behalf_of)}` : name;
}

/** `database orders`. */
export function target(event: AuditEvent): string {
  if (event.resource) return `${event.resource.kind} ${names.of(event.resource.kind, event.resource.name)}`;
  const policy = event.policy_decision;
  return policy ? `${policy.resource_type} ${names.of(policy.resource_type, policy.resource_name)}` : '';
}

/** The record in one sentence, without who and when. */
export function sentence(event: AuditEvent): string {
  const tool = event.tool ? toolTitle(event.tool.name) : '';
  const what = (tool || 'it').toLowerCase();
  switch (event.event_type) {
    case 'tool_invoked':
      return `Asked for “${tool}”`;
    case 'policy_decision': {
      const decision = event.policy_decision;
      const said = { allow: 'allows', deny: 'denies', require_approval: 'wants people to decide about' }[decision?.effect ?? 'allow'];
      return `Policy ${decision?.policy_name ? `“${decision.policy_name}” ` : ''}${said} ${what === 'it' ? 'this' : `“${tool}”`}`;
    }
    case 'effect_intent':
      return `“${tool}” is about to change something`;
    case 'tool_execution': {
      const took = event.tool?.duration_ms ?? event.outcome?.duration_ms;
      const ended = event.outcome?.status === 'error' ? 'failed' : event.outcome?.status === 'unknown' ? 'ended, nobody can tell how' : 'is done';
      return `“${tool}” ${ended}${took === undefined ? '' : ` after ${duration(took)}`}`;
    }
    case 'approval_requested':
      return `People are asked about ${tool ? `“${tool}”` : 'an act'}`;
    case 'approval_vote':
      return `${person(event.approval?.vote?.by ?? 'Somebody')} said ${event.approval?.vote?.choice === 'deny' ? 'no' : 'yes'}`;
    case 'approval_resolved': {
      const status = event.approval?.status;
      const settled = { approved: 'was approved', denied: 'was denied', cancelled: 'was withdrawn', expired: 'ran out of time', stale: 'no longer fits the act', pending: 'waits' };
      return `The question ${status ? settled[status] : 'was settled'}${event.approval?.vote?.by ? ` by ${person(event.approval.vote.by)}` : ''}`;
    }
    case 'delegation_decision':
      return `Routed to ${event.decision?.agent || 'an agent'}${event.input?.user_query ? `: “${event.input.user_query}”` : ''}`;
    case 'gateway_request':
      return event.input?.user_query ? `Asked: “${event.input.user_query}”` : 'A request came in';
    case 'tool_retry':
      return `Checked again whether “${tool}” took effect`;
    case 'verification_outcome':
      return `Checked whether “${tool}” took effect`;
    default:
      return event.note ? event.note.charAt(0).toUpperCase() + event.note.slice(1) : kind(event).word;
  }
}

/** More words about it: what went wrong, what policy's author says, the reason given. */
export function more(event: AuditEvent): string {
  return (
    event.tool?.error ||
    event.outcome?.error_message ||
    event.policy_decision?.message ||
    event.approval?.vote?.reason ||
    event.approval?.reason ||
    event.purpose_note ||
    (sentence(event) === event.note ? '' : (event.note ?? '')) ||
    ''
  );
}
