/** Which implementations a suite measures: by the catalogue, so that a third party's is in as soon as it is loaded. */
import { PintleError } from '../../kernel/contract/errors.ts';
import type { Kind } from '../../kernel/contract/index.ts';
import type { Catalogue } from '../../kernel/registry/catalogue.ts';
import { unknownPlugin } from '../../kernel/registry/catalogue.ts';
import { configure } from '../../kernel/registry/configure.ts';
import { hostFacts } from '../../kernel/host/host-facts.ts';
import type { PluginChoice, PluginSource } from '../bed/plugin-process.ts';
import type { Family } from '../bed/wire.ts';
import type { Size } from '../method/suite.ts';

/** What every suite is made from. */
export interface SuiteContext {
  readonly catalogue: Catalogue;
  readonly source: PluginSource;
  /** Config of plugins by "kind/name", from the config file. */
  readonly configs: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly size: Size;
  /** Options of the command line that this suite knows. */
  readonly options: Readonly<Record<string, string>>;
}

export interface Selected extends PluginChoice {
  readonly capabilities: readonly string[];
  /** Why this host cannot run it. */
  readonly skip?: string | undefined;
}

/** `wanted`: names separated by commas; undefined or "all": every one of the catalogue. */
export async function select(context: SuiteContext, kind: Kind, wanted: string | undefined): Promise<Selected[]> {
  const { catalogue, configs } = context;
  const known = catalogue.names(kind);
  const names = wanted === undefined || wanted === 'all' ? known : wanted.split(',');
  const host = hostFacts();
  return Promise.all(
    names.map(async (name): Promise<Selected> => {
      const item = catalogue.get(kind, name);
      if (item === undefined) throw new PintleError('BENCH_INVALID', unknownPlugin(kind, name, catalogue));
      const plugin = await item.plugin();
      const config = configs[`${kind}/${name}`] ?? {};
      const configured = await configure(plugin, { name, config }, {});
      if (!configured.ok)
        throw new PintleError(
          'BENCH_INVALID',
          `${kind}/${name}: its config is refused: ${configured.issues.map(({ message }) => message).join('; ')}`,
        );
      const preflight = (await plugin.preflight?.(host, configured.config as never)) ?? { ok: true };
      const skip = preflight.ok
        ? undefined
        : `${preflight.reason}${preflight.fix === undefined ? '' : `; ${preflight.fix}`}`;
      return { kind, name, config, capabilities: plugin.capabilities ?? [], ...(skip === undefined ? {} : { skip }) };
    }),
  );
}

/** What some of them can and others cannot is a difference in behaviour: told beside the figures. */
export function capabilityFacts(all: readonly Selected[]): (one: Selected) => Readonly<Record<string, boolean>> {
  const known = [...new Set(all.flatMap(({ capabilities }) => capabilities))];
  const differing = known.filter((name) => !all.every(({ capabilities }) => capabilities.includes(name)));
  return ({ capabilities }) =>
    Object.fromEntries(differing.map((name) => [`capability ${name}`, capabilities.includes(name)]));
}

export const list = (text: string | undefined, standard: string): readonly string[] => (text ?? standard).split(',');

export const families = (text: string | undefined, standard = 'ipv4'): readonly Family[] =>
  list(text, standard).map((family) => {
    if (family === 'ipv4' || family === 'ipv6') return family;
    throw new PintleError('BENCH_INVALID', `--family is \`${text}\`, expected ipv4, ipv6 or both with a comma`);
  });

/** Whole numbers from a list such as 1,100,1000, none above `most`: what no machine holds is not tried. */
export function numbers(name: string, text: string | undefined, standard: string, most: number): readonly number[] {
  return list(text, standard).map((one) => {
    const value = Number(one);
    if (Number.isSafeInteger(value) && value > 0 && value <= most) return value;
    throw new PintleError(
      'BENCH_INVALID',
      `--${name} is \`${text}\`, expected numbers such as ${standard}, none above ${most}`,
    );
  });
}
