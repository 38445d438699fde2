/** Starts one plugin with its default config (or what of it is given) and given needs, without a kernel: for benches of a few plugins. */
import type { Logger, StandardSchemaV1 } from '../../kernel/contract/index.ts';
import { systemClock } from '../../kernel/machinery/clock.ts';

const toStderr = (message: string, fields?: Readonly<Record<string, unknown>>) =>
  void process.stderr.write(`${message} ${JSON.stringify(fields ?? {})}\n`);

const log: Logger = { debug: () => undefined, info: () => undefined, warn: toStderr, error: toStderr };

export async function startAlone<Result>(
  plugin: { readonly config: StandardSchemaV1<unknown, unknown>; readonly start: unknown },
  uses: object,
  config: object = {},
): Promise<Result & AsyncDisposable> {
  const checked = await plugin.config['~standard'].validate(config);
  if (checked.issues !== undefined)
    throw new Error(`The config of a plugin is refused: ${JSON.stringify(checked.issues)}`);
  const cluster = {
    podCidrs: ['10.244.0.0/16'],
    serviceCidrs: ['10.96.0.0/12'],
    dnsDomain: 'cluster.local',
    dnsServiceIp: '10.96.0.10',
  };
  const context = {
    config: checked.value,
    cluster,
    uses,
    log,
    clock: systemClock,
    stateDir: '',
    nodeName: undefined,
    processMetrics: async () => '',
  };
  const start = plugin.start as (context: unknown, signal: AbortSignal) => Promise<Result & AsyncDisposable>;
  return start(context, new AbortController().signal);
}
