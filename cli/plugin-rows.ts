import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ClusterConfiguration } from '../kernel/config/cluster-configuration.ts';
import { PintleError } from '../kernel/contract/errors.ts';
import type { Kind, Role } from '../kernel/contract/index.ts';
import { Catalogue, unknownPlugin } from '../kernel/registry/catalogue.ts';
import { configJsonSchema } from '../kernel/registry/configure.ts';
import { isKind, kinds } from '../kernel/registry/kind-facts.ts';
import { suggestion } from '../kernel/registry/nearest.ts';
import { defaultStartDeadlineMs } from '../kernel/registry/life-cycle.ts';
import type { ReportRow } from '../kernel/registry/report.ts';
import { builtIns } from './built-ins.ts';
import { processRoles } from './check-roles.ts';
import { type HostCheck, hostCheckInPlace } from './host-check.ts';
import { readConfig } from './read-config.ts';
import { type ProcessReport, reportFile } from './process-report.ts';

export interface Listing {
  readonly rows: readonly ReportRow[];
  /** Why a process of this config would not start here. */
  readonly refusals: readonly NonNullable<HostCheck['refusal']>[];
}

/** Every plugin of the catalogue with what the config makes of it on this host, in either process. */
export async function pluginRows(file: string | undefined): Promise<Listing> {
  const config = await readConfig(file);
  await openCatalogue(config);
  const merged = new Map<string, ReportRow>();
  const refusals: NonNullable<HostCheck['refusal']>[] = [];
  for (const role of processRoles) {
    const { rows, refusal } = await hostCheckInPlace(config, file, role);
    if (refusal !== undefined) refusals.push(refusal);
    for (const row of rows) {
      const id = `${row.kind}/${row.name}`;
      if (row.state !== 'declared' || !merged.has(id)) merged.set(id, row);
    }
  }
  return { rows: sorted([...merged.values()]), refusals };
}

/** The rows that a server or agent wrote when it became ready or stopped. */
export function runningRows(stateDir: string): Listing {
  const file = reportFile(stateDir);
  try {
    const report = JSON.parse(readFileSync(file, 'utf8')) as ProcessReport;
    return { rows: sorted(report.plugins), refusals: [] };
  } catch (cause) {
    const reason = (cause as Error).message;
    const message = `${file} cannot be read: ${reason}. Name the --state-dir of a pintle server or agent`;
    throw new PintleError('CONFIG_INVALID', message, { cause });
  }
}

const sorted = (rows: readonly ReportRow[]): readonly ReportRow[] =>
  rows.toSorted((a, b) => kinds.indexOf(a.kind) - kinds.indexOf(b.kind));

export interface PluginDescription {
  readonly kind: Kind;
  readonly name: string;
  readonly summary: string;
  readonly origin: string;
  readonly role: Role;
  readonly needs: readonly string[];
  readonly capabilities: readonly string[];
  readonly startDeadlineMs: number;
  /** What the running one says it uses of its host; undefined: it says nothing, or no process was named. */
  readonly uses?: Readonly<Record<string, string>> | undefined;
  /** JSON Schema of its config; undefined when its schema library cannot say. */
  readonly config: unknown;
}

export async function describePlugin(
  id: string,
  file: string | undefined,
  stateDir?: string,
): Promise<PluginDescription> {
  const [kind = '', name = '', rest] = id.split('/');
  if (!isKind(kind) || name === '' || rest !== undefined) {
    const why = isKind(kind) ? '' : `; \`${kind}\` is not a kind: ${suggestion(kind, kinds)}`;
    const message = `\`${id}\` names no plugin: expected kind/name, such as overlay/vxlan${why}`;
    throw new PintleError('PLUGIN_UNKNOWN', message, { details: { known: kinds } });
  }
  const catalogue = await openCatalogue(await readConfig(file));
  const item = catalogue.get(kind, name);
  if (item === undefined)
    throw new PintleError('PLUGIN_UNKNOWN', unknownPlugin(kind, name, catalogue), {
      details: { known: catalogue.names(kind) },
    });
  const { summary, origin, role } = item;
  const plugin = await item.plugin();
  const { needs = [], capabilities = [], startDeadlineMs = defaultStartDeadlineMs } = plugin;
  return {
    ...{ kind, name, summary, origin, role, needs, capabilities, startDeadlineMs },
    uses: stateDir === undefined ? undefined : readUses(join(stateDir, kind, name, 'uses.json')),
    config: configJsonSchema(plugin),
  };
}

function readUses(file: string): Readonly<Record<string, string>> | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Readonly<Record<string, string>>;
  } catch {
    return undefined;
  }
}

const openCatalogue = (config: ClusterConfiguration): Promise<Catalogue> =>
  Catalogue.open(builtIns, config.plugins.load, config.directory);
