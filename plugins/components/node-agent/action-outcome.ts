/** How a probe or a lifecycle hook ended. */
export interface ActionOutcome {
  readonly ok: boolean;
  /** For events: why not, or what was answered. */
  readonly message: string;
}
