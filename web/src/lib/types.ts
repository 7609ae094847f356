// The shapes of the public API, as the server gives them. Sizes are bytes, durations milliseconds, times RFC 3339.

/** A path below /workspace: text, or base64 of its bytes when it is no UTF-8. */
export type WorkspacePath = string | { b64: string };

export type WorkspaceState =
  | 'stopped'
  | 'starting'
  | 'running'
  | 'suspending'
  | 'suspended'
  | 'error'
  | 'deleting'
  | 'deleted';

export type DriverKind = 'namespace' | 'docker';

export interface WorkspaceLimits {
  memory_bytes: number;
  cpu_millis: number;
  pids: number;
  disk_bytes: number;
  open_files: number;
  /** 0 never suspends it. */
  idle_timeout_ms: number;
}

export type Egress = { mode: 'none' } | { mode: 'allow'; hosts: string[] } | { mode: 'public' };

export interface Isolation {
  driver: DriverKind;
  /** `namespace`, `container`, `gvisor`. */
  tier: string;
  seccomp: boolean;
  landlock: boolean;
  /** `cgroup2`, `cgroup1`, `rlimit`. */
  limits: string;
  /** `kernel`, `swept`. */
  disk: string;
  /** `none`, `allow`, `public`. */
  network: string;
  own_user: boolean;
}

export interface Workspace {
  id: string;
  tenant: string;
  owner: string;
  name: string;
  description: string;
  template: string;
  driver: DriverKind;
  state: WorkspaceState;
  problem?: string;
  limits: WorkspaceLimits;
  egress: Egress;
  tags: string[];
  isolation?: Isolation;
  forked_from?: string;
  created_at: string;
  updated_at: string;
  last_active_at: string;
  /** `terminal`, `file`, `execution`, `preview`. */
  alive_because?: string;
  suspends_at?: string;
  purged_at?: string;
}

export interface WorkspaceUsage {
  memory_bytes?: number;
  cpu_ms?: number;
  pids?: number;
  disk_bytes?: number;
  terminals: number;
  executions: number;
  out_of_memory?: number;
}

export interface Snapshot {
  id: string;
  workspace_id: string;
  name: string;
  created_at: string;
  disk_bytes: number;
}

export interface WorkspaceTemplate {
  name: string;
  title: string;
  description: string;
  drivers: DriverKind[];
  languages: string[];
  default_command?: string[] | string;
  ports?: number[];
  /** What its workspaces may use, and reach, unless told otherwise. */
  limits: WorkspaceLimits;
  egress: Egress;
}

export interface WorkspaceDriver {
  name: DriverKind;
  /** Whether it is the one of a workspace whose maker names none. */
  default: boolean;
  /** What its workspaces can be given to reach. */
  networks: Egress['mode'][];
  /** Why that is nothing: a sentence without its end. */
  without_network?: string;
}

export interface WorkspaceRules {
  limits: WorkspaceLimits;
  /** The most that anybody may ask for; an idle time of 0 for any. */
  limits_max: WorkspaceLimits;
  /** Whether whoever makes a workspace may say what it reaches. */
  egress_by_choice: boolean;
  snapshots_max: number;
  keep_deleted_ms: number;
  /** How long a program may run that is followed. */
  run_ms_max: number;
  whole_run_ms_max: number;
}

/** What workspaces can be made from, with what, and what holds for all of them. */
export interface Offered {
  templates: WorkspaceTemplate[];
  drivers: WorkspaceDriver[];
  rules: WorkspaceRules;
}

export interface NewWorkspace {
  name: string;
  template?: string;
  driver?: DriverKind;
  description?: string;
  limits?: Partial<WorkspaceLimits>;
  egress?: Egress;
  tags?: string[];
  start?: boolean;
}

export type WorkspaceEvent =
  | { event: 'hello' }
  | { event: 'workspace'; workspace: Workspace }
  | { event: 'gone'; id: string };

export type FileType = 'file' | 'directory' | 'symlink' | 'other';

export interface FileEntry {
  name: string;
  path: WorkspacePath;
  type: FileType;
  size: number;
  modified_at: string;
  mode: number;
  target?: string;
  ignored?: boolean;
  has_children?: boolean;
}

export interface TreePage {
  entries: FileEntry[];
  next_cursor?: string;
}

export interface Saved {
  path: WorkspacePath;
  etag: string;
  size: number;
  modified_at: string;
  created: boolean;
}

export interface Upload {
  id: string;
  path: WorkspacePath;
  size: number;
  offset: number;
}

export type FileOperation =
  | { op: 'create_directory'; path: WorkspacePath }
  | { op: 'create_file'; path: WorkspacePath }
  | { op: 'rename'; path: WorkspacePath; new_name: string }
  | { op: 'move'; from: WorkspacePath; to: WorkspacePath }
  | { op: 'copy'; from: WorkspacePath; to: WorkspacePath }
  | { op: 'trash'; path: WorkspacePath }
  | { op: 'restore'; id: string; to?: WorkspacePath }
  | { op: 'purge'; id?: string }
  | { op: 'delete'; path: WorkspacePath }
  | { op: 'forget_history'; path?: WorkspacePath };

export interface FileChanged {
  entry?: FileEntry;
  trash_id?: string;
  count: number;
}

/** What a file was before it was saved over. */
export interface FileVersion {
  id: string;
  size: number;
  etag: string;
  modified_at: string;
  replaced_at: string;
}

export interface TrashEntry {
  id: string;
  path: WorkspacePath;
  type: FileType;
  size: number;
  deleted_at: string;
}

export interface SearchQuery {
  text: string;
  kind?: 'contents' | 'names';
  regex?: boolean;
  case_sensitive?: boolean;
  whole_word?: boolean;
  include?: string[];
  exclude?: string[];
  ignored?: boolean;
  limit?: number;
}

export interface ReplaceWanted {
  text: string;
  replacement: string;
  regex?: boolean;
  case_sensitive?: boolean;
  whole_word?: boolean;
  include?: string[];
  exclude?: string[];
  /** Only these, as they were when they were looked at. */
  files?: { path: WorkspacePath; etag: string }[];
}

export interface Replaced {
  files: { path: WorkspacePath; etag: string; count: number; lines: { line: number; before: string; after: string }[]; error?: string }[];
  replaced: number;
  truncated: boolean;
}

export type SearchEvent =
  | { event: 'match'; path: WorkspacePath; line: number; text: string; spans: [number, number][]; column: number }
  | { event: 'file'; entry: FileEntry }
  | { event: 'done'; files: number; matches: number; truncated: boolean };

export interface Extracted {
  files: number;
  bytes: number;
}

export type FileEvent =
  | { event: 'hello' }
  | { event: 'created'; path: WorkspacePath; type: FileType }
  | { event: 'changed'; path: WorkspacePath; etag?: string; origin?: string }
  | { event: 'deleted'; path: WorkspacePath }
  | { event: 'renamed'; from: WorkspacePath; to: WorkspacePath }
  | { event: 'resync' };

export interface ExecRequest {
  argv?: string[];
  file?: WorkspacePath;
  args?: string[];
  language?: string;
  cwd?: WorkspacePath;
  env?: Record<string, string>;
  stdin?: string;
  timeout_ms?: number;
}

export type ExecPhase = 'compile' | 'run';

export interface ExecOutcome {
  exit_code: number;
  signal?: string;
  phase: ExecPhase;
  timed_out: boolean;
  cancelled: boolean;
  out_of_memory: boolean;
  truncated: boolean;
  duration_ms: number;
  cpu_ms: number;
  max_rss_bytes: number;
}

/** The events of a run as the public API streams them: text decoded as UTF-8. */
export type ExecEvent =
  | { event: 'start'; id: string; phase: ExecPhase; argv: string[] }
  | { event: 'stdout'; text: string }
  | { event: 'stderr'; text: string }
  | ({ event: 'exit' } & ExecOutcome);

export type ExecResult = ExecOutcome & { id: string; argv: string[]; stdout: string; stderr: string };

export interface Language {
  id: string;
  extensions: string[];
  programs: string[];
  available: boolean;
}

export interface OpenTerminal {
  cols?: number;
  rows?: number;
  argv?: string[];
  cwd?: WorkspacePath;
}

export interface Terminal {
  id: string;
  title: string;
  cols: number;
  rows: number;
  attached: number;
  opened_at: string;
  session?: string;
}

export type TerminalInput =
  | { type: 'resize'; cols: number; rows: number }
  | { type: 'signal'; name: 'SIGINT' | 'SIGTERM' | 'SIGKILL' | 'SIGQUIT' | 'SIGHUP' }
  | { type: 'ack'; bytes: number }
  | { type: 'ping'; t: number };

export type TerminalOutput =
  | { type: 'ready'; terminal_id: string; cols: number; rows: number; resumed: boolean }
  | { type: 'exit'; code: number }
  | { type: 'error'; code: string; message: string }
  | { type: 'pong'; t: number };

export interface Ticket {
  ticket: string;
  expires_at: string;
}

export interface ListeningPort {
  port: number;
  address: string;
  program?: string;
  pid?: number;
  url?: string;
}

export interface PreviewLink {
  url: string;
  expires_at: string;
}

// Accounts

export interface Account {
  id: string;
  email?: string | null;
  username?: string | null;
  name?: string | null;
  roles: string[];
  tenant: string;
  permissions?: string[];
}

/** One sign-in of an account that holds. */
export interface SignIn {
  id: string;
  /** `password`, `api_key` or `link`. */
  method: string;
  created_at: string;
  last_seen_at: string;
  expires_at: string;
  /** Empty when it was made on the server itself. */
  address: string;
  user_agent: string;
  current: boolean;
}

export interface SignedIn {
  access_token: string;
  token_type: string;
  expires_in: number;
  account: Account;
}

// The spine

export type ActionClass = 'read' | 'write' | 'destructive';
export type ApprovalStatus = 'pending' | 'approved' | 'denied' | 'cancelled' | 'expired' | 'stale';

export interface Vote {
  by: string;
  role?: string;
  choice: 'approve' | 'deny';
  reason: string;
  at: string;
}

export interface Approval {
  approval_id: string;
  action_id: string;
  trace_id: string;
  status: ApprovalStatus;
  action_class: ActionClass;
  tool_name: string;
  agent_name: string;
  resource_type: string;
  resource_name: string;
  requested_by: string;
  requester: string;
  requested_at: string;
  request_context: { arguments: Record<string, unknown>; purpose?: string; purpose_note: string; message: string };
  resolved_by?: string;
  resolved_at?: string;
  resolution_reason?: string;
  expires_at: string;
  approval_valid_until?: string;
  policy_name: string;
  approver_role: string;
  approver_roles: string[];
  quorum: number;
  votes: Vote[];
  act_digest: string;
  created_at: string;
  updated_at: string;
}

/** A question to people that an act waits for: what 202 brings. */
export interface Awaiting {
  state: 'awaiting_approval';
  agent: string;
  approval_id: string;
  action_id: string;
  trace_id: string;
  expires_at: string;
  quorum: number;
  approver_roles: string[];
  joined: boolean;
  message: string;
}

export function isAwaiting(answer: unknown): answer is Awaiting {
  return typeof answer === 'object' && answer !== null && (answer as Awaiting).state === 'awaiting_approval';
}

export interface ToolInfo {
  name: string;
  agent: string;
  description: string;
  action_class: ActionClass;
  resource_kind: string;
  reversible: 'yes' | 'partial' | 'no';
  reversibility: { kind: string; description?: string; reason?: string; tool?: string } | null;
}

export interface Principal {
  tenant: string;
  kind: 'user' | 'service' | 'agent';
  id: string;
  roles: string[];
  auth_method: string;
  on_behalf_of?: Principal;
}

/** One record of the audit log. Fields that do not apply are absent. */
export interface AuditEvent {
  v: number;
  seq?: number;
  event_id: string;
  timestamp: string;
  event_type: string;
  tenant: string;
  trace_id: string;
  parent_id?: string;
  action_id?: string;
  origin?: string;
  action_class?: ActionClass;
  principal?: Principal;
  purpose?: string;
  purpose_note?: string;
  resource?: { kind: string; name: string; tags?: string[]; sensitivity?: string[] };
  session?: { id?: string; agent_name?: string };
  /** The W3C trace and span that it was written in, where traces are sent. */
  span?: { trace_id: string; span_id: string };
  input?: { user_query?: string };
  tool?: {
    name: string;
    agent?: string;
    parameters?: Record<string, unknown>;
    raw_command?: string;
    result?: string;
    error?: string;
    duration_ms?: number;
    verify_status?: string;
    affected?: number;
  };
  policy_decision?: {
    resource_type: string;
    resource_name: string;
    action: ActionClass;
    effect: 'allow' | 'deny' | 'require_approval';
    policy_name: string;
    rule_index: number;
    message?: string;
  };
  approval?: {
    approval_id: string;
    status: ApprovalStatus;
    policy_name?: string;
    requested_by: string;
    vote?: Vote;
    expires_at: string;
    reason?: string;
  };
  decision?: { agent: string; request_category?: string; confidence: number; user_intent?: string };
  outcome?: { status: string; error_message?: string; duration_ms?: number };
  note?: string;
  prev_hash?: string;
  event_hash?: string;
}

export interface Journey {
  trace_id: string;
  started_at: string;
  ended_at: string;
  duration_ms: number;
  user_id: string;
  user_query: string;
  purpose: string;
  purpose_note: string;
  agent: string;
  category: string;
  tools_used: string[];
  outcome: string;
  event_count: number;
  retry_count: number;
  origin: string;
}

export interface Verified {
  valid: boolean;
  total_events: number;
  hashed_events: number;
  broken_at: number;
  error?: string | null;
  first_event_id: string;
  last_event_id: string;
  last_hash: string;
}
