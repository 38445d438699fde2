/**
 * What a process of a config could run on this host, as plain data. An ordinary user's nodes run inside a lab, where that
 * user is root: their plugins are asked there, by a child in the same kind of namespaces as those of `pintle up`.
 */
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { ClusterConfiguration } from '../kernel/config/cluster-configuration.ts';
import { isPintleError, PintleError } from '../kernel/contract/errors.ts';
import type { Preflight } from '../kernel/contract/index.ts';
import type { ReportRow } from '../kernel/registry/report.ts';
import { enterLab, labProblem } from '../lab/index.ts';
import { checkHost, type ProcessRole } from './check-roles.ts';

export type PluginVerdict = { readonly kind: string; readonly name: string } & Preflight;

export interface HostCheck {
  readonly verdicts: readonly PluginVerdict[];
  readonly rows: readonly ReportRow[];
  /** Why such a process would not start here. */
  readonly refusal?: { readonly code: string; readonly message: string };
}

export async function hostCheck(config: ClusterConfiguration, role: ProcessRole): Promise<HostCheck> {
  const { verdicts, report, refusal } = await checkHost(config, role);
  return {
    verdicts: verdicts.map(({ plugin: { kind, name }, preflight }) => ({ kind, name, ...preflight })),
    rows: report,
    ...(refusal === undefined ? {} : { refusal: describe(refusal) }),
  };
}

/** The check where the process would run: here, or for the nodes of an ordinary user in a lab. */
export async function hostCheckInPlace(
  config: ClusterConfiguration,
  configFile: string | undefined,
  role: ProcessRole,
): Promise<HostCheck> {
  if (role !== 'node' || process.geteuid?.() === 0) return hostCheck(config, role);
  const problem = await labProblem(false);
  if (problem === undefined) return askInLab(configFile);
  const { reason, fix } = problem;
  return { verdicts: [], rows: [], refusal: { code: 'PLUGIN_UNSUPPORTED', message: `${reason}\nfix: ${fix}` } };
}

async function askInLab(configFile: string | undefined): Promise<HostCheck> {
  const main = fileURLToPath(new URL('main.js', import.meta.url));
  const argv = [process.execPath, main, 'lab-check', ...(configFile === undefined ? [] : [configFile])];
  const child = enterLab(argv, { isRoot: false });
  let stdout = '';
  let stderr = '';
  child.stdout!.on('data', (chunk: Buffer) => (stdout += chunk.toString('utf8')));
  child.stderr!.on('data', (chunk: Buffer) => (stderr += chunk.toString('utf8')));
  child.stdin!.end();
  const [code] = (await once(child, 'close')) as [number | null];
  if (code === 0) return JSON.parse(stdout) as HostCheck;
  throw new PintleError('INTERNAL', `the check of the node's plugins ended with ${code}: ${stderr.trim()}`);
}

function describe(refusal: unknown): { code: string; message: string } {
  if (isPintleError(refusal)) return { code: refusal.code, message: refusal.message };
  return { code: 'INTERNAL', message: refusal instanceof Error ? refusal.message : String(refusal) };
}
