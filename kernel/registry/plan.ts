import type { ClusterConfiguration, PluginChoice } from '../config/cluster-configuration.ts';
import { type ConfigIssue, configError } from '../config/config-issue.ts';
import {
  type Host,
  isPintleError,
  type Kind,
  type Logger,
  type Plugin,
  type Preflight,
  PintleError,
  type Role,
} from '../contract/index.ts';
import { type Catalogue, type CatalogueItem, unknownPlugin } from './catalogue.ts';
import { configure, type Settings } from './configure.ts';
import { withDeadline } from './deadline.ts';
import { kindFacts, kinds, runsIn } from './kind-facts.ts';
import { familyProblem } from './address-families.ts';
import { describe, pluginId } from './plugin-shape.ts';
import type { Report } from './report.ts';

/** Why a choice was skipped that is no fall-back: one before it in the list runs. */
export const notNeeded = 'not needed: a choice named before it can run';

/** A plugin with its validated config, ready to start. */
export interface Candidate {
  readonly plugin: Plugin;
  readonly config: unknown;
}

/** By kind, in the config's order. */
export type Selection = ReadonlyMap<Kind, readonly Candidate[]>;

export interface Verdict extends Candidate {
  readonly preflight: Preflight;
}

export interface PlanOptions {
  readonly config: ClusterConfiguration;
  readonly catalogue: Catalogue;
  readonly role: Role;
  readonly settings: Settings;
  readonly report: Report;
  /** Kinds that somebody else provides: not chosen here. */
  readonly provided: ReadonlySet<Kind>;
}

/**
 * For what hangs: an answer takes milliseconds. But the first one after a boot loads modules of the system's kernel and starts
 * commands, all candidates at once, which on a busy machine with emulated processors took more than ten seconds.
 */
const preflightDeadlineMs = 60_000;

/**
 * Select and configure: by kind, the plugins that the config names for this role, in its order, their config validated.
 * Every fault of the file is reported at once.
 */
export async function selectPlugins(options: PlanOptions): Promise<Selection> {
  const { config, catalogue, role, settings, report, provided } = options;
  for (const item of catalogue.items()) report.declare(item);
  const issues: ConfigIssue[] = [];
  const selected = new Map<Kind, readonly Candidate[]>();
  const runsHere = (item: CatalogueItem): boolean => runsIn(item.role, role) && !provided.has(item.kind);
  // All code is asked for at once; whoever waits for a plugin below is told of its failure.
  for (const item of kinds.flatMap((kind) => config.plugins.use[kind].map(({ name }) => catalogue.get(kind, name))))
    if (item !== undefined && runsHere(item)) item.plugin().catch(() => undefined);
  for (const kind of kinds) {
    const candidates: Candidate[] = [];
    for (const choice of config.plugins.use[kind]) {
      const item = catalogue.get(kind, choice.name);
      if (item === undefined) {
        issues.push(unknownIssue(kind, choice, catalogue));
        continue;
      }
      if (!runsHere(item)) continue;
      const plugin = await item.plugin();
      report.set(kind, choice.name, { state: 'selected' });
      const configured = await configure(plugin, choice, settings);
      if (!configured.ok) {
        issues.push(...configured.issues);
        continue;
      }
      report.set(kind, choice.name, { state: 'configured' });
      candidates.push({ plugin, config: configured.config });
    }
    selected.set(kind, candidates);
  }
  if (issues.length > 0) throw configError(issues, config.origin, config.locate);
  requireSelected(selected, settings);
  return selected;
}

function unknownIssue(kind: Kind, choice: PluginChoice, catalogue: Catalogue): ConfigIssue {
  const message = unknownPlugin(kind, choice.name, catalogue);
  if (choice.path === undefined) return { path: ['plugins', 'use', kind], message, source: 'the default config' };
  return { path: choice.path, message };
}

/** A flag for a plugin that is not chosen would be ignored in silence. */
function requireSelected(selected: Selection, settings: Settings): void {
  const chosen = new Set([...selected.values()].flat().map(({ plugin }) => pluginId(plugin)));
  for (const id of Object.keys(settings))
    if (!chosen.has(id))
      throw new PintleError(
        'CONFIG_INVALID',
        `command line: a flag sets ${Object.keys(settings[id]!).join(', ')} of ${id}, which the config does not choose for this process`,
      );
}

/** Whether this host can run a candidate. */
export type AskHost = (candidate: Candidate) => Promise<Preflight>;

/** Each candidate's preflight runs once, however often it is asked for. One that the cluster's ranges rule out is not asked. */
export function askOnce(host: Host, podCidrs: readonly string[]): AskHost {
  const answers = new Map<Candidate, Promise<Preflight>>();
  return async (candidate) => {
    const refused = familyProblem(candidate.plugin, podCidrs);
    if (refused !== undefined) return refused;
    const answer = answers.get(candidate) ?? preflight(candidate, host);
    answers.set(candidate, answer);
    return answer;
  };
}

/** Asks for every candidate. A preflight that fails counts as a no. */
export async function examine(selected: Selection, ask: AskHost): Promise<readonly Verdict[]> {
  const verdict = async (candidate: Candidate): Promise<Verdict> => {
    const answer = ask(candidate).catch((error: unknown) => {
      return { ok: false, reason: error instanceof Error ? error.message : String(error) } as const;
    });
    return { ...candidate, preflight: await answer };
  };
  return Promise.all([...selected.values()].flat().map(verdict));
}

/**
 * The plugins to start: of a kind with many, all; of the others, the first whose preflight holds. A fall-back is logged
 * once. Rejects with PLUGIN_UNSUPPORTED that has every reason and fix when a kind has no choice left.
 */
export async function choose(
  selected: Selection,
  ask: AskHost,
  report: Report,
  log: Logger,
): Promise<readonly Candidate[]> {
  const chosen: Candidate[] = [];
  const hopeless: { readonly id: string; readonly reason: string; readonly fix: string | undefined }[] = [];
  for (const [kind, candidates] of selected) {
    const refused: typeof hopeless = [];
    let found = false;
    for (const candidate of candidates) {
      const { plugin } = candidate;
      if (found && !kindFacts[kind].many) {
        report.set(kind, plugin.name, { state: 'skipped', reason: notNeeded });
        continue;
      }
      const verdict = await ask(candidate).catch((error: unknown) => {
        report.fail(kind, plugin.name, error);
        throw error;
      });
      if (verdict.ok) {
        chosen.push(candidate);
        found = true;
        for (const { id, reason } of kindFacts[kind].many ? [] : refused)
          log.warn(`${id} cannot run here, ${pluginId(plugin)} takes its place: ${reason}`);
        continue;
      }
      const { reason, fix } = verdict;
      report.set(kind, plugin.name, { state: 'skipped', reason, fix });
      refused.push({ id: pluginId(plugin), reason, fix });
    }
    if (refused.length > 0 && (kindFacts[kind].many || !found)) hopeless.push(...refused);
  }
  if (hopeless.length === 0) return chosen;
  const reasons = hopeless.map(({ id, reason, fix }) => `${id}: ${reason}${fix === undefined ? '' : ` (${fix})`}`);
  throw new PintleError(
    'PLUGIN_UNSUPPORTED',
    `this host cannot run what the config asks for:\n  ${reasons.join('\n  ')}\nMend it as said, or choose another plugin`,
    { details: { reasons: hopeless } },
  );
}

async function preflight({ plugin, config }: Candidate, host: Host): Promise<Preflight> {
  if (plugin.preflight === undefined) return { ok: true };
  const id = pluginId(plugin);
  let verdict: unknown;
  try {
    const late = (): Error =>
      new PintleError('PLUGIN_START_TIMEOUT', `${id}: its preflight took more than ${preflightDeadlineMs} ms`);
    const ask = async (): Promise<unknown> => plugin.preflight?.(host, config as never);
    verdict = await withDeadline(ask(), preflightDeadlineMs, late);
  } catch (cause) {
    if (isPintleError(cause, 'PLUGIN_START_TIMEOUT')) throw cause;
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new PintleError('PLUGIN_START_FAILED', `${id}: its preflight threw: ${reason}`, { cause });
  }
  const { ok, reason } = (verdict ?? {}) as { readonly ok?: unknown; readonly reason?: unknown };
  if (ok === true || (ok === false && typeof reason === 'string')) return verdict as Preflight;
  throw new PintleError(
    'PLUGIN_INVALID',
    `${id}: its preflight answered ${describe(verdict)}, expected { ok: true } or { ok: false, reason }`,
  );
}
