// Where a conversation is shown, and what may be done there.

export interface Place {
  /** Where the session is in the API. */
  base: string;
  sessionId: string;
  /** Who works in it. */
  agent: string;
  workspaceId?: string;
  directory: string;
  /** A shared link: nothing can be answered, undone or said. */
  readonly: boolean;
}
