import { isPintleError, type Kind, type Role } from '../contract/index.ts';

/** How far a plugin has come in one process. `skipped` (this host cannot, or another was chosen) is not `failed`. */
export type PluginState =
  | { readonly state: 'declared' }
  | { readonly state: 'selected' }
  | { readonly state: 'configured' }
  | { readonly state: 'skipped'; readonly reason: string; readonly fix?: string | undefined }
  | { readonly state: 'starting' }
  | { readonly state: 'running'; readonly startedInMs: number }
  | { readonly state: 'stopping' }
  | { readonly state: 'stopped' }
  | { readonly state: 'failed'; readonly error: { readonly code: string; readonly message: string } };

export type ReportRow = PluginState & {
  readonly kind: Kind;
  readonly name: string;
  readonly summary: string;
  readonly role: Role;
  /** "built-in", or the module of plugins.load. */
  readonly origin: string;
};

type Identity = Omit<ReportRow, 'state'>;

/** The state of every plugin of the catalogue: what `pintle plugins ls` prints. */
export class Report {
  readonly #rows = new Map<string, ReportRow>();

  declare(identity: Identity): void {
    const { kind, name, summary, role, origin } = identity;
    this.#rows.set(`${kind}/${name}`, { kind, name, summary, role, origin, state: 'declared' });
  }

  set(kind: Kind, name: string, state: PluginState): void {
    const row = this.#rows.get(`${kind}/${name}`);
    if (row === undefined) return;
    const { summary, role, origin } = row;
    this.#rows.set(`${kind}/${name}`, { kind, name, summary, role, origin, ...state });
  }

  fail(kind: Kind, name: string, error: unknown): void {
    const code = isPintleError(error) ? error.code : 'UNKNOWN';
    const message = error instanceof Error ? error.message : String(error);
    this.set(kind, name, { state: 'failed', error: { code, message } });
  }

  rows(): readonly ReportRow[] {
    return [...this.#rows.values()];
  }
}
