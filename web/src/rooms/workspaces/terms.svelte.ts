// The terms of a new workspace, as a dialog gathers them: what the template and the server say, and what was changed of it.

import { driversOf, usualOf } from '$lib/offered';
import type { DriverKind, Egress, NewWorkspace, Offered, WorkspaceLimits, WorkspaceTemplate } from '$lib/types';
import { duration } from '$lib/words';
import { drivers } from './words';

const GB = 1024 ** 3;
const MINUTE = 60_000;
/** Idle times that are offered, in minutes. */
const IDLE = [15, 60, 120, 480];

/** Limits in the units of the fields. */
interface Shown {
  memory: number;
  cpu: number;
  disk: number;
  pids: number;
  /** In minutes; 0 for never. */
  idle: string;
}

const rounded = (value: number) => Number(value.toFixed(2));

function shownOf(limits: WorkspaceLimits): Shown {
  return {
    memory: rounded(limits.memory_bytes / GB),
    cpu: rounded(limits.cpu_millis / 1000),
    disk: rounded(limits.disk_bytes / GB),
    pids: limits.pids,
    idle: String(limits.idle_timeout_ms / MINUTE),
  };
}

/** A reason that the server gives, as a sentence. */
function sentence(reason: string): string {
  const plain = reason.replaceAll('`', '');
  return `${plain.charAt(0).toUpperCase()}${plain.slice(1)}.`;
}

export class Terms {
  readonly #offered = $derived.by(() => this.#ask());
  readonly #template = $derived.by(() => this.#which());
  #held = $state('');
  #mode = $state<Egress['mode'] | ''>('');
  hosts = $state('');
  memory = $state(0);
  cpu = $state(0);
  disk = $state(0);
  pids = $state(0);
  idle = $state('0');
  #began: Shown | null = null;
  readonly #ask: () => Offered | null;
  readonly #which: () => WorkspaceTemplate | undefined;

  /** `ask` and `which` are looked at whenever they change: what the server offers, and the template that is chosen. */
  constructor(ask: () => Offered | null, which: () => WorkspaceTemplate | undefined) {
    this.#ask = ask;
    this.#which = which;
  }

  /** The drivers that can make the template. */
  readonly drivers = $derived(driversOf(this.#template, this.#offered?.drivers ?? []));
  readonly driver = $derived(this.drivers.find(({ name }) => name === this.#held) ?? usualOf(this.drivers));

  get held(): string {
    return this.driver?.name ?? '';
  }
  set held(name: string) {
    this.#held = name;
  }

  readonly #byChoice = $derived(this.#offered?.rules.egress_by_choice ?? true);
  readonly #asTemplate = $derived(this.#template?.egress ?? ({ mode: 'none' } as Egress));

  /** Whether it may be given this to reach. */
  may(mode: Egress['mode']): boolean {
    if (!this.#byChoice && mode !== this.#asTemplate.mode) return false;
    return mode === 'none' || (this.driver?.networks.includes(mode) ?? false);
  }

  get network(): Egress['mode'] {
    const wanted = this.#mode || this.#asTemplate.mode;
    return this.may(wanted) ? wanted : 'none';
  }
  set network(mode: Egress['mode']) {
    this.#mode = mode;
  }

  /** Why not everything can be chosen, and where it could be. */
  readonly why = $derived.by(() => {
    if (!this.driver) return '';
    if (this.driver.without_network) {
      const other = this.drivers.find(({ networks }) => networks.length > 1);
      return `${sentence(this.driver.without_network)}${other ? ` Choose “${drivers[other.name].word}” for one.` : ''}`;
    }
    return this.#byChoice ? '' : 'On this server the template decides what a workspace reaches.';
  });

  /** Whether it has less than its template says. */
  readonly lessNetwork = $derived(this.#byChoice && this.driver !== undefined && this.network !== this.#asTemplate.mode && !this.#mode);

  /** The most that may be asked for, in the units of the fields. */
  readonly most = $derived(this.#offered ? shownOf(this.#offered.rules.limits_max) : null);

  readonly idleTimes = $derived.by(() => {
    const most = Number(this.most?.idle ?? 0);
    const own = Number(this.idle);
    const all = [...new Set([...IDLE, own])].filter((minutes) => minutes > 0 && (most === 0 || minutes <= most)).sort((a, b) => a - b);
    return [...all.map((minutes) => ({ value: String(minutes), label: duration(minutes * MINUTE) })), { value: '0', label: 'Never', disabled: most > 0 }];
  });

  /** As the template says; what was chosen stays where it can. */
  begin(): void {
    const template = this.#template;
    if (!template) return;
    const now = shownOf(template.limits);
    const before = this.#began;
    this.#began = now;
    if (!before || this.memory === before.memory) this.memory = now.memory;
    if (!before || this.cpu === before.cpu) this.cpu = now.cpu;
    if (!before || this.disk === before.disk) this.disk = now.disk;
    if (!before || this.pids === before.pids) this.pids = now.pids;
    if (!before || this.idle === before.idle) this.idle = now.idle;
    if (!this.hosts && template.egress.mode === 'allow') this.hosts = template.egress.hosts.join(', ');
  }

  /** What is not as the template and the server have it, as the API takes it. */
  asked(): Pick<NewWorkspace, 'driver' | 'egress' | 'limits'> {
    const began = this.#began;
    const limits: Partial<WorkspaceLimits> = {};
    if (began) {
      if (this.memory !== began.memory) limits.memory_bytes = Math.round(this.memory * GB);
      if (this.cpu !== began.cpu) limits.cpu_millis = Math.round(this.cpu * 1000);
      if (this.disk !== began.disk) limits.disk_bytes = Math.round(this.disk * GB);
      if (this.pids !== began.pids) limits.pids = Math.round(this.pids);
      if (this.idle !== began.idle) limits.idle_timeout_ms = Number(this.idle) * MINUTE;
    }
    return {
      driver: this.driver && !this.driver.default ? (this.driver.name as DriverKind) : undefined,
      egress: this.#egress(),
      limits: Object.keys(limits).length ? limits : undefined,
    };
  }

  #egress(): Egress | undefined {
    if (!this.#byChoice) return undefined;
    const mode = this.network;
    const told = this.#asTemplate;
    if (mode !== 'allow') return mode === told.mode ? undefined : { mode };
    const hosts = this.hosts.split(/[\s,]+/).filter(Boolean);
    return told.mode === 'allow' && told.hosts.join() === hosts.join() ? undefined : { mode, hosts };
  }
}
