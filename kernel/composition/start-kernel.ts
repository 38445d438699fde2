import type { ClusterConfiguration } from '../config/cluster-configuration.ts';
import type { Clock, Host, Kind, Need, Role } from '../contract/index.ts';
import { hostFacts } from '../host/host-facts.ts';
import { type LogSource, quietLog } from '../host/logger.ts';
import { systemClock } from '../machinery/clock.ts';
import type { CatalogueEntry } from '../registry/catalogue.ts';
import type { Settings } from '../registry/configure.ts';
import { startOrder } from '../registry/order.ts';
import { examine, type Verdict } from '../registry/plan.ts';
import type { ReportRow } from '../registry/report.ts';
import { instanceOf, kernelServices, provide, usesOf } from './composition.ts';
import { leaveFormerPlugins } from './former-plugins.ts';
import { type Overrides, tokens } from './tokens.ts';

export interface KernelOptions {
  readonly config: ClusterConfiguration;
  readonly role: Role;
  /** The built-in plugins. Those of the config's `plugins.load` are added to them. */
  readonly catalogue: readonly CatalogueEntry[];
  /** Each plugin gets a folder of its own below: stateDir/kind/name. */
  readonly stateDir: string;
  readonly nodeName?: string | undefined;
  /** Values over the config file, by "kind/name". */
  readonly settings?: Settings | undefined;
  readonly overrides?: Overrides | undefined;
  readonly host?: Host | undefined;
  readonly log?: LogSource | undefined;
  readonly clock?: Clock | undefined;
  /** Aborts the start: what runs already is stopped, and `startKernel` rejects with the reason. */
  readonly signal?: AbortSignal | undefined;
  /** For each plugin's stop. Default 10,000. */
  readonly stopDeadlineMs?: number | undefined;
}

export interface Kernel {
  get<K extends Kind>(kind: K): Need<K>;
  report(): readonly ReportRow[];
  /** Stops every plugin in reverse order of start, once. Rejects with PLUGIN_STOP_FAILED after all were attempted. */
  stop(): Promise<void>;
}

/** Catalogue, selection, config, preflight, order, start: resolves when every plugin of this process can serve. */
export async function startKernel(options: KernelOptions): Promise<Kernel> {
  const container = compose(options);
  const plan = await container.getAsync(tokens.plan);
  await leaveFormerPlugins({
    plan,
    catalogue: await container.getAsync(tokens.catalogue),
    lifeCycle: container.get(tokens.lifeCycleOptions),
  });
  const lifeCycle = container.get(tokens.lifeCycle);
  const report = container.get(tokens.report);
  await lifeCycle.start(
    plan,
    ({ plugin }) => usesOf(container, plugin),
    ({ plugin }, instance) => provide(container, plugin.kind, plugin.name, instance as never),
    options.signal ?? new AbortController().signal,
  );
  return {
    get: (kind) => instanceOf(container, kind),
    report: () => report.rows(),
    stop: () => lifeCycle.stop(),
  };
}

/** Names, config and needs of every candidate, without asking the host. Rejects as `startKernel` would. */
export async function checkSelection(options: KernelOptions): Promise<void> {
  const selection = await compose(options).getAsync(tokens.selection);
  startOrder([...selection.values()].flat(), new Set(Object.keys(options.overrides ?? {}) as Kind[]));
}

export interface KernelCheck {
  /** Every candidate of this role with what its preflight says, in the config's order. */
  readonly verdicts: readonly Verdict[];
  /** What would be chosen: rows skipped or configured. */
  readonly report: readonly ReportRow[];
  /** Why `startKernel` would refuse; undefined when it would start. */
  readonly refusal: unknown;
}

/** Goes as far as `startKernel` without starting anything: for `plugins ls`, `config check` and `doctor`. */
export async function checkKernel(options: KernelOptions): Promise<KernelCheck> {
  const container = compose(options);
  let refusal: unknown;
  let verdicts: readonly Verdict[] = [];
  try {
    verdicts = await examine(await container.getAsync(tokens.selection), container.get(tokens.askHost));
    await container.getAsync(tokens.plan);
  } catch (error) {
    refusal = error;
  }
  return { verdicts, report: container.get(tokens.report).rows(), refusal };
}

function compose(options: KernelOptions): ReturnType<typeof kernelServices> {
  const container = kernelServices(options.overrides ?? {});
  container.bind(tokens.builtIns).toConstantValue(options.catalogue);
  container.bind(tokens.config).toConstantValue(options.config);
  container.bind(tokens.role).toConstantValue(options.role);
  container.bind(tokens.settings).toConstantValue(options.settings ?? {});
  container.bind(tokens.host).toConstantValue(options.host ?? hostFacts());
  container.bind(tokens.clock).toConstantValue(options.clock ?? systemClock);
  container.bind(tokens.log).toConstantValue(options.log ?? quietLog);
  container.bind(tokens.place).toConstantValue({
    stateDir: options.stateDir,
    nodeName: options.nodeName,
    stopDeadlineMs: options.stopDeadlineMs ?? 10_000,
  });
  return container;
}
